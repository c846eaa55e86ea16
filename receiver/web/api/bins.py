"""/api/bins: addresses that record any request, and the answers that they give."""

from datetime import UTC, datetime
from typing import Any

from flask import Response

from receiver import bins as store
from receiver.errors import BinError, NotFoundError
from receiver.service import engine
from receiver.web.api.request import SEE_ERRORS, refusal, refuse
from receiver.web.api.resource import Resource
from receiver.web.api.response import give
from receiver.web.schemas.bins import BIN_NAME, Bin, BinAsked, BinChangesAsked, Cleared
from receiver.web.schemas.shape import PageAsked, page_of

bins = Resource("Bins", __name__, path="/bins", description="Addresses that record any request.")
bins.register_error_handler(BinError, lambda error: refusal(422, SEE_ERRORS, error.problems))
NAME = {
    "in": "path",
    "name": "name",
    "description": "The name of the bin.",
    "schema": {"type": "string", "pattern": BIN_NAME},
    "example": "orders",
}


@bins.operation("GET", "", takes=PageAsked, gives=page_of(Bin))
def list_bins(asked: dict[str, Any]) -> Response:
    """List bins, the newest first."""
    return give(store.list_bins(engine(), **asked))


@bins.operation("POST", "", takes=BinAsked, gives=Bin, status=201, refuses=(409,))
def create_bin(asked: dict[str, Any]) -> Response:
    """Make a bin; what is not said is as in every new one."""
    name = asked.pop("name", None)
    if name is not None and _exists(name):
        refuse(409, f"There is a bin {name} already.")
    made = store.create(engine(), name=name, now=datetime.now(UTC), changes=asked)  # type: ignore[arg-type]
    response = give(made, 201)
    response.headers["Location"] = f"/api/bins/{made['name']}"
    return response


def _exists(name: str) -> bool:
    try:
        store.show_bin(engine(), name)
    except NotFoundError:
        return False
    return True


@bins.operation("GET", "/<name>", parameters=[NAME], gives=Bin, refuses=(404,))
def show_bin(name: str) -> Response:
    """Show how a bin is set up."""
    return give(store.show_bin(engine(), name))


@bins.operation("PATCH", "/<name>", parameters=[NAME], takes=BinChangesAsked, gives=Bin, refuses=(404,))
def change_bin(asked: dict[str, Any], name: str) -> Response:
    """Set a bin up in what is said, and leave the rest."""
    return give(store.change(engine(), name, asked))  # type: ignore[arg-type]


@bins.operation("DELETE", "/<name>", parameters=[NAME], gives=Cleared, refuses=(404,))
def delete_bin(name: str) -> Response:
    """Delete a bin with its captures."""
    return give({"bin": name, "captures": store.delete(engine(), name)})
