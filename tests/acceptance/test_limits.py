"""Clients that take their time: each wait has a limit, and nobody who only waits keeps others out. Real processes."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import httpx2 as httpx

from receiver.sources import samples
from tests.acceptance.service import PROCFILE, Service
from tests.installation import KEYS
from tests.waiting import PATIENCE_SECONDS, until

# As an installation changes the limits: a file of its own, which begins with ours.
QUICK = """
from datetime import timedelta
from config.gunicorn import *
from config.gunicorn import Worker
from receiver.web.serving import Limits

class Quick(Worker):
    limits = Limits({limits})

worker_class = Quick
keepalive = 1
{more}
"""
ONE_SECOND = ", ".join(f"{name}=timedelta(seconds=1)" for name in ("head", "stall", "grace", "answer", "linger"))
DELIVERY = b"POST /hooks/box HTTP/1.1\r\nHost: localhost\r\n"


def serve(service: Service, limits: str, more: str = "") -> None:
    path = service.folder / "quick.py"
    path.write_text(QUICK.format(limits=limits, more=more))
    process = service.start(PROCFILE["web"].replace("config/gunicorn.py", str(path)), "web.log")
    until(lambda: service.answers() or process.poll() is not None, "the web process answers")
    assert process.poll() is None, service.log("web.log")


@contextmanager
def connected(service: Service, *pieces: bytes, takes: int = 0) -> Iterator[socket.socket]:
    with socket.socket() as connection:
        if takes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, takes)
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(("127.0.0.1", service.port))
        for piece in pieces:
            connection.sendall(piece)
        yield connection


def heard(connection: socket.socket) -> bytes:
    """Give all that comes until the connection is closed."""
    answer = b""
    try:
        while piece := connection.recv(65536):
            answer += piece
    except ConnectionResetError:
        pass
    return answer


def delivery(number: int = 1) -> tuple[bytes, bytes]:
    body, lines = samples.forge("box", "FILE.UPLOADED", KEYS["box"], at=datetime.now(UTC), number=number)
    head = "".join(f"{name}: {value}\r\n" for name, value in [*lines, ("Content-Length", str(len(body)))])
    return DELIVERY + head.encode() + b"\r\n", body


def ended(service: Service, reason: str) -> int:
    """Give how many connections the log says were ended for a reason."""
    lines = [line for line in service.log("web.log").splitlines() if "connections ended" in line]
    return sum(int(count) for line in lines for count in re.findall(rf"\b{reason}=(\d+)", line))


def test_whoever_keeps_us_waiting_is_ended_counted_and_logged(service: Service) -> None:
    serve(service, ONE_SECOND)
    head, body = delivery()
    waits = {
        "nothing at all": (),
        "half a request line": (b"POST /ho",),
        "headers without an end": (DELIVERY,),
        "a body that stops half-way": (head, body[:50]),
        "chunks that stop half-way": (DELIVERY + b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nab"),
        "a body that was announced": (DELIVERY + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n",),
        "a body for a bin": (b"POST /b/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab",),
        "a form that nobody reads": (b"POST /bins HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab",),
        "a body nobody wants": (DELIVERY.replace(b"box", b"fox") + b"Content-Length: 900000\r\n\r\n",),
        "no second request": (head, body),
    }

    def one(pieces: tuple[bytes, ...]) -> list[int]:
        with connected(service, *pieces) as connection:
            return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", heard(connection))]

    with ThreadPoolExecutor(len(waits)) as threads:
        statuses = dict(zip(waits, threads.map(one, waits.values()), strict=True))
    assert statuses == {
        "nothing at all": [],
        "half a request line": [408],
        "headers without an end": [408],
        "a body that stops half-way": [408],
        "chunks that stop half-way": [408],
        "a body that was announced": [100, 408],
        "a body for a bin": [408],
        "a form that nobody reads": [303],
        "a body nobody wants": [404],
        "no second request": [200],
    }
    until(lambda: ended(service, "slow_head") >= 3 and ended(service, "slow_body") >= 4, "the log says so")
    assert "Traceback" not in service.log("web.log")
    counted = 'signalbox_connections_ended_total{reason="slow_body"}'
    until(
        lambda: counted in httpx.get(f"{service.url}/metrics", trust_env=False, timeout=PATIENCE_SECONDS).text,
        "it is counted",
    )


def test_a_slow_but_living_sender_is_left_alone(service: Service) -> None:
    serve(
        service, f"{ONE_SECOND}, bytes_a_second=100".replace("head=timedelta(seconds=1)", "head=timedelta(minutes=1)")
    )
    head, body = delivery()
    paced = threading.Event()
    began = time.monotonic()
    with connected(service) as connection:
        for piece in (head[:40], head[40:], *(body[start : start + 50] for start in range(0, len(body), 50))):
            connection.sendall(piece)
            paced.wait(0.2)
        assert time.monotonic() - began > 2
        assert connection.recv(20).startswith(b"HTTP/1.1 200")
    assert ended(service, "slow_body") == 0


def test_whoever_never_reads_is_ended_and_who_reads_slowly_gets_all(service: Service) -> None:
    (service.folder / "long.txt").write_bytes(b"x" * 500_000)
    service.signalbox(f"bins create long --body-file {service.folder}/long.txt")
    serve(service, ONE_SECOND)
    wants = b"GET /b/long HTTP/1.1\r\nHost: localhost\r\n\r\n" * 30
    paced = threading.Event()
    with connected(service, wants, takes=4096), connected(service, wants, takes=4096) as reader:
        got = 0
        while ended(service, "unread_answer") < 1 or got < 4_000_000:
            paced.wait(0.01)
            got += len(reader.recv(20_000))
        while got < 30 * 500_000:
            got += len(reader.recv(1_000_000))
    assert ended(service, "unread_answer") == 1


def test_a_live_page_outlasts_every_limit(service: Service) -> None:
    serve(service, ONE_SECOND)
    with connected(service, b"GET /live?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n") as page:
        with connected(service) as idle:
            assert heard(idle) == b""
        head, body = delivery()
        with connected(service, head, body) as connection:
            assert connection.recv(20).startswith(b"HTTP/1.1 200")
        seen = b""
        while b"FILE.UPLOADED" not in seen:
            seen += page.recv(65536)


def test_when_places_run_short_those_that_only_wait_give_way(service: Service) -> None:
    service.signalbox("bins create patient --delay 4")
    serve(service, "", "worker_connections = 30\nkeepalive = 60")
    with connected(service, b"GET /b/patient HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") as served:
        held = []
        head, body = delivery()
        try:
            for number in range(200):
                connection = socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_SECONDS)
                held.append(connection)
                connection.sendall(head + body[:50])
                if number % 20 == 0:
                    with connected(service, *delivery(number + 1)) as genuine:
                        assert genuine.recv(20).startswith(b"HTTP/1.1 200")
            assert heard(held[0]).startswith(b"HTTP/1.1 503")
            assert heard(served).startswith(b"HTTP/1.1 200")
        finally:
            for connection in held:
                connection.close()
    until(lambda: ended(service, "crowded") >= 170, "the log says so")
    assert "Traceback" not in service.log("web.log")


def test_when_memory_runs_short_the_bodies_that_do_not_come_give_way(service: Service) -> None:
    service.environ["MAX_BODY_BYTES"] = "100000"
    serve(service, "held_bytes=1_000_000")
    head = DELIVERY + b"Content-Length: 100000\r\n\r\n"
    held = [socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_SECONDS) for _ in range(30)]
    try:
        for connection in held:
            connection.sendall(head + b"x" * 90_000)
        assert b"HTTP/1.1 503" in heard(held[0])
        with connected(service, head + b"x" * 100_000) as whole:
            assert whole.recv(20).startswith(b"HTTP/1.1 401")
    finally:
        for connection in held:
            connection.close()
    until(lambda: ended(service, "memory") >= 1, "the log says so")
