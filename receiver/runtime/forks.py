"""Ends a child that user code forks as soon as that code returns: it must not go on as a second worker."""

import os
import signal
import sys
from contextlib import suppress

from receiver.runtime import tracebacks

PATIENCE_SECONDS = 5
_forks = 0


def _count_fork() -> None:
    global _forks  # noqa: PLW0603
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


def generation() -> int:
    """Return a number that differs in a forked child; comparing it is cheaper than os.getpid()."""
    return _forks


def end_child(since: int, error: BaseException | None = None) -> None:
    """End this process at once if it was forked since then: with status 0, or the one that the error means.

    It skips all that Python does at an exit: buffers and connections here belong to the parent (`os._exit`).
    """
    if _forks == since:
        return
    status = 0 if error is None else 1
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        # Not by `sys.stderr`, whose lock another thread may have held when this process was forked: fork() copies only
        # the calling thread (man7.org/linux/man-pages/man2/fork.2.html).
        with suppress(OSError):
            os.write(2, tracebacks.text_of(error).encode())
    _flush_output()
    os._exit(status & 0xFF)


def _flush_output() -> None:
    """Flush what the child has printed; kill the child if that hangs on a lock of a thread that was not forked."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(PATIENCE_SECONDS)
    with suppress(Exception):
        sys.stdout.flush()
