"""The pages of what is no event: a rejected delivery with its diagnosis, a quarantined one; and how they become one."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, Response, redirect, request
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

from receiver import humanize, service
from receiver.errors import UnreadableError
from receiver.events import Event, Refused, Verified
from receiver.inbox import reinstate
from receiver.inbox.reinstate import Reinstated
from receiver.jobs import registry
from receiver.observe import queries
from receiver.observe.logs import log
from receiver.observe.records import QuarantinedRecord, RejectedRecord
from receiver.service import engine
from receiver.sources import SOURCES
from receiver.storage.tables import quarantined, rejected
from receiver.web.page import moment, wants_part
from receiver.web.pages import inbox
from receiver.web.pages.event import detail
from receiver.web.pages.event.event import written
from receiver.web.pages.event.offers import wants
from receiver.web.pages.question import Question, ask, is_confirmed, wire

kept_apart = Blueprint("kept_apart", __name__)

TABS = ("payload", "raw", "headers")

KeptApart = RejectedRecord | QuarantinedRecord


@kept_apart.get("/rejected/<given>")
def show_rejected(given: str) -> Response:
    item = queries.show_rejected(engine(), given, in_clear=detail.in_clear())
    return _show_rejected(item, is_verified_again="verified" in request.args)


def _show_rejected(item: RejectedRecord, *, is_verified_again: bool) -> Response:
    found = service.current().verifier.diagnose(item.id, item.reason)
    verdict = _verify_now(reinstate.find(engine(), rejected, item.id)) if is_verified_again else None
    return _show(item, "_rejected.html", "rejected", "Rejected", diagnosis=found, verdict=verdict)


def _show(item: KeptApart, template: str, kind: inbox.Kind, title: str, **facts: Any) -> Response:
    payload, problem = detail.payload_of(item.body)
    tab = detail.tab(TABS if payload is not None else TABS[1:])
    return detail.show(
        template,
        selected=item.id,
        kind=kind,
        title=f"{title} · {item.source}",
        item=item,
        path=f"/{kind}/{item.id}",
        provider=detail.provider(item.source),
        tab=tab,
        shown_tabs=TABS if payload is not None else TABS[1:],
        problem=problem,
        in_clear=detail.in_clear(),
        raw=detail.raw(item.body) if tab == "raw" else None,
        steps=detail.drawn(payload) if tab == "payload" else (),
        **facts,
    )


@kept_apart.post("/rejected/<given>/verify")
def verify(given: str) -> AnyResponse:
    """Say whether a rejected delivery would verify with the keys of today. Nothing is changed by it."""
    item = queries.show_rejected(engine(), given)
    return _back(f"/rejected/{item.id}", lambda: _show_rejected(item, is_verified_again=True), verified="now")


@kept_apart.post("/rejected/<given>/release")
def release_rejected(given: str) -> AnyResponse:
    """Let a rejected delivery in if it verifies now; else show why it does not."""
    item = queries.show_rejected(engine(), given)
    path = f"/rejected/{item.id}"
    if not is_confirmed() and isinstance(service.current().verifier.look(item.id), Verified):
        return _ask(item, reinstate.find(engine(), rejected, item.id), path)
    became = service.current().verifier.let_in(item.id)
    if isinstance(became, Refused):
        return _back(path, lambda: _show_rejected(item, is_verified_again=True), verified="now")
    return _let_in(item, became)


@kept_apart.post("/quarantine/<given>/release")
def release_quarantined(given: str) -> AnyResponse:
    """Read a quarantined delivery again, and let it in if that goes well now."""
    item = queries.show_quarantined(engine(), given)
    kept = reinstate.find(engine(), quarantined, item.id)
    if not is_confirmed() and _read(kept) is not None:
        return _ask(item, kept, f"/quarantine/{item.id}")
    try:
        return _let_in(item, reinstate.release_quarantined(engine(), item.id))
    except UnreadableError as error:
        still = replace(item, errors=error.errors)
        path = f"/quarantine/{item.id}"
        return _back(path, lambda: _show_quarantined(still, is_read_again=True), read="again")


def _ask(item: KeptApart, kept: sa.Row[Any], path: str) -> Response:
    """Ask before a delivery becomes an event: which, and who gets it."""
    event = _read(kept)
    what = wire(event.type) if event is not None else Markup("this delivery to {}").format(wire(item.source))
    types = (event.type, f"{item.source}:{event.name}") if event is not None else ()
    wanting = [one["name"] for one in registry.list_handlers(engine()) if one["trouble"] is None and wants(one, types)]
    number = humanize.count(len(wanting), "handler")
    gets = f"{number} {'gets' if len(wanting) == 1 else 'get'} it:" if wanting else "No handler wants it now."
    once = "If the same event is here already, it counts as one delivery more of that."
    quarantine = "It cannot be read as a message yet, and goes to quarantine."
    return ask(
        Question(
            asks=Markup("Let {} of {} in as an event?").format(what, moment(item.received_at)),
            says=[once, gets] if event is not None else [quarantine],
            each=[wire(name) for name in wanting],
            yes="Let it in",
            back=detail.address(path),
        )
    )


def _read(kept: sa.Row[Any]) -> Event | None:
    try:
        return SOURCES[kept.source].parse(reinstate.delivery_of(kept))
    except UnreadableError:
        return None


def _let_in(item: KeptApart, became: Reinstated) -> AnyResponse:
    """Go to what the delivery has become."""
    log.info("released", kept=item.id, source=item.source, status=became.status, event_id=became.event)
    kind, kept_id = ("events", became.event) if became.event else ("quarantine", became.quarantined)
    there = detail.address(f"/{kind}/{kept_id}")
    if "HX-Request" in request.headers:
        return Response(status=204, headers={"HX-Redirect": there})
    return redirect(there, 303)


def _back(path: str, show: Callable[[], Response], **asked: str) -> AnyResponse:
    """Show the delivery that stays where it is: in its pane to htmx, the way there to a browser."""
    return show() if wants_part("detail") else redirect(detail.address(path, **asked), 303)


def _verify_now(kept: sa.Row[Any]) -> Mapping[str, Any]:
    verdict = service.current().verifier.verify(kept)
    if isinstance(verdict, Verified):
        return {"verifies": True, "said": detail.key_in_words(kept.source, verdict.by)}
    return {"verifies": False, "said": verdict.detail}


@kept_apart.get("/quarantine/<given>")
def show_quarantined(given: str) -> Response:
    item = queries.show_quarantined(engine(), given, in_clear=detail.in_clear())
    return _show_quarantined(item, is_read_again="read" in request.args)


def _show_quarantined(item: QuarantinedRecord, *, is_read_again: bool) -> Response:
    key = detail.key_in_words(item.source, item.verified_by)
    return _show(item, "_quarantined.html", "quarantine", "Quarantined", key=key, is_read_again=is_read_again)


@kept_apart.get("/rejected/<given>/body")
def rejected_body(given: str) -> Response:
    item = queries.show_rejected(engine(), given)
    return detail.download(item.id, item.body)


@kept_apart.get("/quarantine/<given>/body")
def quarantined_body(given: str) -> Response:
    item = queries.show_quarantined(engine(), given)
    return detail.download(item.id, item.body)


@kept_apart.get("/rejected/<given>/copy/<form>")
def copy_rejected(given: str, form: str) -> Response:
    item = queries.show_rejected(engine(), given)
    return written(item, form, f"rejected delivery {item.id} to {item.source}")
