"""Copies of the database: written and verified while everything runs, and put in the place of the present one.

A backup gets its name only once it is complete. A restore replaces the file in one step (rename), so that either the
old or the new file is at its path whenever it is cut short; the old one's -wal is merged into it before that.
"""

import fcntl
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from receiver.errors import BackupError
from receiver.storage import db

OWN = stat.S_IRUSR | stat.S_IWUSR
PAGES = 2000  # between two reports of progress
BESIDE = ("-wal", "-shm", "-journal")
DATA = ("events", "quarantined", "rejected", "bins")
FOR_WHOM_ENDS_SECONDS = 1
SHARED_FIRST, SHARED_SIZE = (
    0x40000002,
    510,
)  # the bytes that readers lock: sqlite.org/src/file/src/os.h

Tell = Callable[[int, int], None]
Rows = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was read from beginning to end: its length, and how many rows each table has."""

    file: Path
    bytes: int
    rows: Rows


@dataclass(frozen=True, slots=True)
class Restored:
    """What is in place now, and where the former database is kept; None if there was none."""

    rows: Rows
    kept_as: Path | None


def back_up(engine: sa.Engine, target: Path, *, tell: Tell = lambda _done, _all: None) -> Backup:
    """Write the state of one moment to a new file and verify it; other connections read and write meanwhile.

    BackupError if the target exists, or the copy differs from the database.
    """
    with new_file(target) as partial:
        if engine.dialect.name == "sqlite":
            rows = _copy(path_of(engine), partial, tell)
        else:
            from receiver.storage import pg_dump

            rows = pg_dump.dump(engine, partial)
        size = partial.stat().st_size
    return Backup(target, size, rows)


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Yield an empty file beside the target, for its owner alone, and give it the target's name at the end.

    BackupError if the target exists: it is never replaced.
    """
    if os.path.lexists(target):
        raise BackupError(f"{target} exists already, and nothing is overwritten: give another name, or move it away")
    partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
    try:
        with suppress(FileNotFoundError):
            partial.unlink()
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWN))
        partial.chmod(OWN)
        yield partial
        _sync(partial)
        _give_name(partial, target)
        _sync(target.parent)
    except OSError as error:
        raise BackupError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        for ending in ("", *BESIDE):
            with suppress(OSError):
                Path(f"{partial}{ending}").unlink()


def _give_name(partial: Path, target: Path) -> None:
    try:
        target.hardlink_to(partial)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise
        partial.rename(target)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def path_of(engine: sa.Engine) -> Path:
    """Return the path of SQLite's file; links are followed, as SQLite does."""
    return Path(os.path.realpath(engine.url.database or ""))


def _copy(source: Path, partial: Path, tell: Tell) -> Rows:
    try:
        with closing(_open(source, "mode=rw")) as reading, closing(_open(partial, "mode=rw")) as writing:
            reading.execute("BEGIN")  # one state of the database throughout, however much is written meanwhile
            rows = _count(reading)
            # A copy that is cut short is thrown away: a journal of it would serve nothing.
            writing.execute("PRAGMA journal_mode = OFF")
            writing.execute("PRAGMA synchronous = OFF")
            reading.backup(writing, pages=PAGES, progress=lambda _status, left, whole: tell(whole - left, whole))
            writing.execute("PRAGMA journal_mode = DELETE")  # one file, without a -wal beside it
    except sqlite3.Error as error:
        raise BackupError(f"{source} cannot be copied: {error}") from error
    if check(partial) != rows:
        raise BackupError(f"the copy of {source} has other numbers of rows than the original: it was deleted")
    return rows


def check(file: Path) -> Rows:
    """Read all of a SQLite backup, and return the count of rows of each table; BackupError if it is damaged."""
    for ending in ("-wal", "-journal"):
        beside = Path(f"{file}{ending}")
        if beside.exists() and beside.stat().st_size:
            raise BackupError(
                f"{beside} lies beside it: {file} alone is incomplete, and not a backup made by db backup"
            )
    try:
        with closing(_open(file, "mode=ro&immutable=1")) as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)")]
            if found != ["ok"]:
                raise BackupError(f"{file} is damaged: {found[0]}")
            rows = _count(connection)
    except sqlite3.Error as error:
        raise BackupError(f"{file} is not a complete SQLite database: {error}") from error
    if not {"alembic_version", *DATA[:1]} <= rows.keys():
        raise BackupError(f"{file} is not a database of Signalbox: it has no table of events")
    return rows


