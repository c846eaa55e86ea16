"""Where providers deliver: `POST /hooks/box` and `POST /hooks/filestack`. Nothing else happens in the request."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from flask import Blueprint, Response, abort, current_app, request

from receiver import signals
from receiver.errors import StoreError, UnreadableError
from receiver.events import Delivery, Event, Headers, Refused, Verified
from receiver.inbox import Inbox
from receiver.sources import Source
from receiver.web.answers import answer

RETRY_AFTER_SECONDS = 10

hooks = Blueprint("hooks", __name__)


@dataclass(frozen=True, slots=True)
class Gate:
    """A source as this installation knows it: its keys by slot, and how old or early its deliveries may be."""

    source: Source
    keys: Mapping[str, str]
    settings: Sequence[str]
    max_age: timedelta
    max_skew: timedelta


@hooks.post("/hooks/<name>", strict_slashes=False, provide_automatic_options=False)
def receive(name: str) -> Response:
    """Verify a delivery, read its envelope, keep it; 200 says that it is on the disk."""
    began = time.perf_counter()
    gate = _gate(name)
    delivery = _take(name)
    inbox: Inbox = current_app.extensions["signalbox.inbox"]
    try:
        verdict = gate.source.verify(delivery, gate.keys, max_age=gate.max_age, max_skew=gate.max_skew)
        if isinstance(verdict, Refused):
            return _refuse(inbox, delivery, verdict, began)
        try:
            event = gate.source.parse(delivery)
        except UnreadableError as error:
            return _quarantine(inbox, delivery, verdict, error, began)
        return _accept(inbox, delivery, event, verdict, began)
    except StoreError as error:
        signals.delivery_unkept.send(source=name, error=error, milliseconds=_since(began))
        return answer(
            503,
            {"Retry-After": str(RETRY_AFTER_SECONDS)},
            status="unavailable",
            detail="This delivery could not be kept. Please send it again.",
        )


def _accept(inbox: Inbox, delivery: Delivery, event: Event, verified: Verified, began: float) -> Response:
    receipt = inbox.accept(delivery, event, verified)
    told = signals.event_duplicated if receipt.duplicate else signals.event_accepted
    told.send(
        event_id=receipt.event_id,
        source=delivery.source,
        type=event.type,
        verified_by=verified.by,
        milliseconds=_since(began),
    )
    return answer(200, status="duplicate" if receipt.duplicate else "accepted", event=receipt.event_id)


def _refuse(inbox: Inbox, delivery: Delivery, refused: Refused, began: float) -> Response:
    rejected_id = inbox.reject(delivery, refused)
    signals.delivery_rejected.send(
        rejected_id=rejected_id, source=delivery.source, reason=refused.reason.value, milliseconds=_since(began)
    )
    return answer(401, status="rejected", reason=refused.reason.value, detail=refused.detail)


def _quarantine(inbox: Inbox, delivery: Delivery, verified: Verified, error: UnreadableError, began: float) -> Response:
    quarantined_id = inbox.quarantine(delivery, verified, error.errors)
    signals.delivery_quarantined.send(
        quarantined_id=quarantined_id,
        source=delivery.source,
        fields=sorted(error.errors),
        milliseconds=_since(began),
    )
    return answer(422, status="quarantined", errors=error.errors)


def _gate(name: str) -> Gate:
    gates: Mapping[str, Gate] = current_app.extensions["signalbox.gates"]
    gate = gates.get(name)
    if gate is None:
        abort(404, f"There is no such source. The sources are: {', '.join(sorted(gates))}.")
    if not gate.keys:
        abort(404, f"{name} is off: set {' or '.join(gate.settings)} to turn it on.")
    return gate


def _take(name: str) -> Delivery:
    """Read the whole request, byte for byte, or answer that it is too long, compressed, or did not arrive whole."""
    environ = request.environ
    encoding = environ.get("HTTP_CONTENT_ENCODING", "")
    if encoding.strip().lower() not in ("", "identity"):
        # No provider documents compressed deliveries, and the signature is over the bytes as they were signed.
        abort(415, "Content-Encoding is not supported: send the body as it was signed.")
    body = _read_body(environ, limit=current_app.config["MAX_BODY_BYTES"])
    return Delivery(source=name, body=body, headers=header_lines(environ), received_at=datetime.now(UTC))


def _read_body(environ: Mapping[str, Any], *, limit: int) -> bytes:
    # Read straight from the server: werkzeug's stream (3.1) gives the beginning of a chunked body that is too long.
    length = environ.get("CONTENT_LENGTH") or ""
    if not length and not environ.get("wsgi.input_terminated"):
        return b""
    if length and (not length.isdecimal() or int(length) > limit):
        abort(413, f"The body is longer than MAX_BODY_BYTES ({limit}).")
    try:
        body: bytes = environ["wsgi.input"].read(int(length) if length else limit + 1)
    except Exception:  # noqa: BLE001 - each server has errors of its own for a broken connection or senseless chunks
        abort(400, "The body did not arrive whole.")
    if len(body) > limit:
        abort(413, f"The body is longer than MAX_BODY_BYTES ({limit}).")
    if length and len(body) < int(length):
        abort(400, "The body did not arrive whole.")
    return body


def header_lines(environ: Mapping[str, object]) -> Headers:
    """Give the header lines of a WSGI request. WSGI keeps their values and order, not the spelling of their names."""
    lines = [(_spelled(key), str(value)) for key, value in environ.items() if key.startswith("HTTP_")]
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(key):
            lines.append((_spelled(f"HTTP_{key}"), str(environ[key])))
    return Headers(lines)


@lru_cache(maxsize=1000)
def _spelled(key: str) -> str:
    return key[5:].replace("_", "-").title()


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000
