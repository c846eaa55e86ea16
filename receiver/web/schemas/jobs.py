"""The shapes of jobs and their attempts."""

from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validate, validates_schema

from receiver.storage.search import DISCARDED, JOB_STATES
from receiver.web.schemas.fields import WHOLE_ID, Matches, Since, identifier, moment, number, says, text, type_pattern
from receiver.web.schemas.shape import Asked, PageAsked, Shape

MAX_NUMBER = 2**63 - 1  # the highest number of a job that a database takes
MAX_HANDLER = 250
MAX_REASON = 1000


class JobsAsked(PageAsked):
    state = fields.String(validate=validate.OneOf((*JOB_STATES, DISCARDED)), metadata=says("Only in this state."))
    handler = fields.String(validate=validate.Length(1, MAX_HANDLER), metadata=says("Only of this handler."))
    event = fields.String(validate=Matches(WHOLE_ID, error="No id."), metadata=says("Only of the event of this id."))


class DiscardAsked(Asked):
    reason = fields.String(
        load_default="discarded by hand",
        validate=validate.Length(1, MAX_REASON),
        metadata=says("Why, for who looks at it later.", "the folder is gone"),
    )


class DeadLettersAsked(Asked):
    # Without any filter it would be all of them, which is too much for a slip: `"type": "*"` says that they are meant.
    ALSO: ClassVar = {"minProperties": 1}

    handler = fields.String(
        validate=validate.Length(1, MAX_HANDLER),
        metadata=says("Only those of this handler.", "handlers.box_journal.note_upload"),
    )
    type = type_pattern("Only those of events of these types; `*` for all.")
    since = Since("Only those whose event came then or later: a time, a day (UTC), or so long ago: 10m, 2h, 3d.", "2d")
    until = Since("Only those whose event came before then.")

    @validates_schema
    def _has_a_filter(self, asked: dict[str, Any], **_more: Any) -> None:
        if not asked:
            raise ValidationError('Say which: "type": "*" for all of them.', "type")


class DeadLettersToDiscard(DeadLettersAsked):
    ALSO: ClassVar = {
        "minProperties": 1,
        "anyOf": [{"required": [name]} for name in ("handler", "type", "since", "until")],
    }

    reason = fields.String(validate=validate.Length(1, MAX_REASON), metadata=says("Why, for who looks at it later."))

    @validates_schema
    def _has_a_filter(self, asked: dict[str, Any], **_more: Any) -> None:
        if not asked.keys() - {"reason"}:
            raise ValidationError('Say which: "type": "*" for all of them.', "type")


class Attempt(Shape):
    class Meta:
        description = "One time that a handler ran, or was to run."

    started_at = moment("When it began.")
    finished_at = moment("When it ended.", "2026-05-04T12:00:01Z")
    outcome = text("`done`, `failed`, `retry`, `discarded`, `lost` or `outlived`.", "done")
    error = text("What went wrong, with its traceback.", allow_none=True)


class JobCore(Shape):
    id = number("The number of the job.", 7, least=1)
    handler = text("The handler that gets the event.", "handlers.box_journal.note_upload")
    state = text("How far it is.", "done", validate=validate.OneOf(JOB_STATES))
    reason = text("Why it is dead.", allow_none=True)
    next_attempt_at = moment("When it is to run; null unless it waits for its time.", allow_none=True)
    waits_for = text(
        "Why it waits without a time to run at: its handler is paused, or no running worker has loaded it.",
        "no running worker has loaded acme.billing.bill",
        allow_none=True,
    )
    running_since = moment("When the attempt began that runs now; null unless it is running.", allow_none=True)
    discarded_at = moment("When it was put away as a dead letter; null unless it was.", allow_none=True)
    discarded_reason = text("Why it was put away.", allow_none=True)


class EventJob(JobCore):
    class Meta:
        description = "One handler's share of an event, with every attempt."

    attempts = fields.List(fields.Nested(Attempt), metadata=says("Every attempt, oldest first."))


class JobLine(JobCore):
    class Meta:
        description = "One handler's share of an event, as listings show it."

    event = identifier("its event")
    type = text("The type of its event.", "box:FILE.UPLOADED")
    last_attempt = fields.Nested(Attempt, allow_none=True, metadata=says("The newest attempt."))


class Job(EventJob):
    class Meta:
        description = "One handler's share of an event, with every attempt."

    event = identifier("its event")
    type = text("The type of its event.", "box:FILE.UPLOADED")


class DeadLettersDiscarded(Shape):
    class Meta:
        description = "What was put away."

    jobs = number("How many dead letters were put away.", 312)


class DeadLettersReplayed(Shape):
    class Meta:
        description = "What will run again."

    jobs = number("How many jobs run again.", 312)
