"""Report how attempts ended, by the service's own signals: logs, metrics and Sentry listen to them."""

from datetime import timedelta
from typing import Any

from receiver import signals
from receiver.jobs.retry import Dead
from receiver.jobs.store import Finish, Loss


def report_finish(worker: object, one: Finish, *, kept: bool) -> None:
    """Send the signals of an attempt that ended; `kept` says whether the worker still held its job."""
    details: dict[str, Any] = {
        "job_id": one.claim.job_id,
        "event_id": one.claim.event.id,
        "type": one.claim.event.type,
        "handler": one.claim.handler,
        "attempt": one.claim.attempt,
        "outcome": one.outcome if kept else "outlived",
        "error": one.error,
        "cause": one.cause,
    }
    milliseconds = (one.finished_at - one.claim.started_at) / timedelta(milliseconds=1)
    signals.attempt_finished.send(worker, milliseconds=milliseconds, **details)
    if kept and isinstance(one.then, Dead):
        signals.job_buried.send(worker, **details)


def report_loss(worker: object, loss: Loss) -> None:
    """Send the signals of an attempt whose worker vanished; nobody knows how long it ran."""
    details: dict[str, Any] = {
        "job_id": loss.job_id,
        "event_id": loss.event_id,
        "type": loss.type,
        "handler": loss.handler,
        "attempt": loss.attempt,
        "outcome": "lost",
        "error": None,
        "cause": None,
    }
    signals.attempt_finished.send(worker, milliseconds=None, **details)
    if isinstance(loss.then, Dead):
        signals.job_buried.send(worker, **details)
