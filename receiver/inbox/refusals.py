"""Refused requests: noted in memory, and written together a moment later, but not all if there are too many.

docs/decisions/0020-a-refusal-promises-nothing.md says which ones are kept then.
"""

import atexit
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import ip_address
from weakref import WeakSet

import sqlalchemy as sa
from ulid_transform import ulid_at_time

from receiver import signals
from receiver.errors import StoreError, UnreadableError
from receiver.events import Delivery, Headers, Reason, Refused, Unread
from receiver.inbox.rejected import FORMED, JUNK, ROOMS, STRAY, RejectedTable, Row
from receiver.sources import SOURCES

BEGINNING = 16 * 1024  # bytes that are kept of a body that is too long
LANES = 64

# A request that is refused for one of these may be genuine: a key is not right yet, or a clock is wrong.
_MAY_BE_GENUINE = {Reason.SIGNATURE_MISMATCH, Reason.TIMESTAMP_STALE, Reason.TIMESTAMP_IN_FUTURE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A request that was refused, with what it contained and why it was refused.

    `client` is an address, to tell senders apart. If the body `is_cut`, only its beginning is here; `announced` is the
    length that the request announced, if it did.
    """

    id: str
    source: str
    received_at: datetime
    reason: str
    detail: str
    headers: bytes
    body: bytes
    client: str = ""
    status: int = 401
    method: str = "POST"
    path: str = ""
    is_cut: bool = False
    announced: int | None = None

    @property
    def size(self) -> int:
        return len(self.headers) + len(self.body)

    @property
    def lane(self) -> str:
        """Return roughly who sent it: a network and an hour. The lane that sends most is thinned out first."""
        # Python's hash of a text changes with each process (PYTHONHASHSEED), so nobody can choose to be in another
        # sender's lane: docs.python.org/3/reference/datamodel.html#object.__hash__.
        return f"{self.received_at:%y%m%d%H}-{hash(_network(self.client)) % LANES:02}"

    def cut(self) -> "Refusal":
        if len(self.body) <= BEGINNING:
            return self
        return replace(self, body=self.body[:BEGINNING], is_cut=True, announced=self.announced or len(self.body))


def of_delivery(delivery: Delivery, refused: Refused, *, client: str = "") -> Refusal:
    """Return the refusal of a delivery whose signature did not verify."""
    return Refusal(
        id=ulid_at_time(delivery.received_at.timestamp()),
        source=delivery.source,
        received_at=delivery.received_at,
        reason=refused.reason.value,
        detail=refused.detail,
        headers=delivery.headers.to_bytes(),
        body=delivery.body,
        client=client,
        path=f"/hooks/{delivery.source}",
    )


def _network(client: str) -> str:
    """Return the network of an address: /24 of IPv4, /48 of IPv6."""
    try:
        packed = ip_address(client).packed
    except ValueError:
        return client
    return packed[: 3 if len(packed) == 4 else 6].hex()


class Sample:
    """The refusals of one room that wait to be written, up to its size, with no sender taking all of it.

    If there are more, refusals of the sender with the most are dropped: the first half of its refusals stays, the other
    half is a sample of the later ones.
    """

    MOST_WHOLE_BYTES = 1024 * 1024

    def __init__(self, most: int) -> None:
        self._most = most
        self._lanes: dict[str, list[Refusal]] = {}
        self._seen: dict[str, int] = {}
        self._bytes = 0
        self.kept = 0

    def __iter__(self) -> Iterator[Refusal]:
        for lane in self._lanes.values():
            yield from lane

    def offer(self, refusal: Refusal) -> None:
        lane = refusal.lane
        seen = self._seen[lane] = self._seen.get(lane, 0) + 1
        own = self._lanes.setdefault(lane, [])
        if self.kept < self._most:
            own.append(self._fitting(refusal))
            self.kept += 1
            return
        longest = max(self._lanes.values(), key=len)
        if len(own) < len(longest) - 1:
            self._forget(longest.pop(self._place_to_give(longest)))
            own.append(self._fitting(refusal))
        elif own and random.randrange(seen) < len(own):
            place = self._place_to_give(own)
            self._forget(own[place])
            own[place] = self._fitting(refusal)

    def _place_to_give(self, lane: list[Refusal]) -> int:
        return random.randrange(len(lane) // 2, len(lane))

    def _fitting(self, refusal: Refusal) -> Refusal:
        """Return the refusal, its body cut short if there is no room for the whole."""
        if self._bytes and self._bytes + refusal.size > self.MOST_WHOLE_BYTES:
            refusal = refusal.cut()
        self._bytes += refusal.size
        return refusal

    def _forget(self, refusal: Refusal) -> None:
        self._bytes -= refusal.size


class RefusalLog:
    """Notes refusals in memory, and writes them from a thread of its own, many in one transaction.

    The thread starts with the first refusal, so that a process forked before has its own, and ends after a quiet while.
    A burst is kept whole; if it goes on, so many a second are kept in each room. What is left out, and what the
    database does not take, is counted and reported.
    """

    PAUSE_SECONDS = 0.02
    EVERY_SECONDS = 0.25
    IDLE_SECONDS = 5.0
    BURST = 1000
    PER_SECOND = 50
    MOST_AT_ONCE = 200
    FEWEST_AT_ONCE = 12

    def __init__(self, engine: sa.Engine, *, max_count: int, max_bytes: int) -> None:
        self._kept = RejectedTable(engine, max_count=max_count, max_bytes=max_bytes)
        self._credit = dict.fromkeys(ROOMS, float(self.BURST))
        self._begin()
        _ALL.add(self)

    def _begin(self) -> None:
        self._noting, self._writing = threading.Lock(), threading.Lock()
        self._some = threading.Event()
        self._writer: threading.Thread | None = None
        self._written_at = time.monotonic()
        self._open_anew()

    def _open_anew(self) -> None:
        self._waiting = {room: Sample(self._allowed(room)) for room in ROOMS}
        self._seen = 0

    def _allowed(self, room: str) -> int:
        return max(self.FEWEST_AT_ONCE, min(int(self._credit[room]), self.MOST_AT_ONCE))

    def begin_anew(self) -> None:
        """Drop what waits, in a process that was just forked: it and the thread belong to the parent."""
        self._begin()

    def add(self, refusal: Refusal) -> None:
        """Note a refusal; it is written in a moment unless it is left out."""
        with self._noting:
            self._seen += 1
            self._waiting[_room_at_first(refusal)].offer(refusal)
            if self._writer is None or not self._writer.is_alive():
                self._writer = threading.Thread(target=self._keep_writing, name="refusals", daemon=True)
                self._writer.start()
        if not self._some.is_set():
            self._some.set()

    def keep(self, refusal: Refusal) -> str:
        """Write a refusal now, and return its id; StoreError if that fails."""
        self._kept.write([_row(refusal)])
        return refusal.id

    @property
    def is_flooded(self) -> bool:
        """Return whether more requests are refused than are kept."""
        return self._seen > self.MOST_AT_ONCE

    def _keep_writing(self) -> None:
        while self._some.wait(self.IDLE_SECONDS) or not self._may_end():
            time.sleep(max(self.PAUSE_SECONDS, self._written_at + self.EVERY_SECONDS - time.monotonic()))
            self._some.clear()
            self.write_out()

    def _may_end(self) -> bool:
        with self._noting:
            if self._seen == 0:
                self._writer = None
            return self._seen == 0

    def write_out(self) -> None:
        """Write what waits, now. What the database does not take is left out: a refusal promises nothing."""
        with self._writing:
            with self._noting:
                waiting, seen = self._waiting, self._seen
                self._earn()
                self._open_anew()
            if not seen:
                return
            kept = self._write([_row(one) for sample in waiting.values() for one in sample])
        signals.refusals_written.send(kept=kept, left_out=seen - kept)

    def _earn(self) -> None:
        now = time.monotonic()
        earned = (now - self._written_at) * self.PER_SECOND
        self._written_at = now
        for room, sample in self._waiting.items():
            self._credit[room] = min(self.BURST, max(0.0, self._credit[room] - sample.kept) + earned)

    def _write(self, rows: list[Row]) -> int:
        try:
            self._kept.write(rows)
        except StoreError as error:
            # A row that the database will never take must not take the others with it.
            if error.is_about_a_row and len(rows) > 1:
                return sum(self._write([row]) for row in rows)
            return 0
        except OSError:
            return 0
        return len(rows)


def _room_at_first(refusal: Refusal) -> str:
    """Return the room of a refusal, judged only by its reason and by the first and last byte of its body."""
    if refusal.reason in _MAY_BE_GENUINE:
        return FORMED if refusal.body[:1] == b"{" and refusal.body.rstrip()[-1:] == b"}" else JUNK
    return JUNK if refusal.status == 401 else STRAY


def _row(refusal: Refusal) -> Row:
    return {
        "id": refusal.id,
        "source": refusal.source,
        "received_at": refusal.received_at,
        "reason": refusal.reason,
        "detail": refusal.detail,
        "size": refusal.size,
        "headers": refusal.headers,
        "body": refusal.body,
        "room": _room(refusal),
        "lane": refusal.lane,
        "status": refusal.status,
        "method": refusal.method,
        "path": refusal.path,
        "is_cut": refusal.is_cut,
        "announced": refusal.announced,
    }


def _room(refusal: Refusal) -> str:
    """Return the room of a refusal. It parses the body, so only refusals that will be kept are passed here."""
    room = _room_at_first(refusal)
    if room == FORMED and not _is_a_message(refusal):
        return JUNK
    may_be_let_in = refusal.reason == Unread.SOURCE_OFF and not refusal.is_cut
    return FORMED if may_be_let_in and _is_a_message(refusal) else room


def _is_a_message(refusal: Refusal) -> bool:
    """Return whether the body can be read as a message of its provider: then only its signature is wrong."""
    if refusal.is_cut:
        return False
    headers = Headers.from_bytes(refusal.headers)
    came = Delivery(source=refusal.source, body=refusal.body, headers=headers, received_at=refusal.received_at)
    try:
        SOURCES[refusal.source].parse(came)
    except UnreadableError:
        return False
    return True


_ALL: WeakSet[RefusalLog] = WeakSet()


@atexit.register
def write_last() -> None:
    """Write what still waits when a process exits normally."""
    for one in list(_ALL):
        with suppress(RuntimeError):  # no thread can be started any more
            one.write_out()


def _begin_anew() -> None:
    for one in list(_ALL):
        one.begin_anew()


os.register_at_fork(after_in_child=_begin_anew)
