"""What hostile and broken clients do on the socket: each gets a clear answer or none, never a 500."""

import json
import random
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection
from typing import Any

import pytest

from receiver.sources import SOURCES, samples
from tests.acceptance.service import KEEPS_OPEN, Service
from tests.installation import KEYS
from tests.waiting import PATIENCE_SECONDS, until


def head(lines: list[tuple[str, str]], **more: str) -> bytes:
    every = [*lines, *((name.replace("_", "-"), value) for name, value in more.items()), ("Connection", "close")]
    text = "".join(f"{name}: {value}\r\n" for name, value in every)
    return f"POST /hooks/box HTTP/1.1\r\nHost: localhost\r\n{text}\r\n".encode("latin-1")


def talk(service: Service, *pieces: bytes, stop_half_way: bool = False) -> tuple[int, bytes]:
    """Send pieces of a request and give the status (0 where there was no answer) and the body of the answer."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_SECONDS) as connection:
        for piece in pieces:
            connection.sendall(piece)
        if stop_half_way:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while received := connection.recv(65536):
                answer += received
        except ConnectionResetError:
            pass
    top, _, body = answer.partition(b"\r\n\r\n")
    return (int(top.split()[1]) if top.startswith(b"HTTP/") else 0), body


def forge() -> tuple[bytes, list[tuple[str, str]]]:
    return samples.forge("box", "FILE.UPLOADED", KEYS["box"], at=datetime.now(UTC))


def chunks(body: bytes, size: int = 100) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def kept(service: Service) -> int:
    return len(json.loads(service.signalbox("events list --json"))["items"])


def test_a_chunked_body_is_taken_whole(service: Service) -> None:
    service.web()
    body, lines = forge()
    status, answer = talk(service, head(lines, Transfer_Encoding="chunked"), chunks(body) + b"0\r\n\r\n")
    assert (status, json.loads(answer)["status"]) == (200, "accepted")


@contextmanager
def kept_open(service: Service) -> Iterator[HTTPConnection]:
    with closing(HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE_SECONDS)) as connection:
        yield connection


def deliver(connection: HTTPConnection, body: bytes, lines: list[tuple[str, str]]) -> tuple[int, Any, str]:
    """Give status and body of an answer, and what it says of the connection."""
    connection.request("POST", "/hooks/box", body, dict(lines))
    answer = connection.getresponse()
    assert abs(parsedate_to_datetime(answer.headers["Date"]) - datetime.now(UTC)) < timedelta(minutes=1)
    return answer.status, json.loads(answer.read()), answer.headers["Connection"]


def test_a_connection_that_stays_open_is_given_one_answer_after_the_other(service: Service) -> None:
    service.environ["GUNICORN_CMD_ARGS"] = KEEPS_OPEN
    service.web()
    body, lines = forge()
    with kept_open(service) as connection:
        answers = [deliver(connection, sent, lines) for sent in (body, body, body + b" ", b"")]
        last = deliver(connection, body, [*lines, ("Connection", "close")])
    assert [(status, said["status"]) for status, said, _ in answers] == [
        (200, "accepted"),
        (200, "duplicate"),
        (401, "rejected"),
        (401, "rejected"),
    ]
    assert {how for *_, how in answers} == {"keep-alive"}
    assert (last[0], last[2]) == (200, "close")
    assert "Traceback" not in service.log("web.log")


def test_a_process_that_ends_answers_what_comes_and_closes_the_connection(service: Service) -> None:
    service.environ["GUNICORN_CMD_ARGS"] = KEEPS_OPEN
    web = service.web()
    body, lines = forge()
    with kept_open(service) as connection:
        assert deliver(connection, body, lines)[2] == "keep-alive"
        web.terminate()
        answers: list[tuple[int, Any, str]] = []

        def is_closed() -> bool:
            answers.append(deliver(connection, body, lines))
            return answers[-1][2] == "close"

        until(is_closed, "the connection is closed")
    assert {status for status, *_ in answers} == {200}
    assert web.wait(PATIENCE_SECONDS) == 0


def test_with_an_access_log_gunicorn_gives_the_answers(service: Service) -> None:
    service.environ["GUNICORN_CMD_ARGS"] = f"{KEEPS_OPEN} --access-logfile {service.folder}/access.log"
    web = service.web()
    body, lines = forge()
    with kept_open(service) as connection:
        answers = [deliver(connection, body, lines) for _ in range(2)]
    assert [(status, said["status"]) for status, said, _ in answers] == [(200, "accepted"), (200, "duplicate")]
    web.terminate()
    assert web.wait(PATIENCE_SECONDS) == 0
    assert service.log("access.log").count("POST /hooks/box") == 2
    assert "Traceback" not in service.log("web.log")


def test_broken_requests_get_a_clear_answer_or_none_and_make_no_event(service: Service) -> None:
    service.environ["MAX_BODY_BYTES"] = "5000"
    service.web()
    body, lines = forge()
    chunked = head(lines, Transfer_Encoding="chunked")
    broken = {
        "a client that stops half-way": (head(lines, Content_Length=str(len(body))), body[:50]),
        "a chunked client that stops half-way": (chunked, chunks(body)[:150]),
        "no last chunk": (chunked, chunks(body)),
        "a chunk size that is none": (chunked, b"zz\r\nabc\r\n0\r\n\r\n"),
        "a chunk size that is negative": (chunked, b"-5\r\nabc\r\n0\r\n\r\n"),
        "a trailer that is none": (chunked, chunks(body) + b"0\r\nno colon\r\n\r\n"),
        "a chunked body over the limit": (chunked, chunks(b"x" * 6000) + b"0\r\n\r\n"),
        "a length over the limit": (head(lines, Content_Length="6000"), b"x" * 6000),
        "a length that is none": (head(lines, Content_Length="ten"), body),
        "a negative length": (head(lines, Content_Length="-1"), body),
        "a length and chunks": (head(lines, Content_Length="5", Transfer_Encoding="chunked"), chunks(body)),
        "no request at all": (b"\x16\x03\x01\x00\xff\r\n\r\n",),
    }
    answers = {what: talk(service, *pieces, stop_half_way=True)[0] for what, pieces in broken.items()}
    assert {what: status for what, status in answers.items() if status not in (0, 400, 413)} == {}
    assert answers["a chunked body over the limit"] == answers["a length over the limit"] == 413
    assert kept(service) == 0
    assert "Traceback" not in service.log("web.log")


@pytest.mark.parametrize("seed", range(3))
def test_random_headers_and_bodies_over_the_wire_never_give_a_500(service: Service, seed: int) -> None:
    service.web()
    chance = random.Random(seed)
    statuses = set()
    for _ in range(150):
        body, lines = forge()
        if chance.random() < 0.5:
            body = bytes(chance.randbytes(chance.randrange(200)))
            lines = SOURCES["box"].sign(body, KEYS["box"], at=datetime.now(UTC))
        lines = [(name, _spoilt(value, chance)) for name, value in lines for _ in range(chance.choice([1, 1, 1, 0, 2]))]
        statuses.add(talk(service, head(lines, Content_Length=str(len(body))) + body)[0])
    assert statuses <= {0, 200, 400, 401, 422}
    assert {200, 401, 422} & statuses
    assert "Traceback" not in service.log("web.log")


def _spoilt(value: str, chance: random.Random) -> str:
    if chance.random() < 0.85:
        return value
    junk = ["", "é" * 5, "A" * 7000, "\x01\x02", value.swapcase(), value + ",x", value[:-1], "9" * 30, "=", "\t"]
    return chance.choice(junk)
