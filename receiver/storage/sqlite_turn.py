"""Whose turn it is to write to a SQLite file: one writer at a time, in whatever process (docs/decisions/0011)."""

import errno
import fcntl
import os
import threading
import time
from contextlib import suppress

from receiver.errors import StoreError
from receiver.storage import patience, private_files


class Turn:
    """Lets one writer of a SQLite file at a time go ahead, in whatever process it is.

    SQLite itself makes writers sleep for longer and longer between their tries (`sqliteDefaultBusyCallback` in main.c:
    1 to 100 ms), and under load the unlucky ones starve. Waits here are short sleeps, so that a gevent process goes on
    serving.
    """

    _NAP_SECONDS = 0.0003
    _LOOK_SECONDS = 1.0

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: int | None = None
        self._place = (0, 0)
        self._looked_at = 0.0
        self._among_threads = threading.Lock()

    def __enter__(self) -> None:
        longest = min(patience.seconds_left(), patience.LIMIT.total_seconds())
        deadline = time.monotonic() + longest
        if not self._among_threads.acquire(timeout=longest):
            raise StoreError("the database is locked: another thread has been writing for too long")
        try:
            self._take(deadline)
        except BaseException:
            self._among_threads.release()
            raise

    def _take(self, deadline: float) -> None:
        try:
            while True:
                # Opened at first use: a lock of flock() belongs to the open file, and processes that fork would share
                # it (man7.org/linux/man-pages/man2/flock.2.html).
                if self._file is None:
                    self._file = self._open()
                while not _has_locked(self._file):
                    if time.monotonic() > deadline:
                        raise StoreError(f"the database is locked: another process has held {self._path} for too long")
                    time.sleep(self._NAP_SECONDS)
                if self._is_in_its_place():
                    return
                # Deleted or replaced: a process that opens it now locks the other file, and has a turn at the same time
                # as this one.
                os.close(self._file)
                self._file = None
        except OSError as error:
            raise StoreError(self._explain(error)) from error

    def _open(self) -> int:
        file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, private_files.MODE)
        found = os.fstat(file)
        self._place = (found.st_dev, found.st_ino)
        return file

    def _is_in_its_place(self) -> bool:
        """Check now and then whether the file exists: without turns writers wait unfairly, but nothing breaks."""
        now = time.monotonic()
        if now - self._looked_at < self._LOOK_SECONDS:
            return True
        self._looked_at = now
        try:
            found = os.stat(self._path)  # noqa: PTH116 - making a Path would take longer than the call
        except OSError:  # opening it reports what is wrong
            return False
        return (found.st_dev, found.st_ino) == self._place

    def _explain(self, error: OSError) -> str:
        if error.errno == errno.ENOENT:
            return f"the database cannot be written: the folder of {self._path} is missing. Put it back where it was"
        return f"the database cannot be written: {self._path} cannot be opened and locked ({error.strerror})"

    def close(self) -> None:
        """Close the file, in a process that was just forked."""
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None

    def __exit__(self, *_exception: object) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self._among_threads.release()


def _has_locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


_turns: dict[str, Turn] = {}


def turn_of(path: str) -> Turn:
    """Return the one turn that this process has for a file."""
    return _turns.get(path) or _turns.setdefault(path, Turn(f"{path}-turn"))


def _take_no_part() -> None:
    """Close inherited files after a fork: an open one would hold the parent's turn beyond its end."""
    for one in _turns.values():
        one.close()
    _turns.clear()


os.register_at_fork(after_in_child=_take_no_part)
