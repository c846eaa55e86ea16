"""Filestack webhooks: whether a delivery is genuine, which event it tells of, and how Filestack would sign one."""

import hmac
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from marshmallow import EXCLUDE, Schema, fields

from receiver.events import Delivery, Event, Reason, Refused, Verified
from receiver.sources import wire
from receiver.sources.filestack.schemas import SCHEMAS, UNKNOWN_ACTION
from receiver.sources.schemas import MAX_DRIFT, drift_entry, find_drift

NAME = "filestack"
TRANSCODE = "transcode"
KNOWN = frozenset(SCHEMAS) - {"fp.conversion"}

# Filestack writes `fp.converse` and its users say conversion: one type for both; the raw name is kept.
_TYPES = {"fp.converse": "fp.conversion"}

# https://www.filestack.com/docs/api/webhooks/ (as of 2026) and filestack-python 4.0.0, filestack/helpers.py:
# HMAC-SHA256 over the text of FS-Timestamp, a dot, and the raw body, in lower-case hex. The body's own `timestamp` is
# another one. No window is documented, and whether a retry is signed afresh is not known.
SIGNATURE_HEADER = "FS-Signature"
TIMESTAMP_HEADER = "FS-Timestamp"
_HEX_OF_32_BYTES = re.compile(r"[0-9a-f]{64}")


def verify(
    delivery: Delivery, keys: Mapping[str, str], *, max_age: timedelta, max_skew: timedelta
) -> Verified | Refused:
    """Say whether one of the secrets signed these very bytes, and lately; never raises.

    The signature is judged before the age: what is refused as stale was at least signed with our secret.
    """
    sent = wire.single_values(delivery.headers, (SIGNATURE_HEADER, TIMESTAMP_HEADER))
    if isinstance(sent, Refused):
        return sent
    signature, timestamp = sent[SIGNATURE_HEADER], sent[TIMESTAMP_HEADER]
    sent_at = wire.unix_time(timestamp)
    if not signature or sent_at is None:
        return _incomplete(sent)
    if not _HEX_OF_32_BYTES.fullmatch(signature):
        return wire.malformed(SIGNATURE_HEADER, signature, form="64 characters of lower-case hex")
    message = _message(delivery.body, timestamp)
    for slot, key in keys.items():
        if key and hmac.compare_digest(_signature(key, message), signature.encode("ascii")):
            refused = wire.check_age(sent_at, delivery.received_at, max_age=max_age, max_skew=max_skew)
            return refused or Verified(slot)
    detail = "No secret of FILESTACK_SECRETS verifies this delivery."
    detail += " Is it the secret of this webhook (not of the app), and did a proxy rewrite the body?"
    return Refused(Reason.SIGNATURE_MISMATCH, detail)


def _incomplete(sent: Mapping[str, str]) -> Refused:
    if not sent[SIGNATURE_HEADER]:
        detail = (
            f"Filestack signs with {SIGNATURE_HEADER}; of what we look at came {wire.came(sent)}. "
            "Generate a secret for this webhook in the Filestack developer portal."
        )
        return Refused(Reason.SIGNATURE_MISSING, detail)
    if not sent[TIMESTAMP_HEADER]:
        return Refused(Reason.TIMESTAMP_MISSING, f"{TIMESTAMP_HEADER} did not come, and it is part of what is signed.")
    return Refused(Reason.TIMESTAMP_MALFORMED, f"{TIMESTAMP_HEADER} is not a whole number of seconds since 1970.")


def _message(body: bytes, timestamp: str) -> bytes:
    return b"%b.%b" % (timestamp.encode("ascii"), body)


def _signature(key: str, message: bytes) -> bytes:
    return wire.mac(key, message).hex().encode("ascii")


class _Envelope(Schema):
    """What routing cannot do without. Anything else that is odd is drift, found later and outside the request."""

    class Meta:
        unknown = EXCLUDE

    action = fields.String(required=True, validate=wire.plain_word)


_ENVELOPE = _Envelope()


def parse(delivery: Delivery) -> Event:
    """Give the event that a verified delivery tells of; raises UnreadableError naming each field."""
    payload = wire.read_object(delivery.body)
    if _is_transcoding_callback(payload):
        name, identity = TRANSCODE, _callback_identity(payload, delivery.body)
    else:
        name = wire.read_field(_ENVELOPE, "action", payload)
        identity = _identity(name, payload, delivery.body)
    return Event(
        type=f"{NAME}:{_TYPES.get(name, name)}",
        name=name,
        identity=identity,
        payload=payload,
        body=delivery.body,
        headers=delivery.headers,
        received_at=delivery.received_at,
        occurred_at=wire.when_it_happened(wire.unix_time(payload.get("timestamp"))),
    )


def _is_transcoding_callback(payload: Mapping[str, Any]) -> bool:
    # https://www.filestack.com/docs/api/webhooks/ (as of 2026): video and audio transcoding calls back with neither
    # `action` nor `id`. Telegraf answers it 400; a `uuid` is what tells it.
    uuid = payload.get("uuid")
    return "action" not in payload and isinstance(uuid, str) and bool(uuid)


def _callback_identity(payload: Mapping[str, Any], body: bytes) -> str:
    # docs/decisions/0024-transcode-timestamp.md: one uuid may be told "pending" and then "completed", and a second
    # transcoding, forced, tells both again with a later timestamp. A retry repeats the body, and so all of it.
    told_at = wire.unix_time(payload.get("timestamp"))
    when = int(told_at.timestamp()) if told_at else wire.digest_of(body)
    return wire.identity([TRANSCODE, payload["uuid"], _told(payload.get("status"), body), when])


def _identity(action: str, payload: Mapping[str, Any], body: bytes) -> str:
    event_id, text = payload.get("id"), payload.get("text")
    if not wire.is_id(event_id):
        return wire.digest_of(body)
    # One upload to somebody else's storage may be told "InTransit" and then "Stored": two events.
    status = text.get("status") if isinstance(text, dict) else None
    return wire.identity([action, event_id, _told(status, body)] if status else [action, event_id])


def _told(status: object, body: bytes) -> object:
    """Give what tells a status from others, of whatever type it is."""
    return wire.digest_of(body) if isinstance(status, dict | list) else status


def drift(event: Event) -> list[dict[str, str]]:
    """List where a payload differs from the schema of its action; never raises."""
    name = event.name or event.type.partition(":")[2]
    schema = SCHEMAS.get(name)
    if schema is not None:
        return find_drift(event.payload, event.body, schema)
    found = [drift_entry(["action"], "Unknown action: only the envelope was checked.")]
    return (found + find_drift(event.payload, event.body, UNKNOWN_ACTION))[:MAX_DRIFT]


def sign(body: bytes, keys: Mapping[str, str], *, at: datetime, delivery_id: str = "") -> list[tuple[str, str]]:
    """Give the headers that Filestack would send with this body, signed with the first secret; it numbers nothing."""
    timestamp = str(int(at.timestamp()))
    key = next((key for key in keys.values() if key), None)
    signature = [(SIGNATURE_HEADER, _signature(key, _message(body, timestamp)).decode("ascii"))] if key else []
    return [(TIMESTAMP_HEADER, timestamp), *signature]
