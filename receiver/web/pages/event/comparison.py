"""Two events side by side: what was added, removed and changed between them, by path."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from flask import Blueprint, Response, request

from receiver import humanize
from receiver.observe import queries
from receiver.observe.records import EventDetail
from receiver.service import engine
from receiver.storage import db
from receiver.storage.search import Filters
from receiver.storage.tables import events
from receiver.web.pages.event import detail
from receiver.web.payload import diff

comparison = Blueprint("comparison", __name__)

PREVIOUS = "previous"


@dataclass(frozen=True, slots=True)
class Before:
    """The event of the same type before another: its id, None where there is none as far as was looked."""

    id: str | None
    searched_to: datetime | None = None


@comparison.get("/events/<given>/diff")
def show(given: str) -> Response:
    item = queries.show_event(engine(), given)
    asked = request.args.get("with", PREVIOUS).strip() or PREVIOUS
    before = find_before(item.id, item.type) if asked == PREVIOUS else Before(asked)
    other = queries.show_event(engine(), before.id) if before.id is not None else None
    older, newer = sorted([item, other or item], key=lambda one: one.received_at)
    return detail.show(
        "_diff.html",
        selected=item.id,
        kind="events",
        title=f"Compare · {item.type}",
        item=item,
        before=before,
        asked="" if asked == PREVIOUS else asked,
        older=older,
        newer=newer,
        apart=_apart(older, newer),
        found=other is not None,
        payload=diff.compare(older.payload, newer.payload),
        headers=diff.compare_headers(older.headers, newer.headers),
    )


def _apart(older: EventDetail, newer: EventDetail) -> str:
    return humanize.span(newer.received_at - older.received_at)


def find_before(event_id: str, type: str) -> Before:
    """Find the event of the same type before this one, as far as the time for a search allows."""
    with db.reading(engine()) as connection:
        seq = connection.execute(sa.select(events.c.seq).where(events.c.id == event_id)).scalar_one()
    page = queries.list_events(engine(), Filters(type=type), limit=1, cursor=str(seq))
    if page.items:
        return Before(page.items[0].id)
    return Before(None, page.searched_to)
