"""/api/rejected: the deliveries whose signature did not verify; verified again, and let in."""

from dataclasses import asdict
from typing import Any

from flask import Response

from receiver import service
from receiver.events import Refused, Verified
from receiver.observe import documents, queries
from receiver.observe.logs import log
from receiver.service import engine
from receiver.web.api.request import refuse, whole_id
from receiver.web.api.resource import BYTES, Resource, id_of
from receiver.web.api.response import give, give_bytes
from receiver.web.schemas.deliveries import (
    ReceivedAsked,
    Rejected,
    RejectedLine,
    ReleaseAsked,
    Released,
    Verdict,
    VerifyAsked,
    filters,
)
from receiver.web.schemas.shape import Searched, page_of

rejected = Resource("Rejected", __name__, path="/rejected", description="What did not verify.")
ID = id_of("rejected delivery")


@rejected.operation("GET", "", takes=ReceivedAsked, gives=page_of(RejectedLine, Searched))
def list_rejected(asked: dict[str, Any]) -> Response:
    """List the deliveries whose signature did not verify, the newest first."""
    page = queries.list_rejected(engine(), filters(asked), limit=asked["limit"], cursor=asked.get("cursor"))
    return give(documents.page(page, documents.rejected_line))


@rejected.operation("GET", "/<id>", parameters=[ID], gives=Rejected, refuses=(404,))
def show_rejected(id: str) -> Response:
    """Show a rejected delivery with its bytes, and why it was refused."""
    return give(documents.rejected(queries.show_rejected(engine(), whole_id(id, "rejected delivery"))))


@rejected.operation("GET", "/<id>/body", parameters=[ID], gives=BYTES, refuses=(404,))
def give_rejected_body(id: str) -> Response:
    """Give the body of a rejected delivery, byte for byte as it came."""
    item = queries.show_rejected(engine(), whole_id(id, "rejected delivery"))
    return give_bytes(item.body, item.id)


@rejected.operation("POST", "/<id>/verify", parameters=[ID], takes=VerifyAsked, gives=Verdict, refuses=(404,))
def verify_rejected(asked: dict[str, Any], id: str) -> Response:
    """Say whether a rejected delivery verifies with the keys that are set now. Nothing is changed by it."""
    kept = _id(id)
    verdict = service.current().verifier.look(kept, **asked)
    found = verdict.by if isinstance(verdict, Verified) else None
    why = (verdict.reason.value, verdict.detail) if isinstance(verdict, Refused) else (None, None)
    return give({"id": kept, "verifies": found is not None, "verified_by": found, "reason": why[0], "detail": why[1]})


@rejected.operation("POST", "/<id>/release", parameters=[ID], takes=ReleaseAsked, gives=Released, refuses=(404, 409))
def release_rejected(asked: dict[str, Any], id: str) -> Response:
    """Let a rejected delivery in as an event, if it verifies with the keys that are set now.

    It keeps its bytes, its headers and the time that it came at.
    """
    kept = _id(id)
    became = service.current().verifier.let_in(kept, **asked)
    if isinstance(became, Refused):
        refuse(409, f"It still does not verify, and stays. {became.detail}")
    log.info("released", kept=kept, status=became.status, event_id=became.event)
    return give(asdict(became))


def _id(given: str) -> str:
    return queries.show_rejected(engine(), whole_id(given, "rejected delivery")).id
