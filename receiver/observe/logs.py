"""One line for each delivery, routing and attempt, written by structlog: never a body, never a header, never a key."""

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog
from blinker import Signal

from receiver import signals
from receiver.errors import StoreError
from receiver.observe.log_writer import Line, Lines, as_json
from receiver.runtime.reasons import line_of

log: Any = structlog.get_logger("signalbox")


def _for_people(lines: list[Line]) -> str:
    render = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=8, pad_level=False, sort_keys=False)
    return "".join(f"{render(None, '', _timed(line))}\n" for line in lines)


def _timed(line: Line) -> Line:
    return line | {"timestamp": datetime.fromtimestamp(line["timestamp"], UTC).astimezone().strftime("%H:%M:%S")}


LINES = Lines()
atexit.register(LINES.write_out)
os.register_at_fork(after_in_child=LINES.begin_anew)


def configure(*, level: str = "info", form: str = "console") -> None:
    """Log to standard error: for people (`console`, coloured on a terminal) or one JSON object a line (`json`)."""
    LINES.turn_to(sys.stderr, _for_people if form == "console" else as_json)
    least = getattr(logging, level.upper())
    LINES.takes_info = least <= logging.INFO
    structlog.configure(
        processors=[_stamp],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=lambda *_names: LINES,
    )
    # Bound once: structlog would otherwise assemble a logger anew for every line, which costs more than the line
    # (structlog.org/en/stable/performance.html).
    global log  # noqa: PLW0603
    log = structlog.get_logger("signalbox").bind()
    for signal, listener in LISTENERS.items():
        signal.connect(listener, weak=False)


def _stamp(_logger: object, level: str, line: Any) -> Any:
    """Add the level and the time to a line; the time is formatted when all waiting lines are written."""
    line["level"] = level
    line["timestamp"] = time.time()
    return line


def _accepted(_sender: object, **details: Any) -> None:
    _kept("accepted", details)


def _duplicated(_sender: object, **details: Any) -> None:
    _kept("duplicate", details)


def _kept(verdict: str, details: dict[str, Any]) -> None:
    # Every response waits for this, so it bypasses structlog, which takes five times as long for the same line.
    if LINES.takes_info:
        LINES.put(
            {"verdict": verdict, **_line(details), "event": "delivery", "level": "info", "timestamp": time.time()}
        )


class _Few:
    """Lines that anybody can cause: the first few of a period are written, then only their number."""

    MOST = 5

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._count = 0

    def takes(self) -> bool:
        with self._counting:
            self._count += 1
            return self._count <= self.MOST

    def more(self) -> int:
        """Return how many were not written, and start a new period."""
        with self._counting:
            count, self._count = self._count, 0
        return max(0, count - self.MOST)


_REFUSALS = _Few()


def _rejected(_sender: object, **details: Any) -> None:
    if _REFUSALS.takes():
        log.warning("delivery", verdict="rejected", **_line(details))


def _refusals_written(_sender: object, *, kept: int, left_out: int) -> None:
    more = _REFUSALS.more()
    if more or left_out:
        log.warning("refusals", more=more, kept=kept, left_out=left_out)


class _Seldom:
    """Lines that anybody can cause, as fast as they like: one a second, with the number since the last one."""

    def __init__(self) -> None:
        self._next_at = 0.0
        self._more = 0

    def takes(self, now: float) -> int | None:
        """Return how many were skipped since the last line that was written; None if this one is skipped too."""
        if now < self._next_at:
            self._more += 1
            return None
        more, self._more, self._next_at = self._more, 0, now + 1
        return more


_LOCK_OUTS = _Seldom()


def _tried(_sender: object, *, outcome: str, **details: Any) -> None:
    if outcome == "opened":
        log.info("login", outcome=outcome, **details)
    elif outcome == "wrong":
        log.warning("login", outcome=outcome, **details)
    elif (more := _LOCK_OUTS.takes(time.monotonic())) is not None:
        log.warning("login", outcome=outcome, **details, **({"more": more} if more else {}))


def _quarantined(_sender: object, **details: Any) -> None:
    log.warning("delivery", verdict="quarantined", **_line(details))


def _unkept(_sender: object, *, error: StoreError, **details: Any) -> None:
    log.error("delivery", verdict="unkept", error=str(error), **_line(details))


def _ended(_sender: object, *, ended: Mapping[str, int]) -> None:
    # Logged once a second at most. Closing idle connections is normal, and not logged.
    counts = {why: count for why, count in ended.items() if why != "idle"}
    if counts:
        log.warning("connections ended", **counts)


def _open_to_others(_sender: object, *, path: str, error: OSError) -> None:
    log.warning("open to others", path=path, error=error.strerror, mend=f"chmod 600 {path}, by its owner")


def _routed(_sender: object, **details: Any) -> None:
    log.info("routed", **details)


def _attempted(_sender: object, **details: Any) -> None:
    error, _cause = details.pop("error", None), details.pop("cause", None)
    write = log.info if details["outcome"] == "done" else log.warning
    write("attempt", **_line(details), **_why(error))


def _why(error: str | None) -> dict[str, str]:
    # Only the first line of the error, as everywhere: the rest may quote a whole payload. `signalbox events show` has
    # it.
    return {"error": line_of(error)} if error else {}


def _buried(_sender: object, **details: Any) -> None:
    words = {name: details[name] for name in ("job_id", "event_id", "type", "handler", "attempt", "outcome")}
    log.error("dead job", **words, **_why(details["error"]), replay=f"signalbox jobs replay {details['job_id']}")


def _troubled(_sender: object, *, error: Exception) -> None:
    log.error("worker", error=str(error))


def _deaf(_sender: object, **details: Any) -> None:
    log.error("listener", **details)


def _died(_sender: object, **details: Any) -> None:
    log.error("registration", state="dead", **details, mend="signalbox box plan")


def _revived(_sender: object, **details: Any) -> None:
    log.warning("registration", state="made again", **details)


def _unrevived(_sender: object, *, error: Exception, **details: Any) -> None:
    log.error("registration", state="not made again", **details, error=str(error))


def _line(details: dict[str, Any]) -> dict[str, Any]:
    milliseconds = details.pop("milliseconds", None)
    if milliseconds is not None:
        details["ms"] = round(milliseconds, 1)
    return details


LISTENERS: dict[Signal, Callable[..., None]] = {
    signals.event_accepted: _accepted,
    signals.event_duplicated: _duplicated,
    signals.delivery_rejected: _rejected,
    signals.refusals_written: _refusals_written,
    signals.login_tried: _tried,
    signals.delivery_quarantined: _quarantined,
    signals.delivery_unkept: _unkept,
    signals.connections_ended: _ended,
    signals.file_open_to_others: _open_to_others,
    signals.event_routed: _routed,
    signals.attempt_finished: _attempted,
    signals.job_buried: _buried,
    signals.worker_troubled: _troubled,
    signals.listener_failed: _deaf,
    signals.registration_died: _died,
    signals.registration_revived: _revived,
    signals.registration_unrevived: _unrevived,
}
