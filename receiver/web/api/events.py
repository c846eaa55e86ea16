"""/api/events: what came, what became of it, and once more."""

from datetime import UTC, datetime
from typing import Any

from flask import Response

from receiver.jobs import registry
from receiver.jobs import store as jobs
from receiver.observe import documents, queries
from receiver.service import engine
from receiver.web.api.request import refuse, whole_id
from receiver.web.api.resource import BYTES, Resource, id_of
from receiver.web.api.response import give, give_bytes
from receiver.web.schemas.deliveries import Event, EventLine, EventReplayAsked, EventsAsked, Replayed, filters
from receiver.web.schemas.shape import Searched, page_of

events = Resource("Events", __name__, path="/events", description="What came, and what became of it.")
ID = id_of("event")


@events.operation("GET", "", takes=EventsAsked, gives=page_of(EventLine, Searched))
def list_events(asked: dict[str, Any]) -> Response:
    """List events, the newest first.

    Each says how many of its jobs are in which state; where one event is asked for, it says more.
    """
    page = queries.list_events(engine(), filters(asked), limit=asked["limit"], cursor=asked.get("cursor"))
    return give(documents.page(page, documents.event_line))


@events.operation("GET", "/<id>", parameters=[ID], gives=Event, refuses=(404,))
def show_event(id: str) -> Response:
    """Show an event with its bytes, its deliveries and every attempt of its jobs."""
    return give(documents.event(queries.show_event(engine(), whole_id(id, "event"))))


@events.operation("GET", "/<id>/body", parameters=[ID], gives=BYTES, refuses=(404,))
def give_event_body(id: str) -> Response:
    """Give the body of the first delivery, byte for byte as it came."""
    item = queries.show_event(engine(), whole_id(id, "event"))
    return give_bytes(item.body, item.id)


@events.operation("POST", "/<id>/replay", parameters=[ID], takes=EventReplayAsked, gives=Replayed, refuses=(404, 409))
def replay_event(asked: dict[str, Any], id: str) -> Response:
    """Give an event to its handlers again, with all their attempts.

    Without a handler, those that came later get it too. Jobs that are running now are left alone.
    """
    event, handler = queries.find_event_id(engine(), whole_id(id, "event")), asked.get("handler")
    if handler is not None:
        registry.show_handler(engine(), handler)
    count = jobs.replay_event(engine(), event, handler=handler, now=datetime.now(UTC))
    if handler is not None and count == 0:
        refuse(409, f"{handler} is running now, and was left alone.")
    return give({"event": event, "handler": handler, "jobs": count})
