"""The handlers of the bench, in a module of their own: a handler is called the same in the worker and in Celery."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from receiver import Event


def nothing(_event: Event) -> None:
    """Cost nothing, so that what is measured is the worker."""


def note_into(path: Path) -> Callable[[Event], None]:
    """Give a handler that adds a line for each event: when, and which."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def note(event: Event) -> None:
        os.write(file, f"{time.time():.6f} {event.id}\n".encode())

    return note
