"""The pages of what is no event: a rejected delivery with its diagnosis, a quarantined one with what cannot be read."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, Response, current_app, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from receiver import db, diagnosis, listing
from receiver.events import Delivery, Headers, Verified
from receiver.listing import Item
from receiver.tables import rejected
from receiver.web.hooks import Gate
from receiver.web.pages import engine, inbox, wants_part
from receiver.web.pages.event import pane
from receiver.web.pages.event.shown import written

kept_apart = Blueprint("kept_apart", __name__)

TABS = ("payload", "raw", "headers")


@kept_apart.get("/rejected/<given>")
def show_rejected(given: str) -> Response:
    item = listing.show_rejected(engine(), given)
    return _show_rejected(item, is_verified_again="verified" in request.args)


def _show_rejected(item: Item, *, is_verified_again: bool) -> Response:
    delivery = _delivery(item["id"])
    found = diagnosis.diagnose(delivery, _keys(), item["reason"], pause=lambda: time.sleep(0))
    verdict = _verify_now(delivery) if is_verified_again else None
    return _show(item, "_rejected.html", "rejected", "Rejected", diagnosis=found, verdict=verdict)


def _show(item: Item, template: str, kind: inbox.Kind, title: str, **facts: Any) -> Response:
    body = pane.body_of(item)
    payload, problem = pane.payload_of(body)
    tab = pane.tab(TABS if payload is not None else TABS[1:])
    return pane.show(
        template,
        selected=item["id"],
        kind=kind,
        title=f"{title} · {item['source']}",
        item=item,
        path=f"/{kind}/{item['id']}",
        provider=pane.PROVIDERS[item["source"]],
        tab=tab,
        shown_tabs=TABS if payload is not None else TABS[1:],
        problem=problem,
        raw=pane.raw(body) if tab == "raw" else None,
        steps=pane.drawn(payload) if tab == "payload" else (),
        **facts,
    )


@kept_apart.post("/rejected/<given>/verify")
def verify(given: str) -> AnyResponse:
    """Say whether a rejected delivery would verify with the keys of today. Nothing is changed by it."""
    item = listing.show_rejected(engine(), given)
    if wants_part("detail"):
        return _show_rejected(item, is_verified_again=True)
    return redirect(pane.address(f"/rejected/{item['id']}", verified="now"), 303)


def _verify_now(delivery: Delivery) -> Mapping[str, Any]:
    gate = _gates()[delivery.source]
    verdict = diagnosis.verify_now(delivery, _keys(), max_age=gate.max_age, max_skew=gate.max_skew)
    if isinstance(verdict, Verified):
        return {"verifies": True, "said": pane.key_in_words(delivery.source, verdict.by)}
    return {"verifies": False, "said": verdict.detail}


def _keys() -> dict[str, Mapping[str, str]]:
    return {name: gate.keys for name, gate in _gates().items()}


def _gates() -> Mapping[str, Gate]:
    found: Mapping[str, Gate] = current_app.extensions["signalbox.gates"]
    return found


def _delivery(rejected_id: str) -> Delivery:
    """Give a rejected delivery as it came, its headers too: what people see of them is no use for verifying."""
    with db.reading(engine()) as connection:
        row = connection.execute(sa.select(rejected).where(rejected.c.id == rejected_id)).one()
    received_at: datetime = row.received_at
    return Delivery(source=row.source, body=row.body, headers=Headers.from_bytes(row.headers), received_at=received_at)


@kept_apart.get("/quarantine/<given>")
def show_quarantined(given: str) -> Response:
    item = listing.show_quarantined(engine(), given)
    key = pane.key_in_words(item["source"], item["verified_by"])
    return _show(item, "_quarantined.html", "quarantine", "Quarantined", key=key)


@kept_apart.get("/rejected/<given>/body")
def rejected_body(given: str) -> Response:
    item = listing.show_rejected(engine(), given)
    return pane.download(item["id"], pane.body_of(item))


@kept_apart.get("/quarantine/<given>/body")
def quarantined_body(given: str) -> Response:
    item = listing.show_quarantined(engine(), given)
    return pane.download(item["id"], pane.body_of(item))


@kept_apart.get("/rejected/<given>/copy/<form>")
def copy_rejected(given: str, form: str) -> Response:
    item = listing.show_rejected(engine(), given)
    return written(item, form, f"rejected delivery {item['id']} to {item['source']}")
