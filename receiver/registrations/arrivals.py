"""What each webhook delivered last, found by searching back from the newest event, up to a limit."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import sqlalchemy as sa

from receiver.sources import box
from receiver.storage import db
from receiver.storage.tables import events

DELETED = "WEBHOOK.DELETED"
EXPIRED = "NO_ACTIVE_SESSION"
LOOKED_BACK = 10_000


@dataclass(frozen=True, slots=True)
class Heard:
    """The event of a webhook that was received last."""

    event_id: str
    name: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The newest event of each webhook among those searched; `back_to` is when the oldest of them was received.

    `is_all` is True if there are no older ones.
    """

    by_webhook: Mapping[str, Heard]
    back_to: datetime | None
    is_all: bool


def look_back(engine: sa.Engine, *, limit: int = LOOKED_BACK) -> Arrivals:
    """Return the newest event of each webhook among the `limit` events that were received last.

    The identity of an event contains the id of its webhook: no body is read.
    """
    newest = sa.select(
        events.c.seq, events.c.id, events.c.source, events.c.identity, events.c.name, events.c.received_at
    )
    latest: dict[str, sa.Row[Any]] = {}
    last: sa.Row[Any] | None = None
    is_all = False
    for page in islice(db.walk(engine, newest, [events.c.id], backwards=True), limit // db.STEP):
        for row in page:
            webhook_id = webhook_of(row.identity) if row.source == box.NAME else None
            if webhook_id is not None:
                # Ids sort by the millisecond, and by chance within it.
                latest[webhook_id] = max(latest.get(webhook_id, row), row, key=lambda one: (one.received_at, one.seq))
        last = page[-1] if page else last
        is_all = len(page) < db.STEP
    heard = {webhook_id: Heard(row.id, row.name, row.received_at) for webhook_id, row in latest.items()}
    return Arrivals(heard, last.received_at if last else None, is_all=is_all)


def webhook_of(identity: str) -> str | None:
    """Return the id of the webhook in the identity of a Box event; None if it has none."""
    if not identity.startswith("["):
        return None  # a hash: the body had no id
    first = json.loads(identity)[0]
    return None if first is None else str(first)
