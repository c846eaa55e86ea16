"""Reinstate rejected and quarantined deliveries: verify them with today's keys, parse them again, make events.

A reinstated delivery keeps its bytes, its headers and the time at which it was received; duplicates are found as for
every delivery. docs/decisions/0017-what-is-let-in.md gives the reasons.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa
from marshmallow import ValidationError

from receiver.errors import NotFoundError, UnreadableError
from receiver.events import Delivery, Event, Headers, Verified
from receiver.inbox.rows import Arrival, Inbox, Receipt, write_arrivals
from receiver.sources import SOURCES, wire
from receiver.storage import db, search
from receiver.storage.ids import new_id
from receiver.storage.search import Filters
from receiver.storage.tables import events, quarantined, rejected

# Who verified a delivery that is reinstated although no key verifies it.
BY_NOBODY = Verified("nobody")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reinstated:
    """The result of reinstating a delivery: an event, one more delivery of an event, or a quarantined delivery.

    `event` is None if it is quarantined now; `errors` say why.
    """

    status: Literal["accepted", "duplicate", "quarantined"]
    event: str | None = None
    quarantined: str | None = None
    errors: Mapping[str, list[str]] = field(default_factory=dict)


def which(engine: sa.Engine, table: sa.Table, filters: Filters, *, reason: str | None = None) -> list[str]:
    """Return the ids of the rejected or quarantined deliveries that match, in the order in which they were received."""
    also = () if reason is None else (table.c.reason == search.storable(reason),)
    return list(search.walk_ids(engine, table, filters, *also))


def find(engine: sa.Engine, table: sa.Table, kept_id: str) -> sa.Row[Any]:
    """Return a rejected or quarantined delivery; NotFoundError if it is missing."""
    with db.reading(engine) as connection:
        row = connection.execute(sa.select(table).where(table.c.id == kept_id)).first()
    if row is None:
        raise NotFoundError(f"{kept_id} is missing: it was reinstated meanwhile, or deleted")
    return row


def delivery_of(row: sa.Row[Any]) -> Delivery:
    """Return a delivery as it was received, unredacted headers included: redacted ones cannot be verified."""
    headers = Headers.from_bytes(row.headers)
    return Delivery(source=row.source, body=row.body, headers=headers, received_at=row.received_at)


def release_rejected(engine: sa.Engine, inbox: Inbox, rejected_id: str, verified: Verified) -> Reinstated:
    """Reinstate a rejected delivery that the caller has verified; quarantine it if it cannot be parsed."""
    delivery = delivery_of(find(engine, rejected, rejected_id))
    try:
        event = SOURCES[delivery.source].parse(delivery)
    except UnreadableError as error:
        # One after the other: if this is cut short, it is in both tables, and a second call goes on.
        quarantined_id = inbox.quarantine(delivery, verified, error.errors)
        with db.writing(engine) as connection:
            connection.execute(sa.delete(rejected).where(rejected.c.id == rejected_id))
        return Reinstated(status="quarantined", quarantined=quarantined_id, errors=error.errors)
    return _let_in(engine, rejected, rejected_id, _arrival(delivery, event, verified))


def release_quarantined(engine: sa.Engine, quarantined_id: str, *, name: str | None = None) -> Reinstated:
    """Reinstate a quarantined delivery if this release can parse it; UnreadableError if not.

    With a name it becomes an event of that name although its own cannot be read. Its body must then be a JSON object,
    because that is what handlers get.
    """
    row = find(engine, quarantined, quarantined_id)
    delivery = delivery_of(row)
    event = SOURCES[row.source].parse(delivery) if name is None else _named(delivery, name)
    arrival = _arrival(delivery, event, Verified(row.verified_by))
    return _let_in(engine, quarantined, quarantined_id, arrival, came_again=row.deliveries - 1)


def _named(delivery: Delivery, name: str) -> Event:
    try:
        wire.plain_word(name)
    except ValidationError as error:
        raise UnreadableError({"name": [str(message) for message in error.messages]}) from None
    payload, identity = wire.read_object(delivery.body), wire.digest_of(delivery.body)
    return Event(type=f"{delivery.source}:{name}", name=name, identity=identity, payload=payload)


def _arrival(delivery: Delivery, event: Event, verified: Verified) -> Arrival:
    return Arrival(
        id=new_id(delivery.received_at),
        source=delivery.source,
        type=event.type,
        name=event.name,
        identity=event.identity,
        state="accepted",
        received_at=delivery.received_at,
        occurred_at=event.occurred_at,
        verified_by=verified.by,
        headers=delivery.headers.to_bytes(),
        body=delivery.body,
    )


def _let_in(engine: sa.Engine, table: sa.Table, kept_id: str, arrival: Arrival, *, came_again: int = 0) -> Reinstated:
    """Write the event and delete the row, in one transaction: of two callers at once, one gets NotFoundError."""
    with db.writing(engine) as connection:
        taken = connection.execute(sa.delete(table).where(table.c.id == kept_id))
        if not taken.rowcount:
            raise NotFoundError(f"{kept_id} is missing: it was reinstated meanwhile, or deleted")
        receipt = _write(connection, arrival)
        if came_again:
            counted = sa.update(events).where(events.c.id == receipt.event_id)
            connection.execute(counted.values(deliveries=events.c.deliveries + came_again))
    return Reinstated(status="duplicate" if receipt.duplicate else "accepted", event=receipt.event_id)


def _write(connection: sa.Connection, arrival: Arrival) -> Receipt:
    cursor = connection.connection.cursor()
    (receipt,) = write_arrivals(cursor, [arrival], connection.dialect)
    db.ring(cursor, connection.dialect)
    return receipt
