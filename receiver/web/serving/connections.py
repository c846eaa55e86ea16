"""The connections of a web process: how far each one is, and which are ended because they take too long or too much.

No read or write has a timer of its own. A connection notes what it waits for, and once a second `Connections.look`
goes over all of them.
"""

import fcntl
import socket
import struct
import termios
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

import gevent
from gunicorn.http.errors import LimitRequestHeaders

if TYPE_CHECKING:
    from receiver.web.serving.requests import StrictRequest

SMALL = 1024  # bytes: what a sender in earnest sends more of at once
FEW = 8
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.002, 2.0
MEMORY_PAUSE_SECONDS = 0.01
WORTH_ENDING_BYTES = 4096
AT_ONCE = 20  # are ended before others have their turn
LINGER_BYTES = 4 * 1024 * 1024

_sink = bytearray(65536)  # what is read only to be thrown away
_NO_DELAY = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much a client may take; idle connections have gunicorn's `keepalive`.

    head: from the first byte of a request, or from connecting, until its headers are whole
    stall: without a byte of the body, where one is due
    grace, bytes_a_second: how slow a body may be on the whole: so long, and then so many bytes a second
    answer: without the client taking anything of what is sent
    linger: after an answer that did not wait for the whole body
    head_bytes: request line and headers together
    held_bytes: requests that are not whole yet, or being served, together
    """

    head: timedelta = timedelta(seconds=30)
    stall: timedelta = timedelta(seconds=30)
    grace: timedelta = timedelta(seconds=30)
    bytes_a_second: int = 1000
    answer: timedelta = timedelta(seconds=30)
    linger: timedelta = timedelta(seconds=5)
    head_bytes: int = 64 * 1024
    held_bytes: int = 64 * 1024 * 1024


class Step(Enum):
    """What a connection is at."""

    IDLE = "idle"  # between two requests
    HEAD = "head"
    BODY = "body"  # whole headers; also while the request is served
    LINGER = "linger"  # answered, and to be closed, with some of the body still to come


class End(Enum):
    """Why a connection was ended; the values are what the log and the metrics call it."""

    IDLE = "idle"
    HEAD = "slow_head"
    BODY = "slow_body"
    ANSWER = "unread_answer"
    LINGER = "unfinished"
    CROWDED = "crowded"
    MEMORY = "memory"
    MALFORMED = "malformed"


class Connection:
    """A client's socket, as gunicorn's parser and responses use it."""

    __slots__ = (
        "_all",
        "_seen",
        "_small",
        "_socket",
        "at_end",
        "began",
        "continues",
        "ended",
        "most",
        "moved",
        "reading",
        "received",
        "request",
        "step",
        "taken",
        "writing",
    )

    def __init__(self, client: socket.socket, everyone: "Connections") -> None:
        self._socket = client
        self._all = everyone
        self.request: StrictRequest | None = None
        self.step = Step.HEAD
        self.began = self.moved = time.monotonic()
        self.received = 0  # of this request
        self.most = everyone.limits.head_bytes
        self.taken = 0  # by the client, of what blocked
        self.reading = self.writing = False
        self.continues = False  # the client waits for our word before it sends its body
        self.at_end = False  # the client sends no more
        self.ended = False
        self._small = 0
        self._seen: object = None

    def rest(self) -> None:
        """Begin to wait for the next request."""
        self._all.finish(self)
        self.request = None
        self.step, self.began = Step.IDLE, time.monotonic()
        self.moved = self.began
        self.most = self._all.limits.head_bytes
        self.continues = False
        self._small = 0

    def take(self, request: "StrictRequest") -> None:
        """Note that the headers of a request are whole."""
        self.request = request
        self.step, self.began = Step.BODY, time.monotonic()
        self.moved = self.began
        self.most = self.received + self._all.body_bytes
        self.continues = request.asks_to_continue

    def stays_open(self) -> bool:
        """Say whether another request may follow the one that is being served."""
        return self.request is not None and not self.request.should_close()

    def recv(self, size: int) -> bytes:
        """Read what there is, at most `size` bytes; nothing at the client's end. GreenletExit where it was ended."""
        if self.continues:
            self.continues = False
            self.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.reading = True
        try:
            data = self._read(size)
        finally:
            self.reading = False
        count = len(data)
        if not count:
            self.at_end = True
            return data
        if self.step is Step.IDLE:
            self.step, self.began = Step.HEAD, time.monotonic()
        if count < SMALL:
            self._small = min(self._small + 1, 20)
        self.received += count
        self._all.held += count
        if self.received > self.most:
            self._refuse_more()
        return data

    def _read(self, size: int) -> bytes:
        if self._small > FEW:
            # Many small pieces cost more than they bring: what comes meanwhile is read together.
            gevent.sleep(min(FIRST_PAUSE_SECONDS * 2 ** (self._small - FEW), self._all.longest_pause))
        if self._all.held > self._all.held_bytes and self.step is Step.BODY:
            self._all.make_room(self)
        data = b"" if self.ended else self._socket.recv(size)
        if self.ended:
            # Past whatever serves the request: there is nobody to answer.
            raise gevent.GreenletExit
        return data

    def _refuse_more(self) -> None:
        if self.step is Step.BODY:
            raise OSError(f"More than {self.most} bytes for one body.")
        raise LimitRequestHeaders(f"more than {self.most} bytes")

    def sendall(self, data: bytes) -> None:
        if self.ended:
            raise gevent.GreenletExit
        self.writing = True
        sent = self._socket.send(data)
        rest = memoryview(data)[sent:] if sent < len(data) else b""
        while rest:
            self.taken += sent
            sent = self._socket.send(rest)
            rest = rest[sent:]
        self.writing = False

    def gettimeout(self) -> float | None:
        return self._socket.gettimeout()

    def settimeout(self, seconds: float | None) -> None:
        """Have reads and writes raise TimeoutError after so long: for who wants to wait less than the limits allow."""
        self._socket.settimeout(seconds)

    def shutdown(self, how: int) -> None:
        self._socket.shutdown(how)

    def close(self) -> None:
        self._all.forget(self)
        with suppress(OSError):
            self._socket.close()

    def linger(self) -> None:
        """Send what was answered, and read on for a while: a client that is cut off while it sends never reads it."""
        if self.ended or self.at_end:
            return
        self._all.finish(self)
        self.step, self.began, self.reading = Step.LINGER, time.monotonic(), True
        left = LINGER_BYTES
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            while left > 0 and not self.ended and (count := self._socket.recv_into(_sink)):
                left -= count

    def end(self, why: End) -> None:
        """Wake whoever waits for the client, and let nothing more through."""
        if self.ended:
            return
        self.ended = True
        with suppress(OSError):
            self._socket.settimeout(0)
            if self.writing:
                # What it does not take is thrown away, not kept by the system until it does.
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_DELAY)
            elif self.reading and self.received and self.step is not Step.LINGER:
                self._socket.send(self._all.farewell(why))
            self._socket.shutdown(socket.SHUT_RDWR)

    def too_slow(self, now: float, limits: Limits, idle_seconds: float) -> End | None:
        """Give the limit that this connection is over, if any. One whose request is being served is over none."""
        if self.writing:
            self._notice(now, (self.taken, _untaken(self._socket)))
            return End.ANSWER if now - self.moved > limits.answer.total_seconds() else None
        if not self.reading:
            return None
        if self.step is Step.BODY:
            self._notice(now, self.received)
            earned = limits.grace.total_seconds() + self.received / limits.bytes_a_second
            is_slow = now - self.moved > limits.stall.total_seconds() or now - self.began > earned
            return End.BODY if is_slow else None
        waited = now - self.began
        if self.step is Step.IDLE:
            return End.IDLE if waited > idle_seconds else None
        if self.step is Step.HEAD:
            return End.HEAD if waited > limits.head.total_seconds() else None
        return End.LINGER if waited > limits.linger.total_seconds() else None

    def _notice(self, now: float, seen: object) -> None:
        if seen != self._seen:
            self._seen, self.moved = seen, now


