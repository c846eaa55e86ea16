"""SQLite's file: how it is opened, whether it is still the one at its path, and how it is left complete at the end.

A process that has a file open goes on writing to it after it was moved or deleted, and every commit succeeds, but
nothing of it is at the path (sqlite.org/howtocorrupt.html, 4.2). So each transaction compares device and inode of the
file and its -wal with those it opened, before it begins and before its commit is reported.
"""

import os
import sqlite3
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection

from receiver import signals
from receiver.errors import StoreError
from receiver.storage import patience, private_files

# Errors after which a connection, or the file that it has open, is of no use: sqlite.org/rescode.html.
SPENT = {
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOTADB,
}
BUSY_NAP_SECONDS = 0.002
LONGEST_AT_END_SECONDS = 1.0
KEPT_AS = "opened"
STEPS = 10_000  # virtual machine instructions of SQLite between two looks at the clock

Place = tuple[int, int]


class Opened(NamedTuple):
    """The files that a connection has open: device and inode of each. A file that is not in WAL mode has no -wal."""

    file: Place
    wal: Place | None
    wal_path: str


class SqliteFile:
    """One file, shared by the connections of one engine."""

    def __init__(self, path: str, *, limit: timedelta) -> None:
        self.path = os.path.abspath(path)  # noqa: PTH100 - links are followed each time it is opened
        self._limit = limit
        self.may_be_made = False
        self.was_opened = False
        self._has_warned = False

    @property
    def is_yet_to_be_made(self) -> bool:
        """Whether the file is missing and this process has never seen it."""
        return not self.was_opened and _place(self.path) is None

    def connect(self, _dialect: sa.Dialect, record: Any, words: list[Any], named: dict[str, Any]) -> None:
        """Record which file is at the path before it is opened; a missing file is made only by an upgrade."""
        found = _place(self.path)
        if found is None and not (self.may_be_made and self.is_yet_to_be_made):
            raise StoreError(self._gone())
        if found is None:
            private_files.make(
                self.path
            )  # SQLite would make it with the process's umask, and its -wal and -shm like it
        else:
            self._tighten()
            words[0], named["uri"] = f"{Path(self.path).as_uri()}?mode=rw", True
        named["timeout"] = self._limit.total_seconds()
        record.info["found"] = found

    def _tighten(self) -> None:
        """Restrict the file and those beside it to their owner; log once if that is refused, and go on."""
        at = os.path.realpath(self.path)
        # SQLite gives -wal and -shm the mode of the file (findCreateFileMode in os_unix.c, as of 3.50). Those that it
        # made while the file could only be read would keep it from being written for as long as they are there.
        is_written = private_files.is_writable_by_owner(at)
        for path in (at, f"{at}-wal", f"{at}-shm", f"{at}-journal", f"{self.path}-turn"):
            error = private_files.tighten(path, makes_writable=is_written)
            if error is not None and not self._has_warned:
                self._has_warned = True
                signals.file_open_to_others.send(self, path=path, error=error)

    def prepare(self, connection: DBAPIConnection, record: Any) -> None:
        """Set up a new connection: WAL, and `synchronous=FULL`, so that a commit is on disk when it returns.

        In WAL mode NORMAL does not sync at each commit, and a power cut could undo it:
        sqlite.org/pragma.html#pragma_synchronous.
        """
        # Python's sqlite3 would begin transactions itself, only at the first INSERT and without the write lock
        # (docs.python.org/3/library/sqlite3.html, "Transaction control"): `begin` does it instead.
        connection.isolation_level = None
        cursor = connection.cursor()
        # Has an effect only on a file that is made now (sqlite.org/pragma.html#pragma_page_size): three deliveries fit
        # on a page of 8 KiB, and one on 4 KiB.
        cursor.execute("PRAGMA page_size = 8192")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()  # opens the -wal
        cursor.close()
        self._note(record)

    def _note(self, record: Any) -> None:
        file, wal_path = _place(self.path), _wal_of(self.path)
        if file is None or record.info["found"] not in (None, file):
            raise StoreError(self._replaced("It was replaced while it was being opened"))
        record.info[KEPT_AS] = Opened(file, _place(wal_path), wal_path)
        self.was_opened = True

    def is_in_place(self, opened: Opened) -> bool:
        """Return whether a connection's open files are those at their paths. Every delivery waits for this."""
        return self.has_its_wal(opened) and _place(self.path) == opened.file

    def has_its_wal(self, opened: Opened) -> bool:
        """Return whether a transaction may begin: another process that finds the file gone removes its -wal."""
        return opened.wal is None or _place(opened.wal_path) == opened.wal

    def what_became(self, connection: Any, info: dict[str, Any]) -> tuple[str, bool]:
        """Return what happened to the files, as a sentence, and whether connections to them must be closed.

        They stay open to a file that was moved or deleted, so that it is used again when it is put back. The content of
        a -wal that was deleted is saved. The caller holds the turn to write.
        """
        file, opened = _place(self.path), cast("Opened", info[KEPT_AS])
        if file is None:
            return self._gone(), False
        if file != opened.file:
            return self._replaced("The file that is there now is used from the next request on"), self._part(
                connection, info
            )
        said = f"{opened.wal_path} was deleted or replaced while it was in use"
        if not _save(connection, info):
            return (
                f"{said}, and is still in use: its content is not in the database yet. Saving it is tried again",
                False,
            )
        return f"{said}: its content is in the database now. Delete no file beside the database", True

    def _part(self, connection: Any, info: dict[str, Any]) -> bool:
        """Merge the -wal into a file that was moved away from it; the -wal is beside another file now.

        SQLite would read that file and the -wal as one database, and damage it. Afterwards everything is in the moved
        file.
        """
        opened = cast("Opened", info[KEPT_AS])
        if _wal_of(self.path) != opened.wal_path or _place(opened.wal_path) != opened.wal:
            return True
        if not _save(connection, info):
            return False
        for ending in ("-wal", "-shm"):
            Path(opened.wal_path.removesuffix("-wal") + ending).unlink(missing_ok=True)
        return True

    def _gone(self) -> str:
        return (
            f"{self.path} is missing. If it was moved or deleted, put it back, or restore a backup: it is used "
            "again then. signalbox db upgrade makes a new one; a running process does not do that by itself"
        )

    def _replaced(self, then: str) -> str:
        return f"{self.path} is not the file that was opened. {then}"


