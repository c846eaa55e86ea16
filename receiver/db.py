"""The engine, its transactions, the schema's version, and the few things that SQLite and PostgreSQL do differently."""

import fcntl
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection

from receiver import threads
from receiver.errors import HeldError, SchemaError, StoreError

if TYPE_CHECKING:
    import psycopg
    from alembic.config import Config

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
BUSY_SECONDS = 10
UPGRADE_TRIES = 20
UPGRADE_PAUSE_SECONDS = 3
UPGRADING = 1014  # the number of a lock: one upgrade at a time
TRY_AGAIN = {"55P03", "40P01"}  # lock not available, deadlock: postgresql.org/docs/18/errcodes-appendix.html
STEP = 500  # rows that are read, or changed in one transaction, where there may be many: nobody waits for more


class Moment(sa.types.TypeDecorator[datetime]):
    """A point in time: aware and UTC in Python, whatever the database makes of it."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def open_engine(url: str) -> sa.Engine:
    """Give an engine; nothing is opened before the first use.

    SQLite: WAL, and `synchronous=FULL`, so that a commit is on the disk when it returns.
    """
    parsed = sa.make_url(url)
    # Parameters are bodies and headers: they stay out of error texts.
    if parsed.get_backend_name() != "sqlite":
        engine = sa.create_engine(parsed, hide_parameters=True, pool_pre_ping=True, pool_size=4, max_overflow=4)
        sa.event.listen(engine, "connect", _prepare_postgresql)
        return engine
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(parsed, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS})
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_postgresql(connection: DBAPIConnection, _record: object) -> None:
    # psycopg reads no time that is out of the years 1 to 9999 in the session's zone, which is the server's to choose.
    # Not as an option of the connection: that would replace those of the URL and of PGOPTIONS, and some poolers take
    # none. Outside a transaction, because it would end with one that is rolled back.
    own = cast("psycopg.Connection[Any]", connection)
    own.autocommit = True
    own.execute("SET TIME ZONE 'UTC'")
    own.autocommit = False


def _prepare_sqlite(connection: DBAPIConnection, _record: object) -> None:
    # The driver would begin transactions by itself, late and without the write lock: _begin_sqlite does it instead.
    connection.isolation_level = None
    cursor = connection.cursor()
    # Heeded by a file that is made now, and by no other: three deliveries fit on a page of 8 KiB, and one on 4.
    cursor.execute("PRAGMA page_size = 8192")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that reads first and writes later can fail for good where another writer came between.
    connection.exec_driver_sql(connection.get_execution_options().get("begin_with", "BEGIN"))


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that only reads: one state of the database throughout."""
    with _translated(engine), engine.begin() as connection:
        yield connection


