"""The shapes of the figures: what came, how it was answered, how the handlers fare."""

from typing import Any

from marshmallow import fields, validate

from receiver.observe.metrics import WINDOWS
from receiver.web.schemas.fields import amount, counts, moment, number, says, text
from receiver.web.schemas.shape import Asked, Shape


class StatsAsked(Asked):
    window = fields.String(
        load_default="1h", validate=validate.OneOf(list(WINDOWS)), metadata=says("How far back.", "24h")
    )


def _series(description: str, example: dict[str, list[int]]) -> fields.Dict:
    line = fields.List(number("How many in this step."))
    return fields.Dict(keys=fields.String(), values=line, metadata=says(description, example))


def _milliseconds(description: str) -> Any:
    return amount(description, 1.5, allow_none=True)


def _milliseconds_series(description: str) -> Any:
    return fields.List(amount("Milliseconds.", 1.5, allow_none=True), metadata=says(description, [1.5, None]))


class SourceStats(Shape):
    class Meta:
        description = "Deliveries of one source; every series has one entry for each step."

    source = text("The source, or `all`.", "box")
    outcomes = counts("How many deliveries by outcome.", {"accepted": 12, "duplicate": 1})
    p50_ms = _milliseconds("Half of the answers took at most so long; null where there was none.")
    p99_ms = _milliseconds("99 of 100 answers took at most so long.")
    series = _series("How many deliveries by outcome.", {"accepted": [7, 5]})
    p50_ms_series = _milliseconds_series("The same as `p50_ms`.")
    p99_ms_series = _milliseconds_series("The same as `p99_ms`.")


class AttemptStats(Shape):
    class Meta:
        description = "Attempts of all handlers."

    outcomes = counts("How many attempts by outcome.", {"done": 11, "failed": 2})
    retries = number("How many attempts are made again.", 1)
    dead = number("How many jobs died.", 1)
    series = _series("By outcome, with `retries` and `dead` beside them.", {"done": [7, 4], "retries": [0, 1]})


class HandlerStats(Shape):
    class Meta:
        description = "Attempts of one handler."

    handler = text("The handler.", "handlers.box_journal.note_upload")
    attempts = number("How many attempts.", 13)
    outcomes = counts("How many attempts by outcome.", {"done": 11, "failed": 2})
    success_rate = amount("The share of attempts that were done, 0 to 1.", 0.846)
    retries = number("How many attempts are made again.", 1)
    dead = number("How many jobs died.", 1)
    p50_ms = _milliseconds("Half of the attempts took at most so long.")
    p99_ms = _milliseconds("99 of 100 attempts took at most so long.")


class AlarmStats(Shape):
    class Meta:
        description = "Events of a type that is an alarm."

    type = text("The type.", "box:WEBHOOK.DELETED")
    count = number("How many came.", 1, least=1)
    last_at = moment("The beginning of the step that the last came in.")


class Gauges(Shape):
    class Meta:
        description = "How things stand at this moment."

    at = moment("This moment.")
    unrouted_events = number("Events that no worker has routed yet.", 0)
    waiting_jobs = number("Jobs that wait for their time, but for those of `held_jobs`.", 3)
    held_jobs = number("Jobs of handlers that are paused, or that no running worker has loaded.", 0)
    running_jobs = number("Jobs that run.", 1)
    dead_jobs = number("Dead letters.", 2)
    rejected = number("Rejected deliveries.", 4)
    quarantined = number("Quarantined deliveries.", 0)
    capped = fields.List(
        fields.String(), metadata=says("Which of these were not counted to the end: there may be more.", ["rejected"])
    )
    oldest_job_seconds = amount("For how long the oldest due job has waited; null where none is due.", allow_none=True)
    oldest_event_seconds = amount("For how long the oldest event that was never routed has waited.", allow_none=True)
    newest_event_at = moment("When the newest event came.", allow_none=True)


class Stats(Shape):
    class Meta:
        description = "The figures of a window, and how things stand now."

    now = fields.Nested(Gauges, metadata=says("How things stand at this moment."))
    since = moment("The beginning of the first step.", "2026-05-04T11:00:00Z")
    until = moment("The end of the last step.")
    step_seconds = number("How long a step is.", 60, least=1)
    steps = fields.List(moment("The beginning of a step."), metadata=says("The beginnings of the steps."))
    sources = fields.List(fields.Nested(SourceStats), metadata=says("Each source."))
    all_sources = fields.Nested(SourceStats, metadata=says("All sources together."))
    attempts = fields.Nested(AttemptStats, metadata=says("All attempts together."))
    handlers = fields.List(fields.Nested(HandlerStats), metadata=says("Each handler, those that fail first."))
    alarms = fields.List(fields.Nested(AlarmStats), metadata=says("Types that are alarms, the latest first."))
    oldest_job_seconds = fields.List(
        amount("Seconds.", 0.0), metadata=says("The longest that a due job was seen to wait in each step.", [0.0, 1.5])
    )
