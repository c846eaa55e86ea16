"""What is known about each engine's database besides what SQLAlchemy knows, and how its connections are closed."""

import atexit
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from receiver.errors import StoreError
from receiver.storage import patience, sqlite_file
from receiver.storage.sqlite_file import SqliteFile
from receiver.storage.sqlite_turn import turn_of

LAST_WAIT = timedelta(seconds=2)


@dataclass(slots=True)
class Store:
    """What is known about the database of one engine, besides what SQLAlchemy knows.

    `limit` is how long a transaction may take with all its waiting; `generation` counts how often all connections were
    marked for reopening.
    """

    limit: timedelta = patience.LIMIT
    file: SqliteFile | None = None
    is_spent: Callable[[BaseException], bool] = sqlite_file.is_spent
    generation: int = 0
    has_written: bool = False

    def let_go(self) -> None:
        """Mark every connection for reopening before it is used again."""
        self.generation += 1

    def number(self, _connection: object, record: Any) -> None:
        record.info["generation"] = self.generation

    def is_of_now(self, info: Mapping[Any, Any]) -> bool:
        """Return whether the connection with this `info` may still be used."""
        return bool(info.get("generation", self.generation) == self.generation)


_stores: WeakKeyDictionary[sa.Engine, Store] = WeakKeyDictionary()
_inherited: list[sa.Pool] = []


def keep(engine: sa.Engine, store: Store) -> None:
    """Record what is known about an engine that was just opened."""
    engine.update_execution_options(store=store)
    _stores[engine] = store


def store_of(engine: sa.Engine) -> Store:
    """Return what is known about an engine's database; an empty record if it was not opened here."""
    known: Store | None = engine.get_execution_options().get("store")
    return known or Store()


@atexit.register
def close_all() -> None:
    """Close every connection of this process; on SQLite, merge the -wal into the file if nobody else is reading.

    Registered before all other exit functions, because Python runs them in reverse order
    (docs.python.org/3/library/atexit.html): what those write is merged too.
    """
    for engine, store in list(_stores.items()):
        if store.file is not None and store.has_written:
            with suppress(StoreError, sa.exc.SQLAlchemyError, OSError):
                _leave_whole(engine, store)
        engine.dispose()


def _leave_whole(engine: sa.Engine, store: Store) -> None:
    store.has_written = False
    with patience.within(LAST_WAIT), turn_of(engine.url.database or ""):
        connection = engine.raw_connection()
        try:
            sqlite_file.leave_whole(connection.driver_connection, connection.info)
        finally:
            connection.close()


def _leave_to_the_parent() -> None:
    """Forget inherited connections after a fork: the parent goes on using them, so this process must not close them."""
    for engine, store in list(_stores.items()):
        _inherited.append(engine.pool)
        engine.dispose(close=False)
        store.has_written = False


os.register_at_fork(after_in_child=_leave_to_the_parent)
