"""Where the sandbox stores its state: a SQLite file, or memory. One sandbox has it open at a time."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Any

from receiver.errors import SignalboxError
from receiver.storage import private_files

_VERSION = 1

# Columns that end in `_at` are of the sandbox's clock, in seconds since 1970; times for people are text.
_TABLES = """
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE tokens (
    token TEXT PRIMARY KEY, user_id INTEGER NOT NULL, application TEXT NOT NULL, kind TEXT NOT NULL,
    is_developers INTEGER NOT NULL, has_scope INTEGER NOT NULL, since_at REAL NOT NULL,
    has_ended INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE webhooks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER NOT NULL, application TEXT NOT NULL,
    target_type TEXT NOT NULL, target_id TEXT NOT NULL, address TEXT NOT NULL, triggers TEXT NOT NULL,
    created TEXT NOT NULL, delivered_at REAL NOT NULL, triggered_at REAL NOT NULL,
    UNIQUE (target_type, target_id, user_id, application)
);
CREATE TABLE items (
    type TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, parent TEXT, size INTEGER NOT NULL,
    version INTEGER NOT NULL, is_locked INTEGER NOT NULL, state TEXT NOT NULL, created TEXT NOT NULL,
    modified TEXT NOT NULL, PRIMARY KEY (type, id)
);
CREATE INDEX items_by_parent ON items (parent, name);
CREATE TABLE belongings (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, item_type TEXT NOT NULL, item_id TEXT NOT NULL,
    facts TEXT NOT NULL
);
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, name TEXT NOT NULL, webhook_id INTEGER,
    address TEXT NOT NULL, body BLOB NOT NULL, faults TEXT NOT NULL, schedule TEXT NOT NULL, happened TEXT NOT NULL,
    first_at REAL, sent INTEGER NOT NULL DEFAULT 0, due_at REAL, state TEXT NOT NULL DEFAULT 'waiting'
);
CREATE INDEX events_by_due ON events (state, due_at);
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, event_id INTEGER NOT NULL, number INTEGER NOT NULL, sent TEXT NOT NULL,
    sent_at REAL NOT NULL, delivery_id TEXT NOT NULL, status INTEGER, said TEXT NOT NULL, seconds REAL NOT NULL,
    counts INTEGER NOT NULL, next_at REAL
);
CREATE INDEX deliveries_by_event ON deliveries (event_id);
INSERT INTO sqlite_sequence (name, seq) VALUES ('webhooks', 4500000), ('belongings', 700000000);
"""


class SandboxStore:
    """A connection that threads share, one at a time."""

    def __init__(self, path: Path | None = None) -> None:
        self._lock = RLock()
        self.is_closed = False
        try:
            self._connection = self._open(path)
        except sqlite3.Error as error:
            raise SignalboxError(
                f"{path} cannot keep the sandbox's state ({error}). Does another sandbox have it open? "
                "--state takes a file that a sandbox made, or a name that is free."
            ) from error

    def _open(self, path: Path | None) -> sqlite3.Connection:
        if path:
            # If this fails, SQLite's own error says what is wrong.
            with suppress(OSError):
                private_files.make(path)
            private_files.tighten(str(path))
        connection = sqlite3.connect(
            str(path) if path else ":memory:", isolation_level=None, check_same_thread=False, timeout=1
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA synchronous = OFF")  # a power cut may cost the sandbox its state
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        is_empty = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if is_empty:
            connection.executescript(f"BEGIN EXCLUSIVE; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
        elif version != _VERSION:
            raise sqlite3.DatabaseError("it was made by something else, or by another release")
        # Takes the lock now, and keeps it after the commit: sqlite.org/pragma.html#pragma_locking_mode.
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")
        return connection

    @contextmanager
    def change(self) -> Iterator[None]:
        """Make several writes one transaction; inside another `change` it is part of that one."""
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def write(self, statement: str, *values: Any) -> int:
        """Run a statement and return the id of the row that it inserted."""
        with self._lock:
            return int(self._connection.execute(statement, values).lastrowid or 0)

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def row(self, query: str, *values: Any) -> sqlite3.Row | None:
        with self._lock:
            found: sqlite3.Row | None = self._connection.execute(query, values).fetchone()
            return found

    def note(self, name: str, value: Any) -> None:
        """Store a JSON value under a name."""
        self.write("INSERT OR REPLACE INTO notes (name, value) VALUES (?, ?)", name, json.dumps(value))

    def noted(self, name: str, default: Any = None) -> Any:
        found = self.row("SELECT value FROM notes WHERE name = ?", name)
        return json.loads(found["value"]) if found else default

    def close(self) -> None:
        with self._lock:
            self._connection.close()
            self.is_closed = True
