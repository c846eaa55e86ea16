"""Refusals: noted at once when the answer is given, and written a moment later, together, and not all if too many.

docs/decisions/0020-a-refusal-promises-nothing.md says what is kept where there are too many.
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
from receiver.inbox.rejected import FORMED, JUNK, ROOMS, STRAY, Kept, Row
from receiver.sources import SOURCES

BEGINNING = 16 * 1024  # bytes of a body that are kept where the whole is too much
LANES = 64

# What is refused for one of these may be genuine: a key is not right yet, or a clock.
_MAY_BE_GENUINE = {Reason.SIGNATURE_MISMATCH, Reason.TIMESTAMP_STALE, Reason.TIMESTAMP_IN_FUTURE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A request that was refused: what came of it, and why.

    `client` is an address, to tell senders apart. Of a body that `is_cut` only the beginning is here; `announced` is
    how long it was to be, if that was said.
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
        """Give who sent it, roughly: a network and an hour. Who sends most is thinned out first."""
        # The hash of a text differs from one start to the next, so nobody can choose to stand in another's lane.
        return f"{self.received_at:%y%m%d%H}-{hash(_network(self.client)) % LANES:02}"

    def cut(self) -> "Refusal":
        if len(self.body) <= BEGINNING:
            return self
        return replace(self, body=self.body[:BEGINNING], is_cut=True, announced=self.announced or len(self.body))


def of_delivery(delivery: Delivery, refused: Refused, *, client: str = "") -> Refusal:
    """Give the refusal of a delivery that did not verify."""
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
    """Give what addresses of one sender have in common: /24 of IPv4, /48 of IPv6."""
    try:
        packed = ip_address(client).packed
    except ValueError:
        return client
    return packed[: 3 if len(packed) == 4 else 6].hex()


class Sample:
    """Refusals of one room that wait to be written: as many as there is room for, and of no sender all of it.

    Where there are more, whoever sent most has to give: of its refusals the first half stays, and the other half is a
    sample of what came later.
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
        """Give the refusal whole while there is room for bytes, and then with the beginning of its body."""
        if self._bytes and self._bytes + refusal.size > self.MOST_WHOLE_BYTES:
            refusal = refusal.cut()
        self._bytes += refusal.size
        return refusal

    def _forget(self, refusal: Refusal) -> None:
        self._bytes -= refusal.size


class Refusals:
    """Takes refusals down in memory, and writes them from a thread of its own, in one transaction for many.

    The thread begins with the first, so that a process that forks before it has its own, and ends when nothing has come
    for a while. A burst is kept whole; of what goes on coming, so many a second in each room. What is left out, and
    what the database does not take, is counted and told.
    """

    PAUSE_SECONDS = 0.02
    EVERY_SECONDS = 0.25
    IDLE_SECONDS = 5.0
    BURST = 1000
    PER_SECOND = 50
    MOST_AT_ONCE = 200
    FEWEST_AT_ONCE = 12

    def __init__(self, engine: sa.Engine, *, max_count: int, max_bytes: int) -> None:
        self._kept = Kept(engine, max_count=max_count, max_bytes=max_bytes)
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
        """In a process that was just forked: what waits is its parent's to write, and so is the thread."""
        self._begin()

    def add(self, refusal: Refusal) -> None:
        """Take a refusal down; it is written in a moment, if it is not left out."""
        with self._noting:
            self._seen += 1
            self._waiting[_room_at_first(refusal)].offer(refusal)
            if self._writer is None or not self._writer.is_alive():
                self._writer = threading.Thread(target=self._keep_writing, name="refusals", daemon=True)
                self._writer.start()
        if not self._some.is_set():
            self._some.set()

    def keep(self, refusal: Refusal) -> str:
        """Write a refusal now, and give its id; StoreError where it cannot be."""
        self._kept.write([_row(refusal)])
        return refusal.id

    @property
    def is_flooded(self) -> bool:
        """Say whether more is refused than is kept."""
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
        """Write what waits, now. What the database does not take is left out: nobody was promised anything."""
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
            # One that the database will never take must not take the others with it.
            if error.is_about_a_row and len(rows) > 1:
                return sum(self._write([row]) for row in rows)
            return 0
        except OSError:
            return 0
        return len(rows)


def _room_at_first(refusal: Refusal) -> str:
    """Give where a refusal belongs as far as its reason tells, and the ends of its body."""
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
    """Give where a refusal belongs. Only what is about to be kept is looked at so closely."""
    room = _room_at_first(refusal)
    if room == FORMED and not _is_a_message(refusal):
        return JUNK
    may_be_let_in = refusal.reason == Unread.SOURCE_OFF and not refusal.is_cut
    return FORMED if may_be_let_in and _is_a_message(refusal) else room


def _is_a_message(refusal: Refusal) -> bool:
    """Say whether a body can be read as a message of its provider: then only the signature tells it from a real one."""
    if refusal.is_cut:
        return False
    headers = Headers.from_bytes(refusal.headers)
    came = Delivery(source=refusal.source, body=refusal.body, headers=headers, received_at=refusal.received_at)
    try:
        SOURCES[refusal.source].parse(came)
    except UnreadableError:
        return False
    return True


_ALL: WeakSet[Refusals] = WeakSet()


@atexit.register
def write_last() -> None:
    """Write what still waits where a process ends in order."""
    for one in list(_ALL):
        with suppress(RuntimeError):  # a thread cannot be begun any more
            one.write_out()


def _begin_anew() -> None:
    for one in list(_ALL):
        one.begin_anew()


os.register_at_fork(after_in_child=_begin_anew)
