"""A file with one JSON line for each event, written so that running twice writes once."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from receiver import Event

DEFAULT = Path(__file__).resolve().parent.parent / "var" / "journal.jsonl"


def append(event: Event, **fields: Any) -> None:
    """Add a line for this event, on the disk when this returns, unless an earlier attempt already did.

    `JOURNAL` in the environment names another file than `var/journal.jsonl`.
    """
    path = Path(os.environ.get("JOURNAL") or DEFAULT)
    line = json.dumps({"event": event.id, "type": event.type, **fields}).encode() + b"\n"
    with _locked(path) as file:
        # The first attempt cannot have written before; a later one looks how far the earlier ones came.
        if event.attempt > 1 and line in _whole_lines(file):
            return
        file.seek(0, os.SEEK_END)
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _locked(path: Path) -> Iterator[Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _cut_torn_line(file)
        yield file


def _cut_torn_line(file: Any) -> None:
    """Take away what a process that died while it wrote has left without a line's end."""
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return
    start = end
    while start > 0:
        step = min(4096, start)
        file.seek(start - step)
        newline = file.read(step).rfind(b"\n")
        if newline >= 0:
            start = start - step + newline + 1
            break
        start -= step
    file.truncate(start)


def _whole_lines(file: Any) -> Iterator[bytes]:
    file.seek(0)
    yield from file
