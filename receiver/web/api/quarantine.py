"""/api/quarantine: the deliveries that did verify and cannot be read; read again, and let in."""

from dataclasses import asdict
from typing import Any

from flask import Response

from receiver.errors import UnreadableError
from receiver.inbox import reinstate
from receiver.observe import documents, queries
from receiver.observe.logs import log
from receiver.service import engine
from receiver.web.api.request import refuse, whole_id
from receiver.web.api.resource import BYTES, Resource, id_of
from receiver.web.api.response import give, give_bytes
from receiver.web.schemas.deliveries import (
    Quarantined,
    QuarantinedLine,
    QuarantineReleaseAsked,
    ReceivedAsked,
    Released,
    filters,
)
from receiver.web.schemas.shape import Searched, page_of

quarantine = Resource("Quarantine", __name__, path="/quarantine", description="What did verify and cannot be read.")
ID = id_of("quarantined delivery")


@quarantine.operation("GET", "", takes=ReceivedAsked, gives=page_of(QuarantinedLine, Searched))
def list_quarantined(asked: dict[str, Any]) -> Response:
    """List the deliveries that did verify and cannot be read, the newest first."""
    page = queries.list_quarantined(engine(), filters(asked), limit=asked["limit"], cursor=asked.get("cursor"))
    return give(documents.page(page, documents.quarantined_line))


@quarantine.operation("GET", "/<id>", parameters=[ID], gives=Quarantined, refuses=(404,))
def show_quarantined(id: str) -> Response:
    """Show a quarantined delivery with its bytes, and what is wrong with it."""
    return give(documents.quarantined(queries.show_quarantined(engine(), whole_id(id, "quarantined delivery"))))


@quarantine.operation("GET", "/<id>/body", parameters=[ID], gives=BYTES, refuses=(404,))
def give_quarantined_body(id: str) -> Response:
    """Give the body of a quarantined delivery, byte for byte as it came."""
    item = queries.show_quarantined(engine(), whole_id(id, "quarantined delivery"))
    return give_bytes(item.body, item.id)


@quarantine.operation(
    "POST", "/<id>/release", parameters=[ID], takes=QuarantineReleaseAsked, gives=Released, refuses=(404, 409)
)
def release_quarantined(asked: dict[str, Any], id: str) -> Response:
    """Let a quarantined delivery in as an event, if this release can read it, or under a name that is given.

    It keeps its bytes, its headers and the time that it came at.
    """
    kept = queries.show_quarantined(engine(), whole_id(id, "quarantined delivery")).id
    try:
        became = reinstate.release_quarantined(engine(), kept, name=asked.get("name"))
    except UnreadableError as error:
        refuse(409, "It cannot be read, and stays: `errors` says why.", error.errors)
    log.info("released", kept=kept, status=became.status, event_id=became.event)
    return give(asdict(became))
