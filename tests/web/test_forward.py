"""Captures sent on: to our own sources, and to URLs that must not lead where they should not."""

import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from receiver import bins, service
from receiver.errors import ForwardError
from receiver.events import Headers
from receiver.sources import samples
from receiver.web import forward
from tests import listings
from tests.installation import KEYS

BINARY = bytes(range(256))


def came(**changed: Any) -> bins.Request:
    told: dict[str, Any] = {
        "method": "POST",
        "path": "/below",
        "query": "",
        "client": "192.0.2.1",
        "headers": Headers(),
        "body": BINARY,
    }
    return bins.Request(**told | changed)


class Sink(BaseHTTPRequestHandler):
    """Remembers what came and answers what it is told to."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server.got.append((self.command, self.path, self.headers.items(), body))
        self.wfile.write(server.reply)
        self.close_connection = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def log_message(self, *_said: Any) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    got: list[Any]
    reply: bytes

    def handle_error(self, *_where: Any) -> None:
        pass  # a client that hangs up is what some tests are about


@contextmanager
def listening(
    reply: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", context: ssl.SSLContext | None = None
) -> Iterator[Any]:
    server = Quiet(("127.0.0.1", 0), Sink)
    server.got, server.reply = [], reply
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send(server: Any, request: bins.Request, **more: Any) -> forward.Answered:
    return forward.to_url(request, f"http://localhost:{server.server_port}/in?a=%20b#part", allow_private=True, **more)


def test_the_bytes_arrive_and_the_answer_is_given() -> None:
    with listening(b"HTTP/1.1 418 Teapot\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 3\r\n\r\n\xff\x00a") as server:
        answered = send(server, came(method="PURGE", headers=Headers([("X-Mine", "\xe9")])))
        ((method, path, headers, body),) = server.got
    assert (method, path, body) == ("PURGE", "/in?a=%20b", BINARY)
    assert dict(headers)["X-Mine"] == "\xe9"
    assert dict(headers)["Host"] == f"localhost:{server.server_port}"
    assert (answered.status, answered.body, answered.is_cut) == (418, b"\xff\x00a", False)
    assert answered.headers.pairs[:2] == (("X-A", "1"), ("X-A", "2"))


SECRETS = [("Authorization", "Bearer key"), ("Cookie", "a=b"), ("X-Gitlab-Token", "c"), ("X-Bin-Secret", "open")]


def test_secrets_are_sent_only_if_that_is_asked_for_and_the_bins_own_never() -> None:
    with listening() as server:
        send(server, came(headers=Headers(SECRETS)))
        send(server, came(headers=Headers(SECRETS)), keep_secrets=True)
        names = [{name for name, _ in headers} for _, _, headers, _ in server.got]
    assert not names[0] & {"Authorization", "Cookie", "X-Gitlab-Token", "X-Bin-Secret"}
    assert {"Authorization", "Cookie", "X-Gitlab-Token"} < names[1]
    assert "X-Bin-Secret" not in names[1]


def test_what_belongs_to_the_old_connection_stays_behind() -> None:
    old = [
        ("Host", "old.example"),
        ("Content-Length", "9"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "keep-alive, X-Hop"),
        ("X-Hop", "1"),
        ("Upgrade", "h2c"),
        ("Expect", "100-continue"),
        ("X-Kept", "1"),
    ]
    with listening() as server:
        send(server, came(headers=Headers(old)))
        ((_, _, headers, body),) = server.got
    assert {name for name, _ in headers} == {"Host", "X-Kept", "Content-Length"}
    assert body == BINARY


def test_redirects_are_answers_like_others() -> None:
    with listening(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n") as server:
        assert send(server, came()).status == 302
        assert len(server.got) == 1


def test_of_a_long_answer_the_beginning_is_kept() -> None:
    with listening(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 200_000) as server:
        answered = send(server, came())
    assert (len(answered.body), answered.is_cut) == (forward.KEPT_BYTES, True)


@pytest.mark.parametrize("reply", [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", b"SSH-2.0\r\n", b"", b"\0" * 200])
def test_an_answer_that_is_none_is_told(reply: bytes) -> None:
    with listening(reply) as server, pytest.raises(ForwardError, match="did not respond in HTTP"):
        send(server, came())


def test_who_answers_too_slowly_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "PATIENCE", timedelta(seconds=0.3))
    hang_up = threading.Event()

    class Drip(Sink):
        def answer(self) -> None:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while not hang_up.wait(0.05):
                try:
                    self.wfile.write(b"X")
                except OSError:
                    break
            self.close_connection = True

    with listening() as server:
        server.RequestHandlerClass = Drip
        with pytest.raises(ForwardError, match="did not respond within"):
            send(server, came())
        hang_up.set()


def test_a_port_where_nobody_listens_is_told() -> None:
    with listening() as server:
        port = server.server_port
    with pytest.raises(ForwardError, match="could not be connected to"):
        forward.to_url(came(), f"http://127.0.0.1:{port}/", allow_private=True)


def test_a_name_is_looked_up_once_and_its_address_is_the_one_that_is_used() -> None:
    answers = [["127.0.0.1"], ["192.0.2.1"]]
    asked = []

    def rebound(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return answers.pop(0)

    with listening() as server:
        url = f"http://pinned.example:{server.server_port}/"
        forward.to_url(came(), url, allow_private=True, resolve=rebound)
        ((_, _, headers, _),) = server.got
    assert asked == [("pinned.example", server.server_port)]
    assert dict(headers)["Host"] == f"pinned.example:{server.server_port}"


def test_where_the_first_address_does_not_answer_the_next_is_taken() -> None:
    with listening() as server:
        url = f"http://two.example:{server.server_port}/"
        answered = forward.to_url(came(), url, allow_private=True, resolve=lambda *_: ["127.0.0.2", "127.0.0.1"])
    assert answered.status == 200


def test_one_private_address_among_others_is_enough_to_refuse() -> None:
    with listening() as server:
        for addresses in (["93.184.216.34", "127.0.0.1"], ["127.0.0.1", "93.184.216.34"], ["127.0.0.1"]):
            with pytest.raises(ForwardError, match="private network"):
                forward.to_url(
                    came(),
                    f"http://trap.example:{server.server_port}/",
                    allow_private=False,
                    resolve=lambda *_, found=addresses: found,
                )
        assert server.got == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/",
        "http://2130706433:1/",
        "http://0x7f.1:1/",
        "http://localhost:1/",
        "http://[::1]:1/",
        "http://[::ffff:127.0.0.1]:1/",
        "http://0:1/",
    ],
)
def test_this_machine_is_refused_in_production_however_it_is_written(url: str) -> None:
    with pytest.raises(ForwardError, match=r"private network|has no address"):
        forward.to_url(came(), url, allow_private=False)


@pytest.mark.parametrize(
    "url",
    ["", "x", "/x", "//x/", "http://", "http:///x", "ftp://x/", "file:///etc/passwd", "javascript:alert(1)",
     "http://a:b@x/", "http://x:99999/", "http://[::1/", "http://a b/", "http://\0/", "http://" + "x" * 70_000,
     "gopher://x/", "HTTP://", "http://\u2024/", "http://x\r\ny/", "unix:///x",
     "http://xn--/", "https://a.xn--/", "http://xn--zzzzzz99999/"],
)  # fmt: skip
def test_what_is_no_url_to_send_to_is_refused(url: str) -> None:
    with pytest.raises(ForwardError):
        forward.to_url(came(), url, allow_private=True, resolve=lambda *_: [])


@given(url=st.text(max_size=60), scheme=st.sampled_from(["", "http://", "https://"]))
def test_no_text_given_as_a_url_is_an_error_of_another_kind(url: str, scheme: str) -> None:
    with pytest.raises(ForwardError):
        forward.to_url(came(), scheme + url, allow_private=True, resolve=lambda *_: [])


def test_over_tls_the_name_is_asked_for_and_the_certificate_checked(tmp_path: Path) -> None:
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=pinned.example"]
    subprocess.run([*made, "-keyout", key, "-out", certificate, "-days", "2"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    named = []
    context.sni_callback = lambda _socket, name, _context: named.append(name)
    with listening(context=context) as server:
        url = f"https://pinned.example:{server.server_port}/"
        with pytest.raises(ForwardError, match="certificate"):
            forward.to_url(came(), url, allow_private=True, resolve=lambda *_: ["127.0.0.1"])
    assert named == ["pinned.example"]


def box_delivery() -> bins.Request:
    body, lines = samples.forge("box", "FILE.UPLOADED", KEYS["box"], at=datetime.now(UTC), number=1)
    return came(headers=Headers([*lines, ("Content-Length", "9"), ("Connection", "close")]), body=body, query="a=1")


def test_a_capture_sent_to_a_source_is_accepted_as_if_it_had_come_there(app: Flask) -> None:
    answered = forward.to_source(app, "box", box_delivery())
    (item,) = listings.list_events(service.of(app).engine)["items"]
    assert (answered.status, answered.url) == (200, "/hooks/box")
    assert item["id"].encode() in answered.body


@pytest.mark.parametrize(
    ("changed", "source", "status"),
    [
        ({"body": b"{}"}, "box", 401),
        ({"method": "GET"}, "box", 405),
        ({"headers": Headers([("Content-Encoding", "gzip")])}, "box", 415),
        ({"body": b"x" * (1024 * 1024 + 1)}, "box", 413),
        ({"headers": Headers([("X-Odd", "\x00\xff"), ("X-Odd", "2")])}, "filestack", 401),
        ({}, "nobody", 404),
    ],
)
def test_a_source_answers_a_capture_as_it_answers_everybody(
    app: Flask, changed: dict[str, Any], source: str, status: int
) -> None:
    assert forward.to_source(app, source, came(**changed)).status == status
