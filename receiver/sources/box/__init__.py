"""Box webhooks (V2): whether a delivery is genuine, which event it tells of, and how Box would sign one."""

import base64
import hmac
import re
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from marshmallow import EXCLUDE, Schema, fields

from receiver.events import Delivery, Event, Reason, Refused, Verified
from receiver.sources import wire
from receiver.sources.box.schemas import SCHEMAS, UNKNOWN_TRIGGER
from receiver.sources.schemas import MAX_DRIFT, drift_entry, find_drift

NAME = "box"
KNOWN = frozenset(SCHEMAS)

# https://developer.box.com/guides/webhooks/v2/signatures-v2/ (as of 2026): HMAC-SHA256 over the raw body and then
# the text of BOX-DELIVERY-TIMESTAMP, in base64. The primary key signs the primary header, the secondary key the
# secondary; one of them is enough, so that keys can be changed one at a time. (The page's samples swap the two.)
VERSION_HEADER = "BOX-SIGNATURE-VERSION"
ALGORITHM_HEADER = "BOX-SIGNATURE-ALGORITHM"
TIMESTAMP_HEADER = "BOX-DELIVERY-TIMESTAMP"
SIGNATURE_HEADERS = {"primary": "BOX-SIGNATURE-PRIMARY", "secondary": "BOX-SIGNATURE-SECONDARY"}
_HEADERS = (*SIGNATURE_HEADERS.values(), VERSION_HEADER, ALGORITHM_HEADER, TIMESTAMP_HEADER)
_VERSION = "1"
_ALGORITHM = "HmacSHA256"
_BASE64_OF_32_BYTES = re.compile(r"[A-Za-z0-9+/]{43}=")


def verify(
    delivery: Delivery, keys: Mapping[str, str], *, max_age: timedelta, max_skew: timedelta
) -> Verified | Refused:
    """Say whether the primary or the secondary key signed these very bytes, and lately; never raises.

    The signature is judged before the age: what is refused as stale was at least signed with our key.
    """
    sent = wire.single_values(delivery.headers, _HEADERS)
    if isinstance(sent, Refused):
        return sent
    refused = _check_protocol(sent)
    if refused:
        return refused
    sent_at = wire.rfc3339(sent[TIMESTAMP_HEADER])
    if sent_at is None:
        return _timestamp_refused(sent)
    slot = _verifying_slot(delivery.body, sent, keys)
    if slot is None:
        return _signature_refused(sent, keys)
    return wire.check_age(sent_at, delivery.received_at, max_age=max_age, max_skew=max_skew) or Verified(slot)


def _check_protocol(sent: Mapping[str, str]) -> Refused | None:
    if not any(sent[header] for header in SIGNATURE_HEADERS.values()):
        detail = (
            f"Box signs with {' and '.join(SIGNATURE_HEADERS.values())}; of what we look at came {wire.came(sent)}. "
            "Generate signature keys in the Box developer console."
        )
        return Refused(Reason.SIGNATURE_MISSING, detail)
    if sent[VERSION_HEADER] != _VERSION:
        return Refused(Reason.VERSION_UNSUPPORTED, f"{VERSION_HEADER} has to be {_VERSION}.")
    if sent[ALGORITHM_HEADER] != _ALGORITHM:
        return Refused(Reason.ALGORITHM_UNSUPPORTED, f"{ALGORITHM_HEADER} has to be {_ALGORITHM}.")
    return None


def _timestamp_refused(sent: Mapping[str, str]) -> Refused:
    if not sent[TIMESTAMP_HEADER]:
        return Refused(Reason.TIMESTAMP_MISSING, f"{TIMESTAMP_HEADER} did not come, and it is part of what is signed.")
    detail = f"{TIMESTAMP_HEADER} is not an RFC 3339 date and time with an offset."
    return Refused(Reason.TIMESTAMP_MALFORMED, detail)


