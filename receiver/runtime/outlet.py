"""Write to a stream without waiting for its reader: a full pipe or a stopped terminal blocks nothing."""

import io
import os
import select
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

NAP_SECONDS = 0.02
_PIECE = 4096  # bytes that a writable pipe accepts at once and whole: PIPE_BUF is at least this (POSIX; 4096 on Linux)


def write(stream: TextIO, text: str, *, until: float) -> bool:
    """Write a text until `until` (of `time.monotonic`); return whether all of it was written."""
    # If the disk is full, or the stream was closed, these lines are lost; the next ones need not be.
    try:
        if not isinstance(stream, io.TextIOWrapper) or not _has_descriptor(stream):
            # Text that the encoding cannot write, such as half a surrogate pair, is written as its number.
            encoding = stream.encoding or "utf-8"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()
            return True
        stream.flush()
        data = text.encode(stream.encoding, "backslashreplace")
        with _descriptor(stream.fileno()) as (descriptor, may_wait):
            return _write_bytes(descriptor, data, may_wait=may_wait, until=until)
    except (OSError, ValueError):
        return False


def is_broken(stream: TextIO) -> bool:
    """Return whether the reader of this stream is gone: the other end of the pipe was closed, or the terminal."""
    if not _has_descriptor(stream):
        return False
    poll = native_poll()
    poll.register(stream.fileno(), 0)
    return bool(poll.poll(0))


def _has_descriptor(stream: TextIO) -> bool:
    try:
        return stream.fileno() >= 0
    except io.UnsupportedOperation:
        return False


@contextmanager
def _descriptor(number: int) -> Iterator[tuple[int, bool]]:
    """Yield a descriptor of the same file, and whether writing to it may block.

    O_NONBLOCK belongs to the open file, which other processes may share, so the file is opened anew for each write. A
    descriptor that is kept would hold open a pipe whose end somebody waits for. Linux can open /proc/self/fd/N, but not
    if it is a socket (man7.org/linux/man-pages/man5/proc_pid_fd.5.html).
    """
    if stat.S_ISREG(os.fstat(number).st_mode):
        yield number, True
        return
    try:
        opened = os.open(f"/proc/self/fd/{number}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        yield number, True
        return
    try:
        yield opened, False
    finally:
        os.close(opened)


def _write_bytes(descriptor: int, data: bytes, *, may_wait: bool, until: float) -> bool:
    at = 0
    while at < len(data):
        written = 0 if may_wait and not _takes_some(descriptor) else _write_piece(descriptor, data, at)
        at += written
        if not written:
            if time.monotonic() > until:
                return False
            time.sleep(NAP_SECONDS)
    return True


def _write_piece(descriptor: int, data: bytes, at: int) -> int:
    """Write what a pipe accepts at once, up to the end of a line if possible, so that lines of others stay whole."""
    end = min(at + _PIECE, len(data))
    line_end = data.rfind(b"\n", at, end) + 1
    try:
        return os.write(descriptor, data[at : line_end or end])
    except BlockingIOError:
        return 0


def _takes_some(descriptor: int) -> bool:
    poll = native_poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(0))


def native_poll() -> Any:
    """Return a `select.poll` that asks without letting other greenlets run, also where gevent has replaced it."""
    # gevent replaces `select.poll` with one that runs its loop (gevent/select.py); asking without waiting needs no
    # loop.
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey.get_original("select", "poll")() if monkey else select.poll()