def walk(
    engine: sa.Engine, wanted: sa.Select[Any], key: Sequence[sa.Column[Any]], *, backwards: bool = False
) -> Iterator[Sequence[sa.Row[Any]]]:
    """Give many rows in the order of a unique key, STEP at a time and each once, letting others have their turn."""
    rest = wanted.order_by(*(one.desc() if backwards else one for one in key)).limit(STEP)
    page, place = rest, sa.tuple_(*key)
    while True:
        with reading(engine) as connection:
            rows = connection.execute(page).all()
        yield rows
        if len(rows) < STEP:
            return
        last = sa.tuple_(*(sa.literal(rows[-1]._mapping[one], one.type) for one in key))
        page = rest.where(place < last if backwards else place > last)
        time.sleep(0)


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that writes: committed to the disk at the end, or nothing of it; StoreError where it cannot be."""
    with turn(engine), _translated(engine), engine.connect() as plain:
        connection = plain.execution_options(begin_with="BEGIN IMMEDIATE")
        with connection.begin():
            yield connection


@contextmanager
def writing_directly(engine: sa.Engine) -> Iterator[Any]:
    """The same as `writing`, with a cursor of the driver: for the one transaction that every request waits for."""
    with turn(engine), _translated(engine):
        connection = engine.raw_connection()
        try:
            cursor = connection.cursor()
            if engine.dialect.name == "sqlite":
                cursor.execute("BEGIN IMMEDIATE")
            yield cursor
            connection.commit()
        except BaseException:
            connection.rollback()
            raise
        finally:
            connection.close()


class Turn:
    """Lets one writer of a SQLite file at a time come forward, whatever process it is in.

    SQLite itself would let writers try again after longer and longer sleeps: under load the unlucky ones starve. The
    wait is made of short sleeps, so that a gevent process goes on serving meanwhile.
    """

    _NAP_SECONDS = 0.0003

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: int | None = None
        self._among_threads = threading.Lock()

    def __enter__(self) -> None:
        deadline = time.monotonic() + BUSY_SECONDS
        if not self._among_threads.acquire(timeout=BUSY_SECONDS):
            raise StoreError("the database is locked: another thread has been writing for too long")
        try:
            self._take(deadline)
        except BaseException:
            self._among_threads.release()
            raise

    def _take(self, deadline: float) -> None:
        try:
            # Opened at first use, so that processes that fork do not share one lock.
            if self._file is None:
                self._file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
            while not self._has_locked(self._file):
                if time.monotonic() > deadline:
                    raise StoreError(f"the database is locked: another process has held {self._path} for too long")
                time.sleep(self._NAP_SECONDS)
        except OSError as error:
            message = f"the database cannot be written: {self._path} cannot be opened and locked ({error.strerror})"
            raise StoreError(message) from error

    def _has_locked(self, file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)

    def __exit__(self, *_exception: object) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self._among_threads.release()


_turns: dict[str, Turn] = {}


def _take_no_part() -> None:
    """In a process that was just forked: a file that it kept open would hold the turn of its parent past its end."""
    for one in _turns.values():
        one.close()
    _turns.clear()


os.register_at_fork(after_in_child=_take_no_part)


def turn(engine: sa.Engine) -> AbstractContextManager[None]:
    """Give what a writer has to hold: the file's turn for SQLite, nothing for a server that queues by itself."""
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return nullcontext()
    return _turns.setdefault(engine.url.database, Turn(f"{engine.url.database}-turn"))


@contextmanager
def _translated(engine: sa.Engine) -> Iterator[None]:
    driver = engine.dialect.loaded_dbapi
    try:
        yield
    except (sa.exc.SQLAlchemyError, driver.Error, ValueError, OverflowError) as error:
        cause = getattr(error, "orig", None) or error
        # What a database or its driver says of a value that it cannot take; all else is trouble of its own.
        about_a_row = isinstance(cause, driver.DataError | driver.IntegrityError | ValueError | OverflowError)
        told = type(cause).__name__ if isinstance(cause, ValueError) else f"{type(cause).__name__}: {cause}"
        raise StoreError(f"the database could not do it: {told}", is_about_a_row=about_a_row) from error


def insert(connection: sa.Connection, table: sa.Table) -> Any:
    """Give the INSERT of this dialect, the one with `on_conflict_do_nothing` and `on_conflict_do_update`."""
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)


def lock(connection: sa.Connection, number: int, *, shared: bool = False) -> None:
    """Hold the lock of a number until this transaction ends; writers of a SQLite file take turns anyway."""
    if connection.dialect.name == "postgresql":
        take = sa.func.pg_advisory_xact_lock_shared if shared else sa.func.pg_advisory_xact_lock
        connection.execute(sa.select(take(number)))


def ring(cursor: Any, dialect: sa.Dialect) -> None:
    """Wake the workers when this transaction commits: PostgreSQL can, and SQLite is asked often instead."""
    if dialect.name == "postgresql":
        cursor.execute("NOTIFY signalbox")


def doorbell(engine: sa.Engine, rung: Callable[[], None]) -> AbstractContextManager[None]:
    """Call `rung` from a thread whenever somebody rings; a connection that breaks is made again."""
    if engine.dialect.name != "postgresql":
        return nullcontext()
    return threads.beside(partial(_listen, engine, rung), name="doorbell")