def _wal_of(path: str) -> str:
    return f"{os.path.realpath(path)}-wal"  # SQLite follows links first


def _place(path: str) -> Place | None:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_spent(error: BaseException) -> bool:
    """Return whether connections must be reopened after this error."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF in SPENT


def is_damaged(error: BaseException | None) -> bool:
    """Return whether this error means that the file is damaged, or not a SQLite database."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def begin(connection: Any, info: dict[str, Any], how: str) -> None:
    """Begin a transaction; one that writes waits for its lock without blocking the process."""
    if how != "BEGIN IMMEDIATE":
        return _begin_reading(connection, info, how)
    if not info.get("hurried"):
        _wait_in_sqlite(connection, info, hurried=True)
    until = None
    while True:
        try:
            connection.execute(how)
            return None
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
            until = until or time.monotonic() + min(patience.seconds_left(), patience.LIMIT.total_seconds())
            if time.monotonic() > until:
                raise
            time.sleep(BUSY_NAP_SECONDS)


def _begin_reading(connection: Any, info: dict[str, Any], how: str) -> None:
    if info.get("hurried"):
        _wait_in_sqlite(connection, info, hurried=False)
    connection.execute(how)


def _wait_in_sqlite(connection: Any, info: dict[str, Any], *, hurried: bool) -> None:
    # As a script: sqlite3 caches prepared statements, and this PRAGMA works when it is prepared, not when it is run
    # (sqlite.org/pragma.html: "Some pragmas run during the SQL compilation stage").
    milliseconds = 0 if hurried else int(patience.LIMIT / timedelta(milliseconds=1))
    connection.executescript(f"PRAGMA busy_timeout = {milliseconds}")
    info["hurried"] = hurried


def _is_busy(error: sqlite3.Error) -> bool:
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _save(connection: Any, info: dict[str, Any]) -> bool:
    """Copy the content of the -wal into the database; return whether nobody needs the -wal any more."""
    if not info.get("hurried"):
        _wait_in_sqlite(connection, info, hurried=True)
    try:
        busy, _pages, _moved = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.DatabaseError as error:
        # Another process has saved and truncated it before: nothing in it can be lost.
        return not _is_busy(error)
    return not busy


def leave_whole(connection: Any, info: dict[str, Any]) -> None:
    """Copy everything into the one file if no other process is reading; the last one to end does so."""
    until = time.monotonic() + LONGEST_AT_END_SECONDS
    with suppress(sqlite3.Error):
        while not _save(connection, info) and time.monotonic() < until:
            time.sleep(BUSY_NAP_SECONDS)


Checked = Literal["whole", "damaged", "cut"]


def check(connection: object, *, limit: timedelta) -> tuple[Checked, list[str]]:
    """Check every page of the file, within `limit`; return the result, and SQLite's messages if it is damaged."""
    own = cast("sqlite3.Connection", connection)
    until = time.monotonic() + limit.total_seconds()
    own.set_progress_handler(lambda: time.monotonic() > until, STEPS)
    try:
        found = [str(row[0]) for row in own.execute("PRAGMA quick_check(10)")]
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_INTERRUPT:
            return "cut", []
        return "damaged", [str(error)]
    finally:
        own.set_progress_handler(None, 0)
    return ("whole", []) if found == ["ok"] else ("damaged", found)
