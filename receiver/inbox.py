"""Where deliveries become rows: accept, reject, quarantine. The only writer of events and deliveries."""

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, NamedTuple, TypeVar

import sqlalchemy as sa
from ulid_transform import ulid_at_time

from receiver import db, patience, refusals, stores
from receiver.errors import StoreError
from receiver.events import Delivery, Event, Refused, Verified
from receiver.refusals import Refusals
from receiver.tables import deliveries, events, pulse, quarantined

_TIME_OF_ID = 10  # characters of a ULID, 48 bits of milliseconds
_LAST_SECOND = 2**48 / 1000 - 1


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an accepted delivery: the id of its event, and whether that was here before."""

    event_id: str
    duplicate: bool


class Arrival(NamedTuple):
    """A verified and readable delivery on its way to its row: the columns of the event that it makes if it is new."""

    id: str
    source: str
    type: str
    name: str
    identity: str
    state: str
    received_at: datetime
    occurred_at: datetime | None
    verified_by: str
    headers: bytes
    body: bytes


def new_id(at: datetime) -> str:
    """Give a ULID: ids sort by the time that they were made at."""
    return ulid_at_time(at.timestamp())


def lowest_id(at: datetime, *, milliseconds: int = 0) -> str:
    """Give what every id from so long after this moment on sorts after, and every earlier one before.

    A time that no id can have is the first or the last that one has.
    """
    seconds = at.timestamp() + milliseconds / 1000
    return ulid_at_time(min(max(0.0, seconds), _LAST_SECOND))[:_TIME_OF_ID]


class Inbox:
    """Keeps deliveries: when a method returns, the row is on the disk.

    Deliveries that arrive together are committed together. The caps bound the rejected ones: how many, and how many
    bytes of bodies and headers. What is refused waits in `refusals`, and has no part in the commit of deliveries.
    """

    def __init__(self, engine: sa.Engine, *, rejected_max_count: int, rejected_max_bytes: int) -> None:
        self._engine = engine
        self.refusals = Refusals(engine, max_count=rejected_max_count, max_bytes=rejected_max_bytes)
        self._group: Group[Arrival, Receipt] = Group(self._write, limit=stores.store_of(engine).limit)

    def accept(self, delivery: Delivery, event: Event, verified: Verified) -> Receipt:
        """Keep a delivery as its event, or count it on the event that it repeats; StoreError if it cannot be kept."""
        arrival = Arrival(
            new_id(delivery.received_at),
            delivery.source,
            event.type,
            event.name,
            event.identity,
            "accepted",
            delivery.received_at,
            event.occurred_at,
            verified.by,
            delivery.headers.to_bytes(),
            delivery.body,
        )
        return self._group.keep(arrival, size=len(arrival.body) + len(arrival.headers))

    def _write(self, take: Callable[[], Sequence[Arrival]]) -> list[Receipt]:
        with db.writing_directly(self._engine) as cursor:
            receipts = write_arrivals(cursor, take(), self._engine.dialect)
            db.ring(cursor, self._engine.dialect)
            return receipts

    def reject(self, delivery: Delivery, refused: Refused) -> str:
        """Keep a delivery that did not verify, now, and give its id. What the web refuses is written a moment later."""
        return self.refusals.keep(refusals.of_delivery(delivery, refused))

    def quarantine(self, delivery: Delivery, verified: Verified, errors: Mapping[str, Sequence[str]]) -> str:
        """Keep a delivery that did verify but cannot be read, once for each body, and give its id."""
        row = {
            "id": new_id(delivery.received_at),
            "source": delivery.source,
            "digest": hashlib.sha256(delivery.body).hexdigest(),
            "received_at": delivery.received_at,
            "verified_by": verified.by,
            "errors": dict(errors),
            "headers": delivery.headers.to_bytes(),
            "body": delivery.body,
        }
        with db.writing(self._engine) as connection:
            again = {"deliveries": quarantined.c.deliveries + 1}
            kept = db.insert(connection, quarantined).on_conflict_do_update(
                index_elements=["source", "digest"], set_=again
            )
            return str(connection.execute(kept.returning(quarantined.c.id), row).scalar_one())

    @property
    def is_waited_for(self) -> bool:
        """Say whether deliveries of this process wait for the database."""
        return self._group.is_waited_for

    def probe(self, at: datetime) -> None:
        """Commit a row that nobody reads: StoreError if deliveries could not be kept now."""
        with db.writing(self._engine) as connection:
            db.wait_as_an_insert(connection, events, deliveries)
            row = db.insert(connection, pulse).values(id=1, at=at)
            connection.execute(row.on_conflict_do_update(index_elements=["id"], set_={"at": at}))


# The one transaction that requests wait for goes to the driver as it is: SQLAlchemy's way to the same statements costs
# as much as the rows (docs/performance.md). `?` becomes the driver's own sign.
_INSERT = f"""
    INSERT INTO events ({", ".join(Arrival._fields)}) VALUES ({", ".join("?" * len(Arrival._fields))})
    ON CONFLICT (source, identity) DO NOTHING
"""  # noqa: S608 - all of it is ours
_IS_NEW = "SELECT 1 FROM events WHERE id = ?"
_COUNT = "UPDATE events SET deliveries = deliveries + 1 WHERE source = ? AND identity = ? RETURNING id, body"
_REPEAT = "INSERT INTO deliveries (event_id, received_at, verified_by, headers, body) VALUES (?, ?, ?, ?, ?)"


def write_arrivals(cursor: Any, arrivals: Sequence[Arrival], dialect: sa.Dialect) -> list[Receipt]:
    """Write arrivals in the caller's transaction; give a receipt for each, in order."""
    cursor.executemany(db.marked(_INSERT, dialect), [_row(arrival, dialect) for arrival in arrivals])
    if cursor.rowcount == len(arrivals):
        return [Receipt(arrival.id, duplicate=False) for arrival in arrivals]
    return [_receipt(cursor, arrival, dialect) for arrival in arrivals]


