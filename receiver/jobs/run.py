"""One run of a handler, whatever it does: its outcome and error. A child process that it forks ends with it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from receiver.errors import Discard, Retry
from receiver.events import Event, Headers
from receiver.jobs.routing import Handler, unfinished
from receiver.runtime import forks, redaction, tracebacks
from receiver.sources import wire


@dataclass(frozen=True, slots=True)
class Ran:
    """How one run of a handler ended: `done`, `failed`, `retry` or `discarded`, with the error as text."""

    outcome: str
    error: str = ""
    after: timedelta | None = None
    cause: BaseException | None = None


def run(handler: Handler, event: Callable[[], Event]) -> Ran:
    """Run a handler for the event that `event` makes; return the outcome, whatever either raises.

    Credentials and signatures that an error quotes from the headers are masked: errors are shown, logged and exported.
    """
    began, headers = forks.generation(), Headers()
    try:
        given = event()
        headers = given.headers
        result = handler.function(given)
        forks.end_child(began)
        trouble = unfinished(result)
    except BaseException as error:  # noqa: BLE001 - a handler may raise anything, SystemExit too
        forks.end_child(began, error)
        ran = _meant_by(error)
        return replace(ran, error=redaction.hide(headers.pairs, ran.error))
    return Ran("failed", trouble) if trouble else Ran("done")


def _meant_by(error: BaseException) -> Ran:
    try:
        match error:
            case Discard():
                return Ran("discarded", tracebacks.said(error))
            case Retry():
                # Called on the class: a handler's own subclass of timedelta may add up to anything.
                after = timedelta.__add__(error.after, timedelta())
                return Ran("retry", tracebacks.said(error), after=max(after, timedelta()))
            case _:
                return Ran("failed", _traceback_of(error), cause=error)
    except BaseException as worse:  # noqa: BLE001 - a handler's own subclass of Retry or Discard may be broken itself
        return Ran("failed", _traceback_of(worse), cause=worse)


def _traceback_of(error: BaseException) -> str:
    """Return the traceback from the handler on, without our own frame above it."""
    return tracebacks.text_of(error, skip=1)


def event_of(row: sa.Row[Any], *, attempt: int = 1) -> Event:
    """Return the event of a row; each call parses the payload anew, so that a handler may change its own."""
    return Event(
        type=row.type,
        payload=wire.read_object(row.body),
        id=row.id,
        name=row.name,
        identity=row.identity,
        body=row.body,
        headers=Headers.from_bytes(row.headers),
        received_at=row.received_at,
        occurred_at=row.occurred_at,
        attempt=attempt,
    )
