"""The shapes of what came: events, rejected and quarantined deliveries."""

from typing import Any

from marshmallow import fields, validate

from receiver.events import Reason, Unread
from receiver.sources import SOURCES
from receiver.storage.search import STATES, Filters
from receiver.web.schemas.fields import (
    Flag,
    Since,
    body_base64,
    counts,
    header_lines,
    identifier,
    moment,
    number,
    says,
    source_name,
    text,
    type_pattern,
    verified_by,
)
from receiver.web.schemas.jobs import MAX_HANDLER, EventJob
from receiver.web.schemas.shape import Asked, PageAsked, Shape

MAX_TEXT = 200
MAX_NAME = 200


class ReceivedAsked(PageAsked):
    source = fields.String(validate=validate.OneOf(list(SOURCES)), metadata=says("Only of this source."))
    since = Since("Received then or later: a time, a day (UTC), or so long ago: 10m, 2h, 3d.", "2h")
    until = Since("Received before then.", "2026-05-04T12:00:00Z")
    q = fields.String(
        validate=validate.Length(1, MAX_TEXT),
        metadata=says("Only with this text in the body or the headers, capitals and all.", "report.pdf"),
    )


class EventsAsked(ReceivedAsked):
    type = type_pattern("Only these types, as handlers write them: box:FILE.UPLOADED, box:FILE.*, box:*.")
    state = fields.String(
        validate=validate.OneOf(STATES),
        metadata=says("Only in this state, with a job in this state, or with drift."),
    )


class EventReplayAsked(Asked):
    handler = fields.String(
        validate=validate.Length(1, MAX_HANDLER),
        metadata=says(
            "Only for this handler, whether or not it had the event before.", "handlers.box_journal.note_upload"
        ),
    )


def filters(asked: dict[str, Any]) -> Filters:
    """Give what a listing of deliveries is narrowed to, of all that was asked for."""
    return Filters(**{name: value for name, value in asked.items() if name not in ("limit", "cursor")})


class Drift(Shape):
    class Meta:
        description = "A place where the payload differs from the schema that we know."

    path = text("Where in the payload.", "source.size")
    problem = text("What is odd there.", "Unknown field.")


class EventLine(Shape):
    class Meta:
        description = "What a source says happened, once, however often it was delivered."

    id = identifier("the event")
    source = source_name()
    type = text("What happened, as handlers write it.", "box:FILE.UPLOADED")
    name = text("The source's own word for it.", "FILE.UPLOADED")
    state = text("`accepted`: kept; `routed`: its handlers have their jobs.", "routed")
    received_at = moment("When the first delivery came.")
    occurred_at = moment("When it happened, where the source says so.", "2026-05-04T11:59:58Z", allow_none=True)
    deliveries = number("How often it was delivered.", 1, least=1)
    verified_by = verified_by()
    drift = fields.List(fields.Nested(Drift), metadata=says("Where the payload differs from what we know."))
    payload = fields.Dict(keys=fields.String(), metadata=says("The JSON object that came.", {"type": "webhook_event"}))
    job_counts = counts("How many jobs are in which state.", {"done": 1})


class Repeat(Shape):
    class Meta:
        description = "A second or later delivery of the same event."

    received_at = moment("When it came.")
    verified_by = verified_by()
    headers = header_lines()
    body_differs = fields.Boolean(metadata=says("Whether its bytes were not those of the first.", False))


class Event(EventLine):
    class Meta:
        description = "An event with its bytes, its deliveries and every attempt of its jobs."

    headers = header_lines()
    body_base64 = body_base64()
    repeats = fields.List(fields.Nested(Repeat), metadata=says("Its repeated deliveries, the first hundred."))
    jobs = fields.List(fields.Nested(EventJob), metadata=says("Its jobs, one for each handler."))


class Replayed(Shape):
    class Meta:
        description = "What will run again."

    event = identifier("the event")
    handler = text("The one handler that was asked for.", allow_none=True)
    jobs = number("How many jobs run again; handlers that came later get the event besides.", 1)


class RejectedLine(Shape):
    class Meta:
        description = "A delivery whose signature did not verify, or that was refused before anybody looked at it."

    id = identifier("the rejected delivery")
    source = text("Where it was sent to; `unknown` where that is no source of ours.", "box")
    received_at = moment("When it came.")
    reason = text("Why it was refused, as a code.", "signature_mismatch", validate=validate.OneOf([*Reason, *Unread]))
    detail = text("Why it was refused, as a sentence.", "The signature matches none of the keys.")
    body_bytes = number("How long its body is, or the beginning of it that is kept.", 312)
    status = number("The status that it was answered.", 401, least=100)
    method = text("Its method.", "POST")
    path = text(
        "Where it was sent to, as a path; null for what an earlier release kept.", "/hooks/box", allow_none=True
    )
    is_cut = fields.Boolean(metadata=says("Whether only the beginning of the body is kept.", False))
    announced_bytes = number("How long the body was to be, where that was said.", 1_300_000, allow_none=True)


class Rejected(RejectedLine):
    class Meta:
        description = "A rejected delivery with its bytes."

    headers = header_lines()
    body_base64 = body_base64()


class VerifyAsked(Asked):
    any_age = Flag("Whether only the signature has to be right, and not the age: the clock here was wrong.")


class ReleaseAsked(VerifyAsked):
    unverified = Flag("Whether it is let in although nothing says that it is genuine.")


class Verdict(Shape):
    class Meta:
        description = "Whether a rejected delivery verifies with the keys that are set now."

    id = identifier("the rejected delivery")
    verifies = fields.Boolean(metadata=says("Whether it does.", True))
    verified_by = text("Which key does it, never the key; null where none does.", "primary", allow_none=True)
    reason = text("Why it does not, as a code.", validate=validate.OneOf([*Reason, *Unread]), allow_none=True)
    detail = text("Why it does not, as a sentence.", allow_none=True)


class Released(Shape):
    class Meta:
        description = "What became of a delivery that was let in."

    status = text(
        "`accepted`: a new event; `duplicate`: of one that was here; `quarantined`: it verifies, and is no message.",
        "accepted",
        validate=validate.OneOf(["accepted", "duplicate", "quarantined"]),
    )
    event = text("The id of the event; null where it is quarantined.", "01M89R7F2GVFT2TM0ARGH8MK54", allow_none=True)
    quarantined = text("The id of the quarantined delivery, where it is that now.", allow_none=True)
    errors = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        metadata=says("What is wrong with each field, where it is quarantined.", {}),
    )


class QuarantinedLine(Shape):
    class Meta:
        description = "A delivery that did verify and cannot be read."

    id = identifier("the quarantined delivery")
    source = source_name()
    received_at = moment("When it came first.")
    deliveries = number("How often the same bytes came.", 1, least=1)
    verified_by = verified_by()
    errors = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        metadata=says("What is wrong with each field.", {"trigger": ["Missing data."]}),
    )
    body_bytes = number("How long its body is.", 312)


class QuarantineReleaseAsked(Asked):
    name = fields.String(
        data_key="as",
        validate=validate.Length(1, MAX_NAME),
        metadata=says("Let it in as an event of this name, whatever its own is; it has to be a JSON object.", "MOVED"),
    )


class Quarantined(QuarantinedLine):
    class Meta:
        description = "A delivery that did verify and cannot be read, with its bytes."

    headers = header_lines()
    body_base64 = body_base64()
