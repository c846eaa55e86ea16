"""A child that a user's code forks ends where that code returns: it must not go on as a second worker."""

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
    """Give a number that is another one in a child; comparing it costs nothing, and asking the system would."""
    return _forks


def end_child(since: int, error: BaseException | None = None) -> None:
    """End this process at once where it was forked since then: with 0, or with what the error means at an exit.

    Past everything that Python does at an exit: what is buffered or connected here is the parent's.
    """
    if _forks == since:
        return
    status = 0 if error is None else 1
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        # Past `sys.stderr`, whose lock another thread may have held when this process was forked.
        with suppress(OSError):
            os.write(2, tracebacks.text_of(error).encode())
    _flush_output()
    os._exit(status & 0xFF)


def _flush_output() -> None:
    """Write out what the child has printed; where that waits for a lock of a thread that is not here, it is ended."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(PATIENCE_SECONDS)
    with suppress(Exception):
        sys.stdout.flush()
