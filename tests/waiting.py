"""How long a test waits for what other threads, processes and browsers do: one limit, which only a hang reaches.

PATIENCE_SECONDS=5 in the environment shortens it for somebody who wants to see a test fail soon.
"""

import os
import time
from collections.abc import Callable
from typing import Any

PATIENCE_SECONDS = float(os.environ.get("PATIENCE_SECONDS", "600"))
PATIENCE_MILLISECONDS = PATIENCE_SECONDS * 1000  # as Playwright wants it


def until(condition: Callable[[], Any], what: str, *, seconds: float = PATIENCE_SECONDS) -> Any:
    """Ask until something is so, and give what was found; fail with `what` where it is not in time."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not in {seconds:g} s: {what}"
        time.sleep(0.01)
    return found
