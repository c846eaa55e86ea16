"""Writing to a stream without waiting for whoever reads it: a full pipe and a stopped terminal hold nothing up."""

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
_PIECE = 4096  # bytes: a pipe that can be written to takes so many without waiting, and whole (POSIX: PIPE_BUF)


def write(stream: TextIO, text: str, *, until: float) -> bool:
    """Write a text, as long as it is taken before `until` (of `time.monotonic`); say whether all of it was."""
    # Where the disk is full, or the stream was closed, these lines are gone; the next ones need not be.
    try:
        if not isinstance(stream, io.TextIOWrapper) or not _has_descriptor(stream):
            # Text that the encoding has no bytes for, such as half a surrogate pair, is written as its number.
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
    """Say whether whoever read this stream is gone: the other end of the pipe was closed, or the terminal."""
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
    """Give a descriptor of the same file, and whether writing to it may wait for a reader.

    That it may not is a property of an opened file, which others share: so it is opened anew, for this once. Kept, it
    would hold open a pipe whose end somebody waits for. Linux opens what /proc shows; a socket cannot be opened.
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
    """Write what a pipe takes at once, up to the end of a line if there is one: what others write stays apart."""
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
    """Return a `select.poll` that asks without a turn for others, also where gevent has replaced it."""
    # gevent replaces `select.poll` with one that goes through its loop; asking without waiting needs no loop.
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey.get_original("select", "poll")() if monkey else select.poll()
