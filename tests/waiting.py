"""Waiting for what other threads and processes do: a test asks again and again, and has a deadline."""

import time
from collections.abc import Callable
from typing import Any


def until(condition: Callable[[], Any], what: str, *, seconds: float = 90) -> Any:
    """Ask until something is so, and give what was found; fail with `what` where it is not in time."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not in {seconds:g} s: {what}"
        time.sleep(0.01)
    return found
