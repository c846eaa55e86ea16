"""The doorbell of a worker: PostgreSQL rings it; on SQLite it checks whether the file was written to."""

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

HEARD = timedelta(seconds=30)  # for so long after a ring the bell is trusted; every worker's sign of life rings it


class Doorbell(Protocol):
    """What an idle worker checks before it queries the database."""

    def is_quiet(self) -> bool:
        """Return whether nothing was committed since the last call without a ring; False if that is unknown."""


@contextmanager
def doorbell(engine: sa.Engine, rung: Callable[[], None]) -> Iterator[Doorbell]:
    """Yield a bell for the block; on PostgreSQL it calls `rung` from a thread each time somebody rings."""
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
    """A bell that is trusted for a while after each ring.

    A pooler in between may accept LISTEN and never pass on a notification: PgBouncer in transaction mode does not
    support it (pgbouncer.org/features.html).
    """

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
    """A connection to the SQLite file that reads only `data_version`, which changes when another connection commits.

    That takes a hundredth of a query's time. The number never changes for commits of this same connection, and numbers
    of two connections cannot be compared: sqlite.org/pragma.html#pragma_data_version.
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
            version = None  # the next query reports what is wrong
        if version is None:
            self.close()
        known, self._version = self._version, version
        return version is not None and version == known

    def _read(self) -> int | None:
        if not self._engine.url.database:
            return None
        if self._connection is None:
            self._open()
        # SQLite keeps using a file that was unlinked or renamed (sqlite.org/howtocorrupt.html, 4.2): its number would
        # never change again.
        if not self._store.is_of_now(self._info):
            return None
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def _open(self) -> None:
        with patience.within(self._store.limit):
            borrowed = db.borrow(self._engine, self._store)
        self._connection, self._info = borrowed.driver_connection, dict(borrowed.info)
        borrowed.detach()  # out of the pool for good: the number is valid on this connection only

    def close(self) -> None:
        connection, self._connection, self._version = self._connection, None, None
        if connection is not None:
            with suppress(self._engine.dialect.loaded_dbapi.Error):
                connection.close()