def _verifying_slot(body: bytes, sent: Mapping[str, str], keys: Mapping[str, str]) -> str | None:
    message = body + sent[TIMESTAMP_HEADER].encode("ascii")
    for slot, header in SIGNATURE_HEADERS.items():
        key = keys.get(slot)
        if key and _is_formed(sent[header]) and hmac.compare_digest(_signature(key, message), sent[header].encode()):
            return slot
    return None


def _signature(key: str, message: bytes) -> bytes:
    return base64.b64encode(wire.mac(key, message))


def _is_formed(signature: str) -> bool:
    return _BASE64_OF_32_BYTES.fullmatch(signature) is not None


def _signature_refused(sent: Mapping[str, str], keys: Mapping[str, str]) -> Refused:
    came = {slot: header for slot, header in SIGNATURE_HEADERS.items() if sent[header]}
    if not any(_is_formed(sent[header]) for header in came.values()):
        header = next(iter(came.values()))
        return wire.malformed(header, sent[header], form="44 characters of base64")
    unset = [f"BOX_{slot.upper()}_KEY" for slot in came if not keys.get(slot)]
    detail = f"None of the keys verifies what came ({', '.join(came.values())})."
    if unset:
        detail += f" Not set: {', '.join(unset)}."
    detail += " Are the keys those of this Box application, and did a proxy rewrite the body?"
    return Refused(Reason.SIGNATURE_MISMATCH, detail)


class _Envelope(Schema):
    """What routing cannot do without. Anything else that is odd is drift, found later and outside the request."""

    class Meta:
        unknown = EXCLUDE

    trigger = fields.String(required=True, validate=wire.plain_word)


_ENVELOPE = _Envelope()


def parse(delivery: Delivery) -> Event:
    """Give the event that a verified delivery tells of; raises UnreadableError naming each field."""
    payload = wire.read_object(delivery.body)
    name = wire.read_field(_ENVELOPE, "trigger", payload)
    return Event(
        type=f"{NAME}:{name}",
        name=name,
        identity=_identity(payload, delivery.body),
        payload=payload,
        body=delivery.body,
        headers=delivery.headers,
        received_at=delivery.received_at,
        occurred_at=wire.when_it_happened(wire.rfc3339(payload.get("created_at"))),
    )


def _identity(payload: Mapping[str, Any], body: bytes) -> str:
    # https://developer.box.com/guides/webhooks/v2/ (as of 2026): a retry has another BOX-DELIVERY-ID and the same
    # body `id`. Nobody says whether two webhooks that see one action share the `id`, so the webhook is part of it.
    event_id, webhook = payload.get("id"), payload.get("webhook")
    if not wire.is_id(event_id):
        return wire.digest_of(body)
    webhook_id = webhook.get("id") if isinstance(webhook, dict) else None
    return wire.identity([webhook_id if wire.is_id(webhook_id) else None, event_id])


def drift(event: Event) -> list[dict[str, str]]:
    """List where a payload differs from the schema of its trigger; never raises."""
    name = event.name or event.type.partition(":")[2]
    schema = SCHEMAS.get(name)
    if schema is not None:
        return find_drift(event.payload, event.body, schema)
    found = [drift_entry(["trigger"], "Unknown trigger: only the envelope was checked.")]
    return (found + find_drift(event.payload, event.body, UNKNOWN_TRIGGER))[:MAX_DRIFT]


def sign(body: bytes, keys: Mapping[str, str], *, at: datetime, delivery_id: str = "") -> list[tuple[str, str]]:
    """Give the headers that Box would send with this body; a delivery id is made up where none is given."""
    timestamp = at.isoformat(timespec="seconds")
    message = body + timestamp.encode("ascii")
    signatures = [
        (header, _signature(keys[slot], message).decode("ascii"))
        for slot, header in SIGNATURE_HEADERS.items()
        if keys.get(slot)
    ]
    return [
        ("User-Agent", "Box-WH-Client/0.1"),
        ("BOX-DELIVERY-ID", delivery_id or str(uuid.uuid4())),
        (TIMESTAMP_HEADER, timestamp),
        *signatures,
        (VERSION_HEADER, _VERSION),
        (ALGORITHM_HEADER, _ALGORITHM),
    ]
