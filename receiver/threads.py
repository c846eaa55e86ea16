"""A thread beside the work of a process: it begins and ends with a block."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def beside(run: Callable[[threading.Event], None], *, name: str) -> Iterator[None]:
    """Call `run` in a thread of its own while the block runs, with the event that tells it to end.

    It is waited for five seconds, and keeps no process alive.
    """
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(stop,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(5)
