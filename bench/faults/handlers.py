"""The handlers of the fault suite: one that notes when it begins and ends, and those that get into trouble."""

import ctypes
import os
import queue
import random
import re
import threading
import time
from datetime import timedelta

from receiver import Event, on

LIMIT = timedelta(seconds=1)
CHUNK = 16 * 2**20
_notes = os.open(os.environ["FAULT_NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def write_down(word: str, event: Event) -> None:
    os.write(_notes, f"{word} {event.id} {event.attempt}\n".encode())


@on("box:FILE.DOWNLOADED")
def note(event: Event) -> None:
    """Note that it begins, take a moment in which it can be killed, note that it ends."""
    write_down("begin", event)
    time.sleep(random.uniform(0, 0.04))
    write_down("end", event)


@on("box:FILE.TRASHED", time_limit=LIMIT)
def hang(event: Event) -> None:
    """Hang the first time."""
    write_down("begin", event)
    while event.attempt == 1:
        time.sleep(0.1)
    write_down("end", event)


@on("box:FILE.RESTORED", time_limit=LIMIT)
def hang_and_listen_to_nobody(event: Event) -> None:
    """Hang the first time, so that only a kill ends it."""
    write_down("begin", event)
    while event.attempt == 1:
        try:
            time.sleep(0.1)
        except BaseException:  # noqa: BLE001, S112 - the worst that a handler can do
            continue
    write_down("end", event)


@on("box:FILE.LOCKED")
def swell(event: Event) -> None:
    """Take all the memory that there is the first time, and keep it for a moment."""
    write_down("begin", event)
    taken = []
    try:
        while event.attempt == 1:
            taken.append(bytearray(CHUNK))
    except MemoryError:
        time.sleep(0.5)
        raise
    write_down("end", event)


@on("box:FILE.UNLOCKED")
def end_its_thread(event: Event) -> None:
    """Have an exception thrown into this very thread the first time, as libraries for time limits do, at its end."""
    write_down("begin", event)
    if event.attempt == 1:
        _targets.put(threading.get_ident())
    write_down("end", event)


def _throw() -> None:
    while True:
        thread = _targets.get()
        time.sleep(random.uniform(0, 0.002))
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(SystemExit))


# One thread throws into all others. A timer for each would be hit itself: the number of a thread that ended is given
# to the next, and whoever starts it waits for ever.
_targets: queue.SimpleQueue[int] = queue.SimpleQueue()
threading.Thread(target=_throw, daemon=True).start()


@on("box:FILE.RENAMED")
def hold_everything_up(event: Event) -> None:
    """Give a regular expression what it never comes to an end with, the first time: no other thread runs meanwhile."""
    write_down("begin", event)
    if event.attempt == 1:
        re.match(r"(a+)+$", "a" * 60 + "b")
    write_down("end", event)
