"""The lines of the log on their way: copied at once, rendered together, written without waiting for a reader."""

import math
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from datetime import time as time_of_day
from itertools import islice
from typing import Any, TextIO

import msgspec

from receiver.runtime import outlet

Line = dict[str, Any]

# The limits of a value in a line: a longer one is cut, and marked as cut.
LONGEST_TEXT = 1_000
LONGEST_LINE = 20_000
LONGEST_TRACEBACK = 20_000
MOST_LEVELS = 6
# The most lines that wait for a stream which accepts nothing, and how many of these may be long.
MOST_WAITING = 20_000
MOST_HEAVY = 1_000
PATIENCE_SECONDS = 1.0

_FLAT = frozenset({str, int, float, bool, type(None)})
_HOLDING_MORE = (dict, list, tuple, set, frozenset)


class Lines:
    """Where structlog's lines go: they are rendered and written together, a moment after the first of them.

    To render and write a burst at once costs a fraction of doing so for each line. A line shows its values as they were
    when it was added. No value and no failing stream keeps later lines from being written; lines that were dropped are
    counted, and the count is logged as soon as the stream accepts data again.
    """

    PAUSE_SECONDS = 0.02

    def __init__(self) -> None:
        self.takes_info = True
        self._stream: TextIO | None = sys.stderr  # None if a process was started without one
        self._render: Callable[[list[Line]], str] = as_json
        self.begin_anew()

    def begin_anew(self) -> None:
        """Drop what waits, in a process that was just forked: it and the thread belong to the parent."""
        self._waiting: deque[Line] = deque()
        self._heavy = 0
        self._dropped = 0
        self._some = threading.Event()
        self._writing = threading.Lock()
        self._writer: threading.Thread | None = None

    def turn_to(self, stream: TextIO | None, render: Callable[[list[Line]], str]) -> None:
        self.write_out()
        self._stream, self._render = stream, render

    def add(self, **line: Any) -> None:
        """Add a line of any values: mutable or long ones are copied now."""
        if _is_flat(line):
            self.put(line)
        elif self._heavy < MOST_HEAVY:
            self._heavy += 1
            self.put(as_it_is_now(line))
        else:
            self._dropped += 1

    debug = info = warning = error = critical = add

    def put(self, line: Line) -> None:
        """Add a line of short texts and numbers without copying; it is dropped if the stream has not kept up."""
        if len(self._waiting) >= MOST_WAITING:
            self._dropped += 1
            return
        self._waiting.append(line)
        if not self._some.is_set():
            self._some.set()
        # Started by the first line, so that a process that forks before it starts a thread of its own.
        if self._writer is None:
            self._begin_writing()

    def _begin_writing(self) -> None:
        writer = threading.Thread(target=self._keep_writing, name="log", daemon=True)
        # A process that cannot start a thread now may be able to with the next line.
        with suppress(RuntimeError):
            writer.start()
            self._writer = writer

    def _keep_writing(self) -> None:
        try:
            while True:
                self._some.wait()
                time.sleep(self.PAUSE_SECONDS)
                self._some.clear()
                self.write_out(patience_seconds=math.inf)
        finally:
            # Something from outside ended this thread: the next line starts another.
            self._writer = None

    def write_out(self, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Write what is waiting, now; a log that cannot be written stops nothing else.

        A reader that reads nothing gets `patience_seconds`; then these lines are dropped, and counted.
        """
        until = time.monotonic() + patience_seconds
        if not self._writing.acquire(timeout=patience_seconds if patience_seconds < math.inf else -1):
            return
        lines = [*self._said_dropped(), *self._taken()]
        written = False
        try:
            written = not lines or self._written(self._rendered(lines), until)
        finally:
            if not written:
                self._dropped += len(lines)
            self._writing.release()

    def _written(self, text: str, until: float) -> bool:
        return self._stream is None or outlet.write(self._stream, text, until=until)

    def _taken(self) -> Iterator[Line]:
        for _ in range(len(self._waiting)):
            yield self._waiting.popleft()
        self._heavy = 0

    def _said_dropped(self) -> Iterator[Line]:
        count, self._dropped = self._dropped, 0
        if count:
            details = {"event": "log", "state": "lines dropped", "lines": count}
            yield {**details, "level": "warning", "timestamp": time.time()}

    def _rendered(self, lines: list[Line]) -> str:
        try:
            return self._render(lines)
        except Exception:  # noqa: BLE001 - one line is odd, and nobody says which: each is rendered by itself
            return "".join(map(self._rendered_alone, lines))

    def _rendered_alone(self, line: Line) -> str:
        try:
            return self._render([_encodable(line)])
        except Exception as error:  # noqa: BLE001 - a line that cannot be rendered is replaced by one that can
            details = {"event": "log", "state": "not written", "error": _name(type(error)), "level": "warning"}
            return self._render([details | {"timestamp": line["timestamp"]}])


def _is_flat(line: Line) -> bool:
    for value in line.values():
        kind = type(value)
        if kind is str:
            if len(value) > LONGEST_TEXT:
                return False
        elif kind is float:
            if value - value:  # infinity minus itself is NaN, and so is NaN minus itself; JSON has neither
                return False
        elif kind not in _FLAT:
            return False
    return "exc_info" not in line


def as_it_is_now(line: Line) -> Line:
    """Return a copy of a line that nothing can change any more: short texts, numbers, lists and objects of those.

    `exc_info`, in any form that the standard library's logging accepts, is replaced by the traceback.
    """
    budget = _CharacterBudget(LONGEST_LINE)
    error = _error_of(line.pop("exc_info", None))
    taken = {_cut(key): _plain(value, MOST_LEVELS, budget) for key, value in line.items()}
    if error is not None:
        taken["exception"] = _traceback(error)
    return taken


@dataclass(slots=True)
class _CharacterBudget:
    """How many characters a line may still use."""

    left: int

    def take(self, text: str) -> str:
        taken = _cut(text, min(LONGEST_TEXT, max(0, self.left)))
        self.left -= len(taken)
        return taken


def _plain(value: Any, levels: int, budget: _CharacterBudget) -> Any:
    """Return a value as texts and numbers; what is too deep or too long is replaced by an ellipsis."""
    budget.left -= 1
    if budget.left < 0:
        return "…"
    kind = type(value)
    try:
        if issubclass(kind, _HOLDING_MORE):
            return _plain_inside(value, kind, levels - 1, budget) if levels else "…"
        if kind not in _FLAT or kind is str or (kind is float and value - value):
            return budget.take(_in_words(value, kind))
    except Exception as error:  # noqa: BLE001 - a class of a handler's may do anything when it is inspected
        return f"({_name(kind)} that cannot be written: {_name(type(error))})"
    return value


def _plain_inside(value: Any, kind: type, levels: int, budget: _CharacterBudget) -> Any:
    if issubclass(kind, dict):
        items = islice(dict.items(value), budget.left + 1)
        return {_key(key, budget): _plain(child, levels, budget) for key, child in items}
    return [_plain(child, levels, budget) for child in islice(value, budget.left + 1)]


def _key(key: Any, budget: _CharacterBudget) -> str:
    plain = _plain(key, 1, budget)
    return plain if isinstance(plain, str) else str(plain)


def _in_words(value: Any, kind: type) -> str:
    if issubclass(kind, str):
        return str.__str__(value)
    if issubclass(kind, datetime | date | time_of_day):
        return str(value.isoformat())
    return repr(value[:LONGEST_TEXT]) if issubclass(kind, bytes | bytearray) else repr(value)


def _name(kind: type) -> str:
    # Read past a metaclass, whose own `__name__` may be anything or nothing.
    return _cut(type.__dict__["__name__"].__get__(kind), 100)


def _cut(text: str, most: int = LONGEST_TEXT) -> str:
    return text if len(text) <= most else f"{text[:most]}… {len(text) - most:,} characters more"


def _error_of(asked: Any) -> BaseException | None:
    if isinstance(asked, tuple) and len(asked) == 3:
        asked = asked[1]
    if issubclass(type(asked), BaseException):
        return asked  # type: ignore[no-any-return]
    return sys.exc_info()[1] if asked else None


def _traceback(error: BaseException) -> str:
    """Return a traceback; of a long one the beginning and the end, which says most."""
    try:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__, limit=-100)).rstrip("\n")
    except Exception as worse:  # noqa: BLE001 - some exceptions cannot be formatted
        return f"{_name(type(error))}, whose traceback cannot be written: {_name(type(worse))}"
    half = LONGEST_TRACEBACK // 2
    return text if len(text) <= LONGEST_TRACEBACK else f"{text[:half]}\n…\n{text[-half:]}"


def as_json(lines: list[Line]) -> str:
    """Return one JSON object for each line."""
    for line in lines:
        at = line["timestamp"]
        if isinstance(at, float):
            line["timestamp"] = datetime.fromtimestamp(at, UTC)
    return _ENCODER.encode_lines(lines).decode("utf-8", "replace")


_ENCODER = msgspec.json.Encoder()


def _encodable(value: Any) -> Any:
    """Return the same value as texts and numbers that every renderer and every stream accepts."""
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case bool() | float() | datetime() | None:
            return value
        case int():
            return value if value.bit_length() < 64 else _whole(value)
        case dict():
            return {_encodable(key): _encodable(child) for key, child in value.items()}
        case _:
            return [_encodable(child) for child in value]


def _whole(number: int) -> str:
    # Python (3.11) refuses to write a longer number in decimal:
    # docs.python.org/3/library/stdtypes.html#int-max-str-digits.
    return str(number) if number.bit_length() < 1_000 else f"(a number of {number.bit_length():,} bits)"
