"""What a request looks like on the wire, told apart byte by byte: each oddity has one answer, and never a 5xx."""

import json
import re
import socket

from tests.acceptance.service import Service
from tests.acceptance.test_sockets import chunks, forge
from tests.waiting import PATIENCE_SECONDS

HOST = "Host: localhost"
LIMIT = 5000
EITHER = ""  # the body may have been read by the time of the answer, or not


def talk(service: Service, sent: bytes) -> tuple[list[int], str, bytes]:
    """Send something, and give the statuses of all answers, what the last one says of the connection, and its body."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while piece := connection.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass
    statuses = [int(status) for status in re.findall(rb"^HTTP/1\.[01] (\d+)", answer, re.MULTILINE)]
    said = re.findall(rb"^Connection: (\S+)\r$", answer, re.MULTILINE)
    return statuses, said[-1].decode() if said else "", answer.rpartition(b"\r\n\r\n")[2]


def request(*lines: str, top: str = "POST /hooks/box HTTP/1.1", body: bytes = b"") -> bytes:
    return "".join(f"{line}\r\n" for line in (top, *lines, "")).encode("latin-1") + body


def test_every_oddity_of_framing_has_one_answer_and_no_input_gives_a_5xx(service: Service) -> None:
    service.environ["MAX_BODY_BYTES"] = str(LIMIT)
    service.web()
    body, lines = forge()
    signed = [f"{name}: {value}" for name, value in lines]
    length = f"Content-Length: {len(body)}"
    whole = [HOST, *signed, length]
    in_chunks = [HOST, *signed, "Transfer-Encoding: chunked"]
    form = ["Content-Type: application/x-www-form-urlencoded"]
    chunked = chunks(body) + b"0\r\n\r\n"

    def coded(coding: str, pieces: bytes = chunked) -> bytes:
        return request(HOST, *signed, f"Transfer-Encoding: {coding}", body=pieces)

    def of(*more: str, top: str = "POST /hooks/box HTTP/1.1") -> bytes:
        return request(*whole, *more, top=top, body=body)

    def long(announced: object) -> bytes:
        return request(HOST, *signed, f"Content-Length: {announced}", body=body)

    table: dict[str, tuple[bytes, list[int], str]] = {
        # what -> (what is sent, the statuses, what the last answer says of the connection)
        "nothing odd": (of(), [200], "keep-alive"),
        "nothing odd, twice": (of() + of(), [200, 200], "keep-alive"),
        "chunks": (request(*in_chunks, body=chunked), [200], "keep-alive"),
        "chunks, in capitals": (coded("CHUNKED"), [200], "keep-alive"),
        # Transfer-Encoding
        "gzip, chunked": (coded("gzip, chunked"), [400], "close"),
        "gzip, and chunked in a line of its own": (coded("gzip\r\nTransfer-Encoding: chunked"), [400], "close"),
        "identity, chunked": (coded("identity, chunked"), [400], "close"),
        "chunked, identity": (coded("chunked, identity"), [400], "close"),
        "chunked, chunked": (coded("chunked, chunked"), [400], "close"),
        "chunked with a parameter": (coded("chunked;q=1"), [400], "close"),
        "a coding of nobody": (coded("xchunked"), [400], "close"),
        "identity": (coded("identity"), [400], "close"),
        "an empty coding": (coded(""), [400], "close"),
        "chunks and a length": (request(*in_chunks, length, body=chunked), [400], "close"),
        "chunks in HTTP/1.0": (request(*in_chunks, top="POST /hooks/box HTTP/1.0", body=chunked), [400], "close"),
        # chunks
        "a chunk size without an end": (coded("chunked", b"0" * 20_000), [400], "close"),
        "a chunk extension without an end": (coded("chunked", b"5;a=" + b"x" * 20_000), [400], "close"),
        "a trailer without an end": (coded("chunked", b"0\r\n" + b"a: b\r\n" * 200_000), [400], "close"),
        "a trailer that is none": (coded("chunked", chunks(body) + b"0\r\nno colon\r\n\r\n"), [400], "close"),
        "a chunk size that is none": (coded("chunked", b"zz\r\n"), [400], "close"),
        "a chunk size with a sign": (coded("chunked", b"+5\r\nabcde\r\n0\r\n\r\n"), [400], "close"),
        "more bytes around the chunks than in them": (
            coded("chunked", (b"1;" + b"x" * 8000 + b"\r\na\r\n") * 20),
            [400],
            "close",
        ),
        "senseless chunks for a page": (
            request(HOST, *form, "Transfer-Encoding: chunked", top="POST /login HTTP/1.1", body=b"1;=\r\na\r\n"),
            [400],
            "close",
        ),
        "senseless chunks for a bin": (
            request(HOST, "Transfer-Encoding: chunked", top="POST /b/odd HTTP/1.1", body=b"5;=\r\nabcde\r\n"),
            [400],
            "close",
        ),
        # Content-Length
        "a length with a plus": (long(f"+{len(body)}"), [400], "close"),
        "a length with an underscore": (long("1_0"), [400], "close"),
        "a length with leading zeros": (long(f"000{len(body)}"), [200], "keep-alive"),
        "a length that is not ASCII": (long("1²"), [400], "close"),
        "a length in words": (long("ten"), [400], "close"),
        "a negative length": (long("-1"), [400], "close"),
        "an empty length": (long(""), [400], "close"),
        "two lengths in one": (long(f"{len(body)}, {len(body)}"), [400], "close"),
        "two lengths": (of(length), [400], "close"),
        "a length of many digits": (long("9" * 4000), [413], "close"),
        "a length of too many digits": (long("9" * 5000), [400], "close"),
        "a length over the limit": (long(LIMIT + 1), [413], "close"),
        "chunks over the limit": (coded("chunked", chunks(b"x" * 9000) + b"0\r\n\r\n"), [413], "close"),
        "a body that stops half-way": (long(len(body) + 1), [400], "close"),
        # Expect
        "may I": (of("Expect: 100-continue"), [200], "keep-alive"),
        "may I, with a body over the limit": (
            request(HOST, *signed, "Expect: 100-continue", f"Content-Length: {LIMIT + 1}"),
            [413],
            "close",
        ),
        "may I, to nobody": (
            request(HOST, "Expect: 100-continue", "Content-Length: 10", top="POST /hooks/fox HTTP/1.1"),
            [404],
            "close",
        ),
        "may I, in HTTP/1.0": (
            of("Expect: 100-continue", top="POST /hooks/box HTTP/1.0"),
            [200],
            "close",
        ),
        "something else is expected": (of("Expect: wonders"), [417], "close"),
        # Connection
        "close": (of("Connection: close"), [200], "close"),
        "keep-alive, close": (of("Connection: keep-alive, close") + of(), [200], "close"),
        "Close, in a second line": (of("Connection: keep-alive", "Connection: CLOSE") + of(), [200], "close"),
        "keep-alive, and another word": (of("Connection: Keep-Alive, x-any"), [200], "keep-alive"),
        "HTTP/1.0": (of(top="POST /hooks/box HTTP/1.0") + of(), [200], "close"),
        "HTTP/1.0 that stays": (
            of("Connection: Keep-Alive", top="POST /hooks/box HTTP/1.0") + of(),
            [200, 200],
            "keep-alive",
        ),
        # Host
        "no Host": (request(*signed, length, body=body), [400], "close"),
        "no Host in HTTP/1.0": (request(*signed, length, top="POST /hooks/box HTTP/1.0", body=body), [200], "close"),
        "two Hosts": (of(HOST), [400], "close"),
        "an address with a host": (of(top="POST http://example.com/hooks/box HTTP/1.1"), [200], "keep-alive"),
        # Content-Encoding
        **{
            f"Content-Encoding: {coding}": (of(f"Content-Encoding: {coding}"), [415], EITHER)
            for coding in ("gzip;q=1", "GZip ; q=1", "identity,gzip", "\tgzip", 'br;x="y"')
        },
        # headers
        "a folded header": (of("X-Any: one", " two"), [400], "close"),
        "a NUL in a header": (of("X-Any: a\0b"), [400], "close"),
        "a space before the colon": (of("X-Any : a"), [400], "close"),
        "a header without a name": (of(": a"), [400], "close"),
        "a header without a colon": (of("X-Any"), [400], "close"),
        "a bare line feed": (of().replace(b"\r\n", b"\n"), [400], "close"),
        "a header that is too long": (of(f"X-Any: {'a' * 9000}"), [431], "close"),
        "more headers than anybody has": (of(*["X-Any: a"] * 200), [431], "close"),
        "headers that are too long together": (of(*[f"X-Any: {'a' * 8000}"] * 9), [431], "close"),
        "who says https and http": (of("X-Forwarded-Proto: https", "X-Forwarded-Ssl: off"), [400], "close"),
        # request lines
        "a method in small letters": (of(top="post /hooks/box HTTP/1.1"), [400], "close"),
        "a method of another world": (of(top="BR\x00EW /hooks/box HTTP/1.1"), [400], "close"),
        "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400], "close"),
        "HTTP/0.9": (b"GET /\r\n\r\n", [400], "close"),
        "HTTP/9.9": (of(top="POST /hooks/box HTTP/9.9"), [400], "close"),
        "TLS": (b"\x16\x03\x01\x00\xff\r\n\r\n", [400], "close"),
        "an address without a slash": (of(top="POST hooks/box HTTP/1.1"), [400], "close"),
        "an address that is not ASCII": (of(top="POST /hooks/b\xf6x HTTP/1.1"), [400], "close"),
        "an address that is too long": (of(top=f"POST /{'a' * 9000} HTTP/1.1"), [414], "close"),
        "a NUL in the address": (of(top="POST /hooks/box%00 HTTP/1.1"), [404], EITHER),
        "no UTF-8 in the address": (of(top="POST /hooks/%ff HTTP/1.1"), [404], EITHER),
        "an asterisk": (request(HOST, top="OPTIONS * HTTP/1.1"), [404], "keep-alive"),
        "a tunnel": (request(HOST, top="CONNECT localhost:80 HTTP/1.1"), [404], "close"),
        "slashes before the source": (of(top="POST /hooks//box HTTP/1.1"), [200], "keep-alive"),
        "slashes at the end": (of(top="POST /hooks/box// HTTP/1.1"), [200], "keep-alive"),
        "slashes everywhere": (of(top="POST //hooks///box/ HTTP/1.1"), [200], "keep-alive"),
        "slashes and no such source": (of(top="POST /hooks//fox HTTP/1.1"), [404], EITHER),
        "slashes, and only a look": (request(HOST, top="GET /hooks//box HTTP/1.1"), [405], "keep-alive"),
    }
    answers = {what: talk(service, sent) for what, (sent, *_) in table.items()}
    found = {what: (statuses, said) for what, (statuses, said, _) in answers.items()}
    wrong = {
        what: found[what]
        for what, (_, statuses, said) in table.items()
        if found[what] not in [(statuses, one) for one in ([said] if said else ["close", "keep-alive"])]
    }
    assert wrong == {}
    assert {what for what, (*_, answer) in answers.items() if not isinstance(json.loads(answer), dict)} == set()
    assert "Traceback" not in service.log("web.log")


def test_who_asks_first_is_told_to_go_on_when_the_body_is_wanted(service: Service) -> None:
    service.web()
    body, lines = forge()
    asks = request(
        HOST, *(f"{name}: {value}" for name, value in lines), "Expect: 100-continue", f"Content-Length: {len(body)}"
    )
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(asks)
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.recv(20).startswith(b"HTTP/1.1 200")
