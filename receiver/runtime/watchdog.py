"""Ends a process that hangs, or whose files were closed under it, so that a supervisor starts another.

A handler that holds the GIL stops every thread, and the handling of signals: only something that needs no GIL can end
that.
"""

import faulthandler
import os
import time
from contextlib import suppress
from datetime import timedelta
from typing import NoReturn

from receiver.errors import WorkerError

STANDARD_ERROR = 2
AS_OFTEN = 10  # how many times within the limit it is rewound: doing so takes a tenth of a millisecond


class Watchdog:
    """Must be patted regularly by what it watches; after `limit` without a pat the process ends with status 1.

    The stack of every thread is printed to standard error then. Without a limit it only checks the files.
    """

    def __init__(self, limit: timedelta) -> None:
        self._limit_seconds = limit.total_seconds()
        self._wound_at = float("-inf")
        # Code that closes all files of this process closes these as well; the number may be another file's then.
        self._pipe = os.pipe()
        self._is = os.fstat(self._pipe[0])

    @property
    def pause(self) -> timedelta:
        """How long what it watches may pause at a time."""
        return timedelta(seconds=self._limit_seconds / AS_OFTEN if self._limit_seconds else 60)

    def pat(self) -> None:
        """Report that what it watches is alive; WorkerError if this process has lost its files."""
        if not self._has_its_files():
            raise WorkerError("something here closed files that are not its own: this process ends, and loses no job")
        now = time.monotonic()
        if self._limit_seconds and now - self._wound_at >= self.pause.total_seconds():
            self._wound_at = now
            # Printed by a C thread that does not take the GIL (`dump_traceback_later`):
            # docs.python.org/3/library/faulthandler.html.
            faulthandler.dump_traceback_later(self._limit_seconds, exit=True, file=STANDARD_ERROR)

    def _has_its_files(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._pipe[0]), self._is)
        except OSError:
            return False


def end_process(error: WorkerError) -> NoReturn:
    """End this process at once, with status 1 and the reason: a normal exit would write to other files by mistake."""
    with suppress(OSError):
        os.write(STANDARD_ERROR, f"Error: {error}\n".encode())
    os._exit(1)
