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
    """Write to standard error: for people (`console`, coloured on a terminal) or one JSON object a line (`json`)."""
    LINES.turn_to(sys.stderr, _for_people if form == "console" else as_json)
    least = getattr(logging, level.upper())
    LINES.takes_info = least <= logging.INFO
    structlog.configure(
        processors=[_stamp],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=lambda *_names: LINES,
    )
    # Bound once: a logger that is put together anew for every line costs more than the line.
    global log  # noqa: PLW0603
    log = structlog.get_logger("signalbox").bind()
    for signal, listener in LISTENERS.items():
        signal.connect(listener, weak=False)


def _stamp(_logger: object, level: str, line: Any) -> Any:
    """Note the level and the time; how the time is written is settled when all waiting lines are."""
    line["level"] = level
    line["timestamp"] = time.time()
    return line


def _accepted(_sender: object, **told: Any) -> None:
    _kept("accepted", told)


def _duplicated(_sender: object, **told: Any) -> None:
    _kept("duplicate", told)


def _kept(verdict: str, told: dict[str, Any]) -> None:
    # In the way of every answer, so past structlog, whose way to the same line is five times as long.
    if LINES.takes_info:
        LINES.put({"verdict": verdict, **_line(told), "event": "delivery", "level": "info", "timestamp": time.time()})


class _Few:
    """Lines that anybody can cause: the first between two sums are written, and then how many more there were."""

    MOST = 5

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._count = 0

    def takes(self) -> bool:
        with self._counting:
            self._count += 1
            return self._count <= self.MOST

    def more(self) -> int:
        """Give how many came that were not taken, and begin anew."""
        with self._counting:
            count, self._count = self._count, 0
        return max(0, count - self.MOST)


_REFUSALS = _Few()


def _rejected(_sender: object, **told: Any) -> None:
    if _REFUSALS.takes():
        log.warning("delivery", verdict="rejected", **_line(told))


def _refusals_written(_sender: object, *, kept: int, left_out: int) -> None:
    more = _REFUSALS.more()
    if more or left_out:
        log.warning("refusals", more=more, kept=kept, left_out=left_out)


class _Seldom:
    """Lines that anybody can cause, as fast as they like: one a second, with how many there were since the last."""

    def __init__(self) -> None:
        self._next_at = 0.0
        self._more = 0

    def takes(self, now: float) -> int | None:
        """Return how many were not written since the last line that was; None where this one is not either."""
        if now < self._next_at:
            self._more += 1
            return None
        more, self._more, self._next_at = self._more, 0, now + 1
        return more


_LOCK_OUTS = _Seldom()


def _tried(_sender: object, *, outcome: str, **told: Any) -> None:
    if outcome == "opened":
        log.info("login", outcome=outcome, **told)
    elif outcome == "wrong":
        log.warning("login", outcome=outcome, **told)
    elif (more := _LOCK_OUTS.takes(time.monotonic())) is not None:
        log.warning("login", outcome=outcome, **told, **({"more": more} if more else {}))


def _quarantined(_sender: object, **told: Any) -> None:
    log.warning("delivery", verdict="quarantined", **_line(told))


def _unkept(_sender: object, *, error: StoreError, **told: Any) -> None:
    log.error("delivery", verdict="unkept", error=str(error), **_line(told))


def _ended(_sender: object, *, ended: Mapping[str, int]) -> None:
    # Told once a second at the most. That idle connections are closed is as it should be.
    counts = {why: count for why, count in ended.items() if why != "idle"}
    if counts:
        log.warning("connections ended", **counts)


def _open_to_others(_sender: object, *, path: str, error: OSError) -> None:
    log.warning("open to others", path=path, error=error.strerror, mend=f"chmod 600 {path}, by its owner")


def _routed(_sender: object, **told: Any) -> None:
    log.info("routed", **told)


def _attempted(_sender: object, **told: Any) -> None:
    error, _cause = told.pop("error", None), told.pop("cause", None)
    write = log.info if told["outcome"] == "done" else log.warning
    write("attempt", **_line(told), **_why(error))


def _why(error: str | None) -> dict[str, str]:
    # The first line of it, as everywhere: all of it may quote a whole payload, and is in `signalbox events show`.
    return {"error": line_of(error)} if error else {}


def _buried(_sender: object, **told: Any) -> None:
    words = {name: told[name] for name in ("job_id", "event_id", "type", "handler", "attempt", "outcome")}
    log.error("dead job", **words, **_why(told["error"]), replay=f"signalbox jobs replay {told['job_id']}")


def _troubled(_sender: object, *, error: Exception) -> None:
    log.error("worker", error=str(error))


def _deaf(_sender: object, **told: Any) -> None:
    log.error("listener", **told)


def _died(_sender: object, **told: Any) -> None:
    log.error("registration", state="dead", **told, mend="signalbox box plan")


def _revived(_sender: object, **told: Any) -> None:
    log.warning("registration", state="made again", **told)


def _unrevived(_sender: object, *, error: Exception, **told: Any) -> None:
    log.error("registration", state="not made again", **told, error=str(error))


def _line(told: dict[str, Any]) -> dict[str, Any]:
    milliseconds = told.pop("milliseconds", None)
    if milliseconds is not None:
        told["ms"] = round(milliseconds, 1)
    return told


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
