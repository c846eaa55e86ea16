"""How long a caller waits for the database: one limit for all its waiting, from the moment it began."""

import math
import time
from contextvars import ContextVar
from datetime import timedelta

LIMIT = timedelta(seconds=10)

_until: ContextVar[float] = ContextVar("until", default=math.inf)


class within:  # noqa: N801 - reads as what it does, and is quicker than a generator would be: every delivery passes here
    """Limit the time that the block may spend waiting; within another block, the earlier end counts."""

    __slots__ = ("_before", "_seconds")

    def __init__(self, limit: timedelta) -> None:
        self._seconds = limit.total_seconds()

    def __enter__(self) -> None:
        self._before = _until.set(min(_until.get(), time.monotonic() + self._seconds))

    def __exit__(self, *_exception: object) -> None:
        _until.reset(self._before)


def seconds_left() -> float:
    """Return for how many seconds a caller may still wait: infinity without a limit, 0 once the limit has passed."""
    until = _until.get()
    return until if until == math.inf else max(0.0, until - time.monotonic())
