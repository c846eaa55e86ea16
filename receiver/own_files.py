"""Files and folders for their owner alone, whatever the umask: payloads, keys and personal data are in them."""

import os
import stat
from contextlib import suppress
from pathlib import Path

MODE = 0o600
FOLDER_MODE = 0o700
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, for their owner alone; one that is there stays as it is."""
    if path.is_dir():
        return
    make_folder(path.parent)
    with suppress(FileExistsError):
        path.mkdir(mode=FOLDER_MODE)


def make(path: str | Path, *, may_exist: bool = True) -> None:
    """Make an empty file for its owner alone; what is there stays as it is, or is a FileExistsError."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (0 if may_exist else os.O_EXCL), MODE))


def write(path: Path, text: str) -> None:
    """Write a file of our own, of which nobody else reads a byte meanwhile."""
    with os.fdopen(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE), "w", encoding="utf-8"
    ) as file:
        os.fchmod(file.fileno(), MODE)
        file.write(text)


def tighten(path: str) -> OSError | None:
    """Take a file that may be there from all but its owner; return what kept that from being done."""
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)  # noqa: PTH116 - a Path would take longer to make than to ask
        if mode & _OTHERS:
            os.chmod(path, mode & ~_OTHERS)  # noqa: PTH101
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return None
