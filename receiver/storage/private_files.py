"""Files and folders for their owner alone, whatever the umask: they hold payloads, keys and personal data."""

import os
import stat
from contextlib import suppress
from pathlib import Path

MODE = 0o600
FOLDER_MODE = 0o700
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_folder(path: Path) -> None:
    """Make a folder and its missing parents, for their owner alone; an existing folder is not changed."""
    if path.is_dir():
        return
    make_folder(path.parent)
    with suppress(FileExistsError):
        path.mkdir(mode=FOLDER_MODE)


def make(path: str | Path, *, may_exist: bool = True) -> None:
    """Make an empty file for its owner alone; an existing one is not changed, or raises FileExistsError."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (0 if may_exist else os.O_EXCL), MODE))


def write(path: Path, text: str) -> None:
    """Write a file for its owner alone; at no moment can anybody else read it."""
    with os.fdopen(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE), "w", encoding="utf-8"
    ) as file:
        os.fchmod(file.fileno(), MODE)
        file.write(text)


def is_writable_by_owner(path: str) -> bool:
    """Return whether the mode of a file lets its owner read and write it; False where it is missing."""
    with suppress(OSError):
        return os.stat(path).st_mode & MODE == MODE  # noqa: PTH116
    return False


def tighten(path: str, *, makes_writable: bool = False) -> OSError | None:
    """Remove the permissions of group and others from a file, if it exists; return the error if that fails.

    `makes_writable` also lets the owner read and write it, if the file belongs to this user.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - making a Path would take longer than the call
        mode = stat.S_IMODE(found.st_mode)
        wanted = mode & ~_OTHERS | (MODE if makes_writable and found.st_uid == os.geteuid() else 0)
        if wanted != mode:
            os.chmod(path, wanted)  # noqa: PTH101
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return None
