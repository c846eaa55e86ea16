"""How long somebody waits for the database: one limit, from the moment that they began to, whatever it is spent on."""

import math
import time
from contextvars import ContextVar
from datetime import timedelta

LIMIT = timedelta(seconds=10)

_until: ContextVar[float] = ContextVar("until", default=math.inf)


class within:  # noqa: N801 - reads as what it does, and is quicker than a generator would be: every delivery passes here
    """Let what the block waits for take so long together; a block around it that ends sooner, ends it sooner."""

    __slots__ = ("_before", "_seconds")

    def __init__(self, limit: timedelta) -> None:
        self._seconds = limit.total_seconds()

    def __enter__(self) -> None:
        self._before = _until.set(min(_until.get(), time.monotonic() + self._seconds))

    def __exit__(self, *_exception: object) -> None:
        _until.reset(self._before)


def seconds_left() -> float:
    """Return how long may still be waited: infinity where nothing limits it, 0 where the limit has passed."""
    until = _until.get()
    return until if until == math.inf else max(0.0, until - time.monotonic())
