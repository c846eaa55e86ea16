"""/api/rejected: the deliveries whose signature did not verify."""

import base64
from typing import Any

from flask import Response

from receiver import listing
from receiver.web.api.answering import give, give_bytes
from receiver.web.api.asking import whole_id
from receiver.web.api.resource import BYTES, Resource, id_of
from receiver.web.pages import engine
from receiver.web.schemas.deliveries import ReceivedAsked, Rejected, RejectedLine, filters
from receiver.web.schemas.shape import Searched, page_of

rejected = Resource("Rejected", __name__, path="/rejected", description="What did not verify.")
ID = id_of("rejected delivery")


@rejected.operation("GET", "", takes=ReceivedAsked, gives=page_of(RejectedLine, Searched))
def list_rejected(asked: dict[str, Any]) -> Response:
    """List the deliveries whose signature did not verify, the newest first."""
    return give(listing.list_rejected(engine(), filters(asked), limit=asked["limit"], cursor=asked.get("cursor")))


@rejected.operation("GET", "/<id>", parameters=[ID], gives=Rejected, refuses=(404,))
def show_rejected(id: str) -> Response:
    """Show a rejected delivery with its bytes, and why it was refused."""
    return give(listing.show_rejected(engine(), whole_id(id, "rejected delivery")))


@rejected.operation("GET", "/<id>/body", parameters=[ID], gives=BYTES, refuses=(404,))
def give_rejected_body(id: str) -> Response:
    """Give the body of a rejected delivery, byte for byte as it came."""
    item = listing.show_rejected(engine(), whole_id(id, "rejected delivery"))
    return give_bytes(base64.b64decode(item["body_base64"]), item["id"])
