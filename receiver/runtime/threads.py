"""Threads beside the work of a process: one that lives as long as a block, and one that imports slow modules."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

PAUSE_SECONDS = 1
_GLANCE_SECONDS = 0.01
_loaded: set[str] = set()


@contextmanager
def beside(run: Callable[[threading.Event], None], *, name: str) -> Iterator[None]:
    """Call `run` in a thread while the block runs, with the event that asks it to end.

    At the end it gets five seconds, and it keeps no process alive. If `run` raises, the error goes to standard error,
    and it is called again.
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
        except BaseException as error:  # noqa: BLE001 - what it keeps running must not end unnoticed
            told = (type(error), error, error.__traceback__, threading.current_thread())
            threading.excepthook(threading.ExceptHookArgs(told))
        if stop.wait(PAUSE_SECONDS):
            return None


def load(*names: str) -> None:
    """Import modules that take long; with gevent in a real thread, so that other greenlets run meanwhile.

    gevent switches greenlets only where one waits, and an import computes without waiting.
    """
    missing = [name for name in names if name not in _loaded]
    monkey: Any = sys.modules.get("gevent.monkey")
    if not missing:
        return
    if monkey is None or not monkey.is_module_patched("threading"):
        _import(missing)
        return
    ended: list[None] = []
    monkey.get_original("_thread", "start_new_thread")(_import_apart, (missing, ended))
    while not ended:
        time.sleep(_GLANCE_SECONDS)
    _import(missing)  # at once; or it raises here what it raised there


def _import_apart(names: Sequence[str], ended: list[None]) -> None:
    try:
        with suppress(Exception):
            _import(names)
    finally:
        ended.append(None)


def _import(names: Sequence[str]) -> None:
    for name in names:
        import_module(name)
        _loaded.add(name)
