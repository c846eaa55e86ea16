"""/api/bins/NAME/captures: the requests that a bin recorded."""

from typing import Any

from flask import Response

from receiver import bins as store
from receiver.service import engine
from receiver.web.api.bins import NAME
from receiver.web.api.request import whole_id
from receiver.web.api.resource import BYTES, Resource, id_of
from receiver.web.api.response import give, give_bytes
from receiver.web.schemas.bins import Capture, CaptureLine, Cleared
from receiver.web.schemas.shape import PageAsked, page_of

captures = Resource("Captures", __name__, path="/bins/<name>/captures", description="The requests that bins recorded.")
ID = id_of("capture")


@captures.operation("GET", "", parameters=[NAME], takes=PageAsked, gives=page_of(CaptureLine), refuses=(404,))
def list_captures(asked: dict[str, Any], name: str) -> Response:
    """List the captures of a bin, the newest first."""
    return give(store.list_captures(engine(), name, **asked))


@captures.operation("DELETE", "", parameters=[NAME], gives=Cleared, refuses=(404,))
def clear_captures(name: str) -> Response:
    """Delete the captures of a bin, and keep the bin."""
    return give({"bin": name, "captures": store.clear(engine(), name)})


@captures.operation("GET", "/<id>", parameters=[NAME, ID], gives=Capture, refuses=(404,))
def show_capture(name: str, id: str) -> Response:
    """Show a capture with its headers, its bytes, and the fields and files of its form."""
    return give(store.show_capture(engine(), name, whole_id(id, "capture")))


@captures.operation("GET", "/<id>/body", parameters=[NAME, ID], gives=BYTES, refuses=(404,))
def give_capture_body(name: str, id: str) -> Response:
    """Give the body of a capture, byte for byte as it came."""
    found = store.read_capture(engine(), name, whole_id(id, "capture"))
    return give_bytes(found.request.body, found.id)
