"""Where deliveries become rows: accept, reject, quarantine. The only writer of events and deliveries."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from receiver.events import Delivery, Event, Refused, Verified
from receiver.inbox import refusals
from receiver.inbox.group_commit import Group
from receiver.inbox.refusals import RefusalLog
from receiver.storage import db, stores
from receiver.storage.ids import new_id
from receiver.storage.tables import deliveries, events, pulse, quarantined


@dataclass(frozen=True, slots=True)
class Receipt:
    """The result of an accepted delivery: the id of its event, and whether that event existed before."""

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


class Inbox:
    """Stores deliveries: when a method returns, the row is on disk.

    Deliveries that arrive together are committed together. The caps limit the number of rejected deliveries, and the
    bytes of their bodies and headers. Refused requests wait in `refusals`, and have no part in the commit of
    deliveries.
    """

    def __init__(self, engine: sa.Engine, *, rejected_max_count: int, rejected_max_bytes: int) -> None:
        self._engine = engine
        self.refusals = RefusalLog(engine, max_count=rejected_max_count, max_bytes=rejected_max_bytes)
        self._group: Group[Arrival, Receipt] = Group(self._write, limit=stores.store_of(engine).limit)

    def accept(self, delivery: Delivery, event: Event, verified: Verified) -> Receipt:
        """Store a delivery as its event, or count it on the event that it repeats; StoreError if that fails."""
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
        """Store a delivery that did not verify, now, and return its id; the web process uses `refusals` instead."""
        return self.refusals.keep(refusals.of_delivery(delivery, refused))

    def quarantine(self, delivery: Delivery, verified: Verified, errors: Mapping[str, Sequence[str]]) -> str:
        """Store a delivery that verified but cannot be read, once for each body, and return its id."""
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
        """Return whether deliveries of this process wait for the database."""
        return self._group.is_waited_for

    def probe(self, at: datetime) -> None:
        """Commit a row that nobody reads; StoreError if deliveries could not be stored now."""
        with db.writing(self._engine) as connection:
            db.wait_as_an_insert(connection, events, deliveries)
            row = db.insert(connection, pulse).values(id=1, at=at)
            connection.execute(row.on_conflict_do_update(index_elements=["id"], set_={"at": at}))


# The one transaction that requests wait for bypasses SQLAlchemy, whose execution of the same statements costs as much
# as writing the rows (docs/performance.md). `?` becomes the driver's own placeholder.
_INSERT = f"""
    INSERT INTO events ({", ".join(Arrival._fields)}) VALUES ({", ".join("?" * len(Arrival._fields))})
    ON CONFLICT (source, identity) DO NOTHING
"""  # noqa: S608 - every part of it is ours
_IS_NEW = "SELECT 1 FROM events WHERE id = ?"
_COUNT = "UPDATE events SET deliveries = deliveries + 1 WHERE source = ? AND identity = ? RETURNING id, body"
_REPEAT = "INSERT INTO deliveries (event_id, received_at, verified_by, headers, body) VALUES (?, ?, ?, ?, ?)"


def write_arrivals(cursor: Any, arrivals: Sequence[Arrival], dialect: sa.Dialect) -> list[Receipt]:
    """Write arrivals in the caller's transaction; return a receipt for each, in order."""
    cursor.executemany(db.marked(_INSERT, dialect), [_row(arrival, dialect) for arrival in arrivals])
    if cursor.rowcount == len(arrivals):
        return [Receipt(arrival.id, duplicate=False) for arrival in arrivals]
    return [_receipt(cursor, arrival, dialect) for arrival in arrivals]


def _row(arrival: Arrival, dialect: sa.Dialect) -> tuple[object, ...]:
    times = (db.moment(dialect, arrival.received_at), db.moment(dialect, arrival.occurred_at))
    return (*arrival[:6], *times, *arrival[8:])


def _receipt(cursor: Any, arrival: Arrival, dialect: sa.Dialect) -> Receipt:
    """Return the receipt of an arrival; count one that repeats an event, and store what the first did not have."""
    cursor.execute(db.marked(_IS_NEW, dialect), (arrival.id,))
    if cursor.fetchone():
        return Receipt(arrival.id, duplicate=False)
    cursor.execute(db.marked(_COUNT, dialect), (arrival.source, arrival.identity))
    ((first_id, first_body),) = cursor.fetchall()
    body = arrival.body if arrival.body != first_body else None
    again = (first_id, db.moment(dialect, arrival.received_at), arrival.verified_by, arrival.headers, body)
    cursor.execute(db.marked(_REPEAT, dialect), again)
    return Receipt(first_id, duplicate=True)