def _listen(engine: sa.Engine, rung: Callable[[], None], closed: threading.Event) -> None:
    while not closed.is_set():
        try:
            borrowed = engine.raw_connection()
            own = cast("psycopg.Connection[Any]", borrowed.driver_connection)
            borrowed.detach()  # not the pool's any more: it listens for as long as the worker lives
            with closing(own) as connection:
                connection.autocommit = True
                connection.execute("LISTEN signalbox")
                while not closed.is_set():
                    for _ in connection.notifies(timeout=0.5, stop_after=1):
                        rung()
        except (sa.exc.SQLAlchemyError, engine.dialect.loaded_dbapi.Error):
            closed.wait(1)  # the worker asks as it would without a bell, meanwhile


@cache
def marked(statement: str, dialect: sa.Dialect) -> str:
    """Give a statement with the sign that this dialect's driver has for a value, where `?` stands."""
    return statement if dialect.name == "sqlite" else statement.replace("?", "%s")


def moment(dialect: sa.Dialect, at: datetime | None) -> datetime | str | None:
    """Give a point in time as `Moment` would store it, for such a statement."""
    if at is None or dialect.name != "sqlite":
        return at
    in_utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return in_utc.isoformat(" ", "microseconds")[:26]


def upgrade(engine: sa.Engine, *, tell: Callable[[str], None] = lambda _words: None) -> bool:
    """Bring the tables to this release's schema; says whether anything was to do.

    The release before may go on working meanwhile (docs/decisions/0014). Whoever holds the tables is waited for, and
    `tell` is given a sentence about it; HeldError where that does not end.
    """
    number = 1
    while not is_current(engine):
        try:
            _migrate(engine)
        except HeldError as error:
            if number == UPGRADE_TRIES:
                raise
            tell(f"{error} It is tried again, {UPGRADE_TRIES - number} times at the most.")
            time.sleep(UPGRADE_PAUSE_SECONDS)
        number += 1
    return number > 1


def _migrate(engine: sa.Engine) -> None:
    # Imported where something is to do: whoever only asks whether the tables are current starts much faster.
    from alembic import command

    config = _alembic_config()
    with turn(engine), _translated(engine), engine.connect() as plain:
        connection = plain.execution_options(begin_with="BEGIN IMMEDIATE")
        try:
            if not _is_alone(connection):
                raise HeldError("Another upgrade is under way.")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        except sa.exc.OperationalError as error:
            if getattr(error.orig, "sqlstate", None) not in TRY_AGAIN:
                raise
            raise HeldError("The tables are held by a long transaction, such as a backup.") from error
        finally:
            connection.invalidate()  # closed, with the lock and the time limits that it was given


def _is_alone(connection: sa.Connection) -> bool:
    """Take the lock of upgrades. Who waited for it instead would be waited for by whoever builds an index meanwhile."""
    if connection.dialect.name != "postgresql":
        return True
    with connection.begin():
        return bool(connection.execute(sa.select(sa.func.pg_try_advisory_lock(UPGRADING))).scalar_one())


def is_current(engine: sa.Engine) -> bool:
    """Say whether the tables are those of this release or of a later one, which leaves this one all that it needs."""
    with reading(engine) as connection:
        found = _revisions_of(connection)
    known, newest = _revisions(MIGRATIONS)
    return bool(found) and (found == newest or not found & known)


def _revisions_of(connection: sa.Connection) -> set[str]:
    """Give what Alembic wrote down in the database."""
    # It is not asked itself, because every command would have to load it, and that takes long.
    if not sa.inspect(connection).has_table("alembic_version"):
        return set()
    return set(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars())


@cache
def _revisions(folder: Path) -> tuple[frozenset[str], frozenset[str]]:
    """Give the revisions that this release knows, and the last of them: as Alembic would, from the same files."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("versions/*.py"))
    known, followed = (
        frozenset(re.findall(rf"""^{name} = ["'](\w+)["']$""", text, re.MULTILINE))
        for name in ("revision", "down_revision")
    )
    return known, known - followed


def require_current(engine: sa.Engine) -> None:
    """Raise SchemaError unless the tables are those of this release."""
    if not is_current(engine):
        raise SchemaError("The tables are not those of this release. Run: signalbox db upgrade")


def _alembic_config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