class Connections:
    """All connections of a process, those first that have been without a whole request for longest."""

    def __init__(self, limits: Limits, *, places: int, idle_seconds: float) -> None:
        self.limits = limits
        self.places = places
        self.body_bytes = self.held_bytes = limits.held_bytes
        self.held = 0
        self.longest_pause = min(LONGEST_PAUSE_SECONDS, limits.stall.total_seconds() / 4)
        self.ends: Counter[End] = Counter()
        self.farewell: Callable[[End], bytes] = lambda _why: b""
        self._idle_seconds = idle_seconds
        self._open: OrderedDict[Connection, None] = OrderedDict()
        self._make_room_at = 0.0

    def __len__(self) -> int:
        return len(self._open)

    def allow_bodies(self, most: int) -> None:
        """Let a body be this long on the wire; one that long always has room."""
        self.body_bytes, self.held_bytes = most, max(self.limits.held_bytes, most)

    def admit(self, client: socket.socket) -> Connection:
        """Give a client a place; where none is left, one is taken from whoever has kept it longest for nothing."""
        connection = Connection(client, self)
        if len(self._open) >= self.places:
            victim = next(self._waiting(), None) or next((one for one in self._open if one.writing), None)
            if victim:
                self.end(victim, End.CROWDED)
        self._open[connection] = None
        return connection

    def make_room(self, wanting: Connection) -> None:
        """Wait until a body may be read on; meanwhile end those that hold memory and are not getting whole."""
        while self.held > self.held_bytes and not wanting.ended:
            now = time.monotonic()
            if now >= self._make_room_at:
                self._make_room_at = now + MEMORY_PAUSE_SECONDS
                slow = (one for one in self._waiting() if one.received > WORTH_ENDING_BYTES and now - one.began > 1)
                if victim := next(slow, None):
                    self.end(victim, End.MEMORY)
                    continue
            gevent.sleep(MEMORY_PAUSE_SECONDS)

    def look(self) -> dict[End, int]:
        """End what is over a limit, and give how many were ended since the last look, and why."""
        now = time.monotonic()
        slow = [one for one in self._open if one.too_slow(now, self.limits, self._idle_seconds)]
        for number, connection in enumerate(slow, 1):
            # Thousands may be over a limit in the same second, and some are whole by the time it is their turn.
            if connection in self._open and (why := connection.too_slow(now, self.limits, self._idle_seconds)):
                self.end(connection, why)
            if number % AT_ONCE == 0:
                gevent.sleep(0)
        ends, self.ends = self.ends, Counter()
        return dict(ends)

    def end(self, connection: Connection, why: End) -> None:
        self.ends[why] += 1
        connection.end(why)
        self.forget(connection)

    def finish(self, connection: Connection) -> None:
        """Note that a connection holds no request any more."""
        self.held -= connection.received
        connection.received = 0
        if connection in self._open:
            self._open.move_to_end(connection)

    def forget(self, connection: Connection) -> None:
        self.held -= connection.received
        connection.received = 0
        self._open.pop(connection, None)

    def _waiting(self) -> Iterator[Connection]:
        return (one for one in self._open if one.reading)


def _untaken(client: Any) -> int:
    """Give how many bytes the system still has to send: a slow reader takes some long before there is room for more."""
    try:
        return int.from_bytes(fcntl.ioctl(client.fileno(), termios.TIOCOUTQ, bytes(4)), "little")
    except OSError:
        return 0
