"""The doorbell of a worker: PostgreSQL rings it, and of a SQLite file it is asked whether anybody has written to it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any, Protocol

import sqlalchemy as sa

from receiver.errors import StoreError
from receiver.runtime import threads
from receiver.storage import db, patience
from receiver.storage.stores import Store, store_of

HEARD = timedelta(seconds=30)  # how long a bell that rang is believed to work: a sign of life of any worker rings it


class Doorbell(Protocol):
    """What a worker that has nothing to do asks before it asks the database."""

    def is_quiet(self) -> bool:
        """Say whether nothing was committed since the last call but for what rang; False where nobody can know."""


@contextmanager
def doorbell(engine: sa.Engine, rung: Callable[[], None]) -> Iterator[Doorbell]:
    """Give a bell for the block; that of PostgreSQL calls `rung` from a thread whenever somebody rings."""
    if engine.dialect.name == "postgresql":
        from receiver.storage import postgresql

        bell = _Bell(rung)
        with threads.beside(partial(postgresql.listen, engine, bell.ring, bell.fall_silent), name="doorbell"):
            yield bell
    else:
        written = _Written(engine)
        try:
            yield written
        finally:
            written.close()


class _Bell:
    """Trusted for a while after it rang: a pooler in between may take LISTEN, and never pass a ring on."""

    def __init__(self, rung: Callable[[], None]) -> None:
        self._rung = rung
        self._heard_at = float("-inf")

    def ring(self) -> None:
        self._heard_at = time.monotonic()
        self._rung()

    def fall_silent(self) -> None:
        self._heard_at = float("-inf")

    def is_quiet(self) -> bool:
        return time.monotonic() - self._heard_at < HEARD.total_seconds()


class _Written:
    """A connection to the file that only asks for its number of the last commit of any other connection.

    That takes a hundredth of a query's time: sqlite.org/pragma.html#pragma_data_version.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._store: Store = store_of(engine)
        self._connection: Any = None
        self._info: dict[str, Any] = {}
        self._version: int | None = None

    def is_quiet(self) -> bool:
        try:
            version = self._read()
        except (sa.exc.SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error, StoreError, OSError):
            version = None  # whoever looks next says what is wrong
        if version is None:
            self.close()
        known, self._version = self._version, version
        return version is not None and version == known

    def _read(self) -> int | None:
        if not self._engine.url.database:
            return None
        if self._connection is None:
            self._open()
        # Whether the file is still the one at its path, the looks see that come anyway.
        if not self._store.is_of_now(self._info):
            return None
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def _open(self) -> None:
        with patience.within(self._store.limit):
            borrowed = db.borrow(self._engine, self._store)
        self._connection, self._info = borrowed.driver_connection, dict(borrowed.info)
        borrowed.detach()  # not the pool's any more: the number is one of this connection alone

    def close(self) -> None:
        connection, self._connection, self._version = self._connection, None, None
        if connection is not None:
            with suppress(self._engine.dialect.loaded_dbapi.Error):
                connection.close()
