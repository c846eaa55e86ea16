"""One line for each delivery, routing and attempt, written by structlog: never a body, never a header, never a key."""

import logging
import sys
from collections.abc import Callable
from typing import Any

import structlog
from blinker import Signal
from structlog.typing import Processor

from receiver import signals
from receiver.errors import StoreError

log = structlog.get_logger("signalbox")


def configure(*, level: str = "info", form: str = "console") -> None:
    """Write to standard error: for people (`console`, coloured on a terminal) or one JSON object a line (`json`)."""
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, *_written(form)],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    for signal, listener in LISTENERS.items():
        signal.connect(listener, weak=False)


def _written(form: str) -> list[Processor]:
    if form == "json":
        return [structlog.processors.TimeStamper(fmt="iso", utc=True), structlog.processors.JSONRenderer()]
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), pad_event_to=8, pad_level=False, sort_keys=False
    )
    return [structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False), console]


def _accepted(_sender: object, **told: Any) -> None:
    log.info("delivery", verdict="accepted", **_line(told))


def _duplicated(_sender: object, **told: Any) -> None:
    log.info("delivery", verdict="duplicate", **_line(told))


def _rejected(_sender: object, **told: Any) -> None:
    log.warning("delivery", verdict="rejected", **_line(told))


def _quarantined(_sender: object, **told: Any) -> None:
    log.warning("delivery", verdict="quarantined", **_line(told))


def _unkept(_sender: object, *, error: StoreError, **told: Any) -> None:
    log.error("delivery", verdict="unkept", error=str(error), **_line(told))


def _routed(_sender: object, **told: Any) -> None:
    log.info("routed", **told)


def _attempted(_sender: object, **told: Any) -> None:
    # Errors of handlers may quote a payload: the line names their type only, the rest is in `signalbox events show`.
    error = told.pop("error", None)
    told.pop("cause", None)
    write = log.info if told["outcome"] == "done" else log.warning
    write("attempt", **_line(told), **({"error": error_name(error)} if error else {}))


def _buried(_sender: object, **told: Any) -> None:
    words = {name: told[name] for name in ("job_id", "event_id", "type", "handler", "attempt", "outcome")}
    log.error("dead job", **words, replay=f"signalbox jobs replay {told['job_id']}")


def _troubled(_sender: object, *, error: Exception) -> None:
    log.error("worker", error=str(error))


def error_name(error: str) -> str:
    """Give the name of the exception that a stored error ends with, without its message."""
    last = error.strip().splitlines()[-1] if error.strip() else ""
    name = last.partition(":")[0]
    return name if name.replace(".", "").replace("_", "").isalnum() and " " not in name else "see events show"


def _line(told: dict[str, Any]) -> dict[str, Any]:
    milliseconds = told.pop("milliseconds", None)
    if milliseconds is not None:
        told["ms"] = round(milliseconds, 1)
    return told


LISTENERS: dict[Signal, Callable[..., None]] = {
    signals.event_accepted: _accepted,
    signals.event_duplicated: _duplicated,
    signals.delivery_rejected: _rejected,
    signals.delivery_quarantined: _quarantined,
    signals.delivery_unkept: _unkept,
    signals.event_routed: _routed,
    signals.attempt_finished: _attempted,
    signals.job_buried: _buried,
    signals.worker_troubled: _troubled,
}
