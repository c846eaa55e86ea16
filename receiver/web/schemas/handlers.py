"""The shapes of handlers."""

from marshmallow import fields

from receiver.web.schemas.fields import counts, identifier, moment, number, says, text
from receiver.web.schemas.shape import Shape


class HandlerLine(Shape):
    class Meta:
        description = "A handler as the workers have loaded it, or a module of handlers that does not import."

    name = text("Its name.", "handlers.box_journal.note_upload")
    module = text("The module that it stands in.", "handlers.box_journal")
    patterns = fields.List(fields.String(), metadata=says("The events that it wants.", ["box:FILE.UPLOADED"]))
    attempts = number("How often a job of it is tried.", 8)
    summary = text("The first line that its author wrote about it.", "Note which file came.")
    trouble = text("The traceback, where the module does not import.", allow_none=True)
    loaded_at = moment("When a worker last loaded it.")
    paused_at = moment("Since when it is paused.", allow_none=True)
    workers = number("How many workers run that have loaded it, or in which it does not import.", 1)
    jobs = counts("How many jobs of it wait, run and are dead.", {"waiting": 3, "running": 1, "dead": 0})
    capped = fields.List(
        fields.String(),
        metadata=says("Which of these were not counted to the end: there may be more.", ["dead"]),
    )


class Failure(Shape):
    class Meta:
        description = "An attempt that failed."

    job = number("The number of the job.", 7, least=1)
    event = identifier("its event")
    finished_at = moment("When it ended.", "2026-05-04T12:00:01Z")
    outcome = text("How it ended.", "failed")
    error = text("What went wrong, with its traceback.", allow_none=True)
    number = number("Which attempt of its job it was.", 2, least=1)


class Handler(HandlerLine):
    class Meta:
        description = "A handler with its latest failures."

    failures = fields.List(fields.Nested(Failure), metadata=says("Its latest failed attempts, the newest first."))
