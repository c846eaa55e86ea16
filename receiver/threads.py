"""A thread beside the work of a process: it begins and ends with a block."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PAUSE_SECONDS = 1


@contextmanager
def beside(run: Callable[[threading.Event], None], *, name: str) -> Iterator[None]:
    """Call `run` in a thread of its own while the block runs, with the event that tells it to end.

    It is waited for five seconds, and keeps no process alive. Where `run` raises, standard error tells of it, and it is
    called again.
    """
    stop = threading.Event()
    thread = threading.Thread(target=_run, args=(run, stop), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(5)


def _run(run: Callable[[threading.Event], None], stop: threading.Event) -> None:
    while True:
        try:
            return run(stop)
        except BaseException as error:  # noqa: BLE001 - what it keeps going must not end unseen
            told = (type(error), error, error.__traceback__, threading.current_thread())
            threading.excepthook(threading.ExceptHookArgs(told))
        if stop.wait(PAUSE_SECONDS):
            return None
