"""How far a `listen` got: a file that one process writes at a time, whole or as it was."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from receiver.errors import SignalboxError
from receiver.storage import private_files

REMEMBERED = 2000


@dataclass(slots=True)
class Cursor:
    """The ids of the events that are known, in the order in which they came; None before the first look."""

    path: Path
    known: dict[str, None] = field(default_factory=dict)
    is_new: bool = True

    @classmethod
    def read(cls, path: Path) -> "Cursor":
        """Read a cursor, or begin one; SignalboxError for a file that is none."""
        try:
            ids = json.loads(path.read_text(encoding="utf-8"))["known"]
            if not isinstance(ids, list):
                raise TypeError("known is no list")
            return cls(path, dict.fromkeys(map(str, ids)), is_new=False)
        except FileNotFoundError:
            return cls(path)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise SignalboxError(f"{path} is no cursor ({type(error).__name__}): delete it, and begin anew.") from error

    def pass_by(self, ids: Iterable[str]) -> None:
        """Know these as well, and keep that: whole, or as it was."""
        self.known.update(dict.fromkeys(ids))
        self.is_new = False
        kept = list(self.known)[-REMEMBERED:]
        self.known = dict.fromkeys(kept)
        try:
            _replace(self.path, json.dumps({"known": kept}))
        except OSError as error:
            raise SignalboxError(f"The cursor {self.path} cannot be written: {error.strerror}.") from error


def _replace(path: Path, text: str) -> None:
    """Write a file whole, by way of one beside it that nobody else has, and that is no link of anybody's."""
    private_files.make_folder(path.parent)
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep a cursor to this process until it ends; SignalboxError where another one has it.

    By a lock on a file beside it, which stays there: whoever deletes it lets two in.
    """
    beside = path.with_name(f"{path.name}.lock")
    try:
        private_files.make_folder(path.parent)
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SignalboxError(f"{beside} cannot be opened: {error.strerror}. --cursor names another place.") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SignalboxError(
                f"Another signalbox listen has the cursor {path}: end it, or name another one with --cursor."
            ) from error
        yield
    finally:
        os.close(descriptor)
