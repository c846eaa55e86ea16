"""Where deliveries become rows: accept, reject, quarantine. The only writer of events and deliveries."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from ulid import ULID

from receiver import db
from receiver.events import Delivery, Event, Refused, Verified
from receiver.tables import deliveries, events, pulse, quarantined, rejected


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an accepted delivery: the id of its event, and whether that was here before."""

    event_id: str
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Arrival:
    """A verified and readable delivery on its way to its row; `row` is the event that it makes if it is the first."""

    delivery: Delivery
    row: dict[str, Any]


def new_id(at: datetime) -> str:
    """Give a ULID: ids sort by the time that they were made at."""
    return str(ULID.from_datetime(at))


class Inbox:
    """Keeps deliveries, each in one transaction: when a method returns, its row is on the disk.

    The caps bound the rejected deliveries: how many, and how many bytes of bodies and headers.
    """

    def __init__(self, engine: sa.Engine, *, rejected_max_count: int, rejected_max_bytes: int) -> None:
        self._engine = engine
        self._max_count = rejected_max_count
        self._max_bytes = rejected_max_bytes

    def accept(self, delivery: Delivery, event: Event, verified: Verified) -> Receipt:
        """Keep a delivery as its event, or count it on the event that it repeats; StoreError if it cannot be kept."""
        arrival = Arrival(delivery, _event_row(delivery, event, verified))
        with db.writing(self._engine) as connection:
            return write_arrivals(connection, [arrival])[0]

    def reject(self, delivery: Delivery, refused: Refused) -> str:
        """Keep a delivery that did not verify, push the oldest ones out over the caps, and give its id."""
        headers = delivery.headers.to_bytes()
        row = {
            "id": new_id(delivery.received_at),
            "source": delivery.source,
            "received_at": delivery.received_at,
            "reason": refused.reason.value,
            "detail": refused.detail,
            "size": len(headers) + len(delivery.body),
            "headers": headers,
            "body": delivery.body,
        }
        with db.writing(self._engine) as connection:
            connection.execute(sa.insert(rejected), row)
            self._push_out(connection)
        return str(row["id"])

    def _push_out(self, connection: sa.Connection) -> None:
        count, size = connection.execute(sa.select(sa.func.count(), sa.func.sum(rejected.c.size))).one()
        if count <= self._max_count and size <= self._max_bytes:
            return
        newest_first = rejected.c.seq.desc()
        ranked = sa.select(
            rejected.c.seq,
            sa.func.row_number().over(order_by=newest_first).label("count"),
            sa.func.sum(rejected.c.size).over(order_by=newest_first).label("size"),
        ).subquery()
        over = sa.or_(ranked.c.count > self._max_count, ranked.c.size > self._max_bytes)
        connection.execute(sa.delete(rejected).where(rejected.c.seq.in_(sa.select(ranked.c.seq).where(over))))

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

    def probe(self, at: datetime) -> None:
        """Commit a row that nobody reads: StoreError if deliveries could not be kept now."""
        with db.writing(self._engine) as connection:
            row = db.insert(connection, pulse).values(id=1, at=at)
            connection.execute(row.on_conflict_do_update(index_elements=["id"], set_={"at": at}))


def _event_row(delivery: Delivery, event: Event, verified: Verified) -> dict[str, Any]:
    return {
        "id": new_id(delivery.received_at),
        "source": delivery.source,
        "type": event.type,
        "name": event.name,
        "identity": event.identity,
        "state": "accepted",
        "received_at": delivery.received_at,
        "occurred_at": event.occurred_at,
        "verified_by": verified.by,
        "headers": delivery.headers.to_bytes(),
        "body": delivery.body,
    }


def write_arrivals(connection: sa.Connection, arrivals: Sequence[Arrival]) -> list[Receipt]:
    """Write arrivals in the caller's transaction; give a receipt for each, in order."""
    fresh = db.insert(connection, events).on_conflict_do_nothing(index_elements=["source", "identity"])
    kept = connection.execute(fresh.returning(events.c.id), [arrival.row for arrival in arrivals])
    new = set(kept.scalars())
    repeated = [arrival for arrival in arrivals if arrival.row["id"] not in new]
    firsts = _count_repeated(connection, repeated) if repeated else {}
    return [
        Receipt(firsts.get(arrival.row["id"], arrival.row["id"]), duplicate=arrival.row["id"] in firsts)
        for arrival in arrivals
    ]


def _count_repeated(connection: sa.Connection, repeated: Sequence[Arrival]) -> dict[str, str]:
    """Count each delivery on the event that it repeats; give that event's id under the id that it did not get."""
    firsts = {}
    for arrival in repeated:
        row = arrival.row
        same = (events.c.source == row["source"]) & (events.c.identity == row["identity"])
        counted = sa.update(events).where(same).values(deliveries=events.c.deliveries + 1)
        first = connection.execute(counted.returning(events.c.id, events.c.body)).one()
        differs = row["body"] != first.body
        connection.execute(
            sa.insert(deliveries),
            {
                "event_id": first.id,
                "received_at": row["received_at"],
                "verified_by": row["verified_by"],
                "headers": row["headers"],
                "body": row["body"] if differs else None,
            },
        )
        firsts[row["id"]] = first.id
    return firsts
