"""/api/quarantine: the deliveries that did verify and cannot be read."""

import base64
from typing import Any

from flask import Response

from receiver import listing
from receiver.web.api.answering import give, give_bytes
from receiver.web.api.asking import whole_id
from receiver.web.api.resource import BYTES, Resource, id_of
from receiver.web.pages import engine
from receiver.web.schemas.deliveries import Quarantined, QuarantinedLine, ReceivedAsked, filters
from receiver.web.schemas.shape import Searched, page_of

quarantine = Resource("Quarantine", __name__, path="/quarantine", description="What did verify and cannot be read.")
ID = id_of("quarantined delivery")


@quarantine.operation("GET", "", takes=ReceivedAsked, gives=page_of(QuarantinedLine, Searched))
def list_quarantined(asked: dict[str, Any]) -> Response:
    """List the deliveries that did verify and cannot be read, the newest first."""
    return give(listing.list_quarantined(engine(), filters(asked), limit=asked["limit"], cursor=asked.get("cursor")))


@quarantine.operation("GET", "/<id>", parameters=[ID], gives=Quarantined, refuses=(404,))
def show_quarantined(id: str) -> Response:
    """Show a quarantined delivery with its bytes, and what is wrong with it."""
    return give(listing.show_quarantined(engine(), whole_id(id, "quarantined delivery")))


@quarantine.operation("GET", "/<id>/body", parameters=[ID], gives=BYTES, refuses=(404,))
def give_quarantined_body(id: str) -> Response:
    """Give the body of a quarantined delivery, byte for byte as it came."""
    item = listing.show_quarantined(engine(), whole_id(id, "quarantined delivery"))
    return give_bytes(base64.b64decode(item["body_base64"]), item["id"])