def _open(path: Path, how: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = OFF")
    return connection


def _count(connection: sqlite3.Connection) -> Rows:
    wanted = (
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    )
    names = [str(row[0]) for row in connection.execute(wanted)]
    quoted = {name: name.replace('"', '""') for name in names}
    return {name: connection.execute(f'SELECT count(*) FROM "{quoted[name]}"').fetchone()[0] for name in names}  # noqa: S608


def there(engine: sa.Engine) -> Rows | None:
    """Count the rows of the database that a restore would replace; None if it is missing or cannot be read."""
    path = path_of(engine)
    if not path.exists():
        return None
    try:
        with closing(_open(path, "mode=rw")) as connection:
            return {name: number for name, number in _count(connection).items() if name in DATA}
    except sqlite3.Error:
        return None


def restore(engine: sa.Engine, file: Path, *, now: datetime | None = None) -> Restored:
    """Replace SQLite's file with a backup, in one step, and keep the former file under another name.

    BackupError, with nothing changed, if the backup is damaged or processes have the database open.
    """
    path = path_of(engine)
    at = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    kept_as = path.with_name(f"{path.name}.before-restore-{at}")
    if os.path.lexists(kept_as):
        raise BackupError(f"{kept_as} exists already: try again in a second")
    rows = check(file)
    ready = path.with_name(f"{path.name}.restoring-{os.getpid()}")
    try:
        _write_ready(file, ready)
        if check(ready) != rows:
            raise BackupError(f"the copy of {file} has other numbers of rows than the original: nothing was changed")
        engine.dispose()
        with db.turn(engine), _alone(path):
            is_kept = _keep(path, kept_as)
            ready.replace(path)
            _sync(path.parent)
    except OSError as error:
        raise BackupError(f"{path} cannot be replaced: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            ready.unlink()
    return Restored(rows, kept_as if is_kept else None)


def _write_ready(file: Path, ready: Path) -> None:
    with suppress(FileNotFoundError):
        ready.unlink()
    with (
        file.open("rb") as reading,
        os.fdopen(os.open(ready, os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWN), "wb") as writing,
    ):
        while piece := reading.read(1 << 20):
            writing.write(piece)
        writing.flush()
        os.fsync(writing.fileno())
    ready.chmod(OWN)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Lock the file so that no process opens it, with everything in the file itself and no -wal beside it.

    To leave WAL, SQLite needs the file to itself: every process that has it open holds a shared lock on it
    (`sqlite3PagerCloseWal` in its pager.c). A damaged file keeps its -wal, and both are moved aside.
    """
    if not path.exists():
        yield
        return
    with closing(_open(path, "mode=rw")) as connection:
        connection.execute(f"PRAGMA busy_timeout = {FOR_WHOM_ENDS_SECONDS * 1000}")
        try:
            connection.execute("PRAGMA journal_mode = DELETE").fetchone()
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise BackupError(_in_use(path)) from error
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise BackupError(f"{path} cannot be put aside: {error}. Nothing was changed") from error
            _require_unused(path)
        yield


def _require_unused(path: Path) -> None:
    """Raise BackupError if a process has a damaged file open: SQLite checks that only for a file it can read."""
    with path.open("rb+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, SHARED_SIZE, SHARED_FIRST)
        except OSError as error:
            raise BackupError(_in_use(path)) from error


def _in_use(path: Path) -> str:
    return f"processes have {path} open: stop web and worker first. Nothing was changed"


def _keep(path: Path, kept_as: Path) -> bool:
    """Link the files at the path to a second name, then remove those that must not meet the new file."""
    names = [ending for ending in ("", *BESIDE) if os.path.lexists(f"{path}{ending}")]
    for ending in names:
        os.link(f"{path}{ending}", f"{kept_as}{ending}")
    _sync(path.parent)
    for ending in names:
        if ending:
            Path(f"{path}{ending}").unlink()
    return bool(names)
