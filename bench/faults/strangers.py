"""What strangers do to an installation while deliveries arrive: floods, half bodies, connections that drip."""

import http.client
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.deliveries import request
from bench.faults.installation import Installation

FLOOD_SECONDS = 10.0
SENDERS = 16
DRIPPING = 2_050  # more than two web processes had places for (1,000 each) before places were kept free
DRIP_SECONDS = 1.0
MEGABYTE = 2**20
TIMEOUT_SECONDS = 15


def flood(site: Installation, _rng: random.Random) -> None:
    """Send forged deliveries, requests to a bin, to nowhere and bodies of 1 MB, as fast as sixteen connections go."""
    forged = [("BOX-SIGNATURE-PRIMARY", "A" * 43 + "="), ("BOX-SIGNATURE-VERSION", "1")]
    kinds = [
        request("/hooks/box", forged, b'{"trigger":"FILE.UPLOADED"}'),
        request("/b/flood", [], b"anything"),
        request("/hooks/nowhere", [], b"{}"),
        request("/hooks/filestack", [], b"x" * MEGABYTE),
    ]
    over = time.monotonic() + FLOOD_SECONDS
    senders = [
        threading.Thread(target=_send_again_and_again, args=(site.port, kinds[number % len(kinds)], over), daemon=True)
        for number in range(SENDERS)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()


def _send_again_and_again(port: int, message: bytes, over: float) -> None:
    while time.monotonic() < over:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS) as connection:
                while time.monotonic() < over:
                    connection.sendall(message)
                    response = http.client.HTTPResponse(connection)
                    response.begin()
                    response.read()
                    if response.will_close:
                        break
        except (OSError, http.client.HTTPException):
            continue


def drip(site: Installation, _rng: random.Random) -> None:
    """Hold connections whose bodies stop half-way, and some whose bodies come at a byte per second."""
    head = b"POST /hooks/box HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n{"
    with _connections(site.port, DRIPPING, head) as held:
        over = time.monotonic() + FLOOD_SECONDS
        while time.monotonic() < over:
            for one in held[: DRIPPING // 2]:
                _try(lambda one=one: one.send(b"x"))  # type: ignore[misc]
            time.sleep(DRIP_SECONDS)


@contextmanager
def _connections(port: int, count: int, head: bytes) -> Iterator[list[socket.socket]]:
    held: list[socket.socket] = []
    try:
        for _ in range(count):
            one = socket.socket()
            held.append(one)
            one.settimeout(TIMEOUT_SECONDS)
            _try(lambda one=one: (one.connect(("127.0.0.1", port)), one.send(head)))  # type: ignore[misc]
            one.setblocking(False)
        yield held
    finally:
        for one in held:
            one.close()


def _try(send: Callable[[], object]) -> None:
    try:
        send()
    except OSError:  # the other end has closed it: a stranger does not mind
        return
