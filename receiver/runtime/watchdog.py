"""Ends a process that does not move any more, or whose files were closed under it, so that a supervisor begins another.

A handler that holds the GIL stops every thread, and the heeding of signals: only what needs no GIL can end that.
"""

import faulthandler
import os
import time
from contextlib import suppress
from datetime import timedelta
from typing import NoReturn

from receiver.errors import WorkerError

STANDARD_ERROR = 2
AS_OFTEN = 10  # how many times within the limit it is wound up: doing so takes a tenth of a millisecond


class Watchdog:
    """Has to be patted again and again by what it watches; `limit` without one, and the process ends with status 1.

    The stack of every thread goes to standard error then. Without a limit it looks at the files only.
    """

    def __init__(self, limit: timedelta) -> None:
        self._limit_seconds = limit.total_seconds()
        self._wound_at = float("-inf")
        # Whoever closes all files of this process closes these as well; the number may be another file's then.
        self._pipe = os.pipe()
        self._is = os.fstat(self._pipe[0])

    @property
    def pause(self) -> timedelta:
        """How long what it watches may rest at a time."""
        return timedelta(seconds=self._limit_seconds / AS_OFTEN if self._limit_seconds else 60)

    def pat(self) -> None:
        """Say that what it watches moves; WorkerError where this process has lost its files."""
        if not self._has_its_files():
            raise WorkerError("something here closed files that are not its own: this process ends, and loses no job")
        now = time.monotonic()
        if self._limit_seconds and now - self._wound_at >= self.pause.total_seconds():
            self._wound_at = now
            # Written by a thread of C's that holds no lock of Python's: docs.python.org/3/library/faulthandler.html
            faulthandler.dump_traceback_later(self._limit_seconds, exit=True, file=STANDARD_ERROR)

    def _has_its_files(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._pipe[0]), self._is)
        except OSError:
            return False


def end_process(error: WorkerError) -> NoReturn:
    """End this process at once, with status 1 and the reason: an orderly exit would write to files of others."""
    with suppress(OSError):
        os.write(STANDARD_ERROR, f"Error: {error}\n".encode())
    os._exit(1)