def _row(arrival: Arrival, dialect: sa.Dialect) -> tuple[object, ...]:
    times = (db.moment(dialect, arrival.received_at), db.moment(dialect, arrival.occurred_at))
    return (*arrival[:6], *times, *arrival[8:])


def _receipt(cursor: Any, arrival: Arrival, dialect: sa.Dialect) -> Receipt:
    """Say whether an arrival is the event's first; count one that repeats it, and keep what the first did not have."""
    cursor.execute(db.marked(_IS_NEW, dialect), (arrival.id,))
    if cursor.fetchone():
        return Receipt(arrival.id, duplicate=False)
    cursor.execute(db.marked(_COUNT, dialect), (arrival.source, arrival.identity))
    ((first_id, first_body),) = cursor.fetchall()
    body = arrival.body if arrival.body != first_body else None
    again = (first_id, db.moment(dialect, arrival.received_at), arrival.verified_by, arrival.headers, body)
    cursor.execute(db.marked(_REPEAT, dialect), again)
    return Receipt(first_id, duplicate=True)


Came = TypeVar("Came")
Said = TypeVar("Said")


class Batch(Generic[Came, Said]):
    """What shares a commit, and what became of it."""

    __slots__ = ("arrivals", "ended", "outcomes", "size")

    def __init__(self) -> None:
        self.arrivals: list[Came] = []
        self.size = 0
        self.ended = threading.Event()
        self.outcomes: Sequence[Said | StoreError] = ()


class Group(Generic[Came, Said]):
    """Commits together what arrives together: whoever comes while a commit is under way shares the next one.

    The first of a batch leads: it lets those that are already here join, waits for its turn, and writes for all. Made
    for gevent, where a commit holds up the whole process, so that batches grow by themselves as the load does; it
    holds in threads as well. What waits is bounded: beyond it a sender is told to come again.
    """

    OF = "deliveries"
    MOST_WAITING = 1000
    MOST_WAITING_BYTES = 64 * 1024 * 1024
    PATIENCE_SECONDS = 0.001
    NAP_SECONDS = 0.0005

    def __init__(
        self, write: Callable[[Callable[[], Sequence[Came]]], list[Said]], *, limit: timedelta | None = None
    ) -> None:
        self._write = write
        self._limit = limit or patience.LIMIT
        self._open: Batch[Came, Said] = Batch()
        self._joining = threading.Lock()
        self._leading = threading.Lock()
        self._last_size = 0

    @property
    def is_waited_for(self) -> bool:
        """Say whether anybody waits here for the database."""
        return bool(self._open.arrivals) or self._leading.locked()

    def keep(self, arrival: Came, *, size: int) -> Said:
        """Give the receipt once the arrival is on the disk; StoreError if it cannot be kept, or too many wait."""
        with self._joining:
            batch = self._open
            place = len(batch.arrivals)
            if place >= self.MOST_WAITING or (batch.size + size > self.MOST_WAITING_BYTES and place > 0):
                raise StoreError(f"too many {self.OF} wait for the database")
            batch.arrivals.append(arrival)
            batch.size += size
        if place == 0:
            self._lead(batch)
        else:
            batch.ended.wait()
        outcome = batch.outcomes[place]
        if isinstance(outcome, StoreError):
            raise outcome
        return outcome

    def _lead(self, batch: Batch[Came, Said]) -> None:
        # Whatever ends this thread, such as GreenletExit: whoever joined must not wait for ever.
        try:
            # Nobody came before the first, so nobody waits for longer than it does.
            with patience.within(self._limit):
                self._gather(batch)
                batch.outcomes = self._commit_in_turn(batch)
        finally:
            cut_short = StoreError("the commit was cut short")
            batch.outcomes = batch.outcomes or [cut_short] * len(self._close(batch))
            self._last_size = len(batch.arrivals)
            batch.ended.set()

    def _commit_in_turn(self, batch: Batch[Came, Said]) -> Sequence[Said | StoreError]:
        if not self._leading.acquire(timeout=patience.seconds_left()):
            late = StoreError("the database has been writing the deliveries before these for too long")
            return [late] * len(self._close(batch))
        try:
            return self._commit(batch)
        finally:
            self._leading.release()

    def _gather(self, batch: Batch[Came, Said]) -> None:
        """Let others join: all that are here, and while it lasts as many as last time, for PATIENCE at the most."""
        time.sleep(0)
        deadline = time.monotonic() + self.PATIENCE_SECONDS
        while len(batch.arrivals) < self._last_size and time.monotonic() < deadline:
            time.sleep(self.NAP_SECONDS)

    def _close(self, batch: Batch[Came, Said]) -> Sequence[Came]:
        """Let nobody join any more, and give who did."""
        with self._joining:
            if self._open is batch:
                self._open = Batch()
        return batch.arrivals

    def _commit(self, batch: Batch[Came, Said]) -> Sequence[Said | StoreError]:
        # Closed when the database is ready to write and no sooner: waiting for it is when others join.
        try:
            return self._write(lambda: self._close(batch))
        except StoreError as error:
            arrivals = self._close(batch)
            if not error.is_about_a_row:
                return [error] * len(arrivals)
        # One row is poison, and nobody says which: each for itself, so that it takes no other down.
        return [self._commit_alone(arrival) for arrival in arrivals]

    def _commit_alone(self, arrival: Came) -> Said | StoreError:
        try:
            return self._write(lambda: [arrival])[0]
        except StoreError as error:
            return error
