"""The engine, its transactions, the schema's version, and the few things that SQLite and PostgreSQL do differently."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from receiver.errors import HeldError, SchemaError, SettingsError, StoreError
from receiver.storage import patience, private_files, sqlite_file, stores
from receiver.storage.sqlite_file import SqliteFile
from receiver.storage.sqlite_turn import turn_of
from receiver.storage.stores import Store, store_of

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).resolve().parent / "migrations"
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


def open_engine(url: str, *, limit: timedelta | None = None) -> sa.Engine:
    """Give an engine; nothing is opened before the first use, and everything is closed when the process ends in order.

    `limit` is how long a request or a worker waits for the database: `patience.LIMIT` where none is given.
    """
    limit = limit or patience.LIMIT
    parsed = sa.make_url(url)
    # Parameters are bodies and headers: they stay out of error texts.
    store, common = Store(limit), {"hide_parameters": True, "pool_timeout": limit.total_seconds()}
    if parsed.get_backend_name() != "sqlite":
        try:
            from receiver.storage import postgresql
        except ImportError as error:  # psycopg is missing, or the C library that it stands on
            needs = "needs psycopg, which is not installed. Run: pip install 'signalbox[postgres]'"
            raise SettingsError({"DATABASE_URL": [needs]}) from error

        engine = sa.create_engine(parsed, pool_pre_ping=True, pool_size=4, max_overflow=4, **common)
        store.is_spent = postgresql.is_spent
        sa.event.listen(engine, "do_connect", postgresql.connecting(limit))
        sa.event.listen(engine, "connect", postgresql.preparing(limit))
    else:
        private_files.make_folder(Path(parsed.database or "").parent)
        engine = sa.create_engine(parsed, **common)
        store.file = SqliteFile(parsed.database or "", limit=limit)
        sa.event.listen(engine, "do_connect", store.file.connect)
        sa.event.listen(engine, "connect", store.file.prepare)
        sa.event.listen(engine, "begin", _begin_sqlite)
    sa.event.listen(engine, "connect", store.number)
    stores.keep(engine, store)
    return engine


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that reads first and writes later can fail for good where another writer came between.
    how, borrowed = connection.get_execution_options().get("begin_with", "BEGIN"), connection.connection
    sqlite_file.begin(borrowed.driver_connection, borrowed.info, how)


@contextmanager
def limited(engine: sa.Engine) -> Iterator[None]:
    """Let all that the block waits for in this database take no longer than one transaction may."""
    with patience.within(store_of(engine).limit):
        yield


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that only reads: one state of the database throughout."""
    store = store_of(engine)
    with patience.within(store.limit), _translated(engine), _connect(engine, store) as connection:
        _require_in_place(engine, store, connection.connection, has_turn=False)
        with connection.begin():
            yield connection


def _connect(engine: sa.Engine, store: Store) -> sa.Connection:
    while True:
        connection = engine.connect()
        if store.is_of_now(connection.info):
            return connection
        connection.invalidate()
        connection.close()


def borrow(engine: sa.Engine, store: Store) -> sa.PoolProxiedConnection:
    """Give a connection of the pool that may still be used."""
    while True:
        connection = engine.raw_connection()
        if store.is_of_now(connection.info):
            return connection
        connection.invalidate()
        connection.close()


def _require_in_place(
    engine: sa.Engine, store: Store, borrowed: sa.PoolProxiedConnection, *, wholly: bool = True, has_turn: bool = True
) -> None:
    """Raise StoreError where the files of SQLite that are open are not those that lie at their paths."""
    file, opened = store.file, borrowed.info.get(sqlite_file.KEPT_AS)
    if file is None or opened is None or (file.is_in_place(opened) if wholly else file.has_its_wal(opened)):
        return
    with nullcontext() if has_turn else turn(engine):
        said, is_over = file.what_became(borrowed.driver_connection, borrowed.info)
    if is_over:
        store.let_go()
    raise StoreError(said)


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
    """A transaction that writes: committed to the disk at the end, or nothing of it; StoreError where it cannot be.

    StoreError as well where nobody knows: the server did not say, or the file is not where it was.
    """
    store = store_of(engine)
    with patience.within(store.limit), turn(engine), _translated(engine), _connect(engine, store) as plain:
        _require_in_place(engine, store, plain.connection)
        connection = plain.execution_options(begin_with="BEGIN IMMEDIATE")
        with connection.begin():
            yield connection
        store.has_written = True
        _require_in_place(engine, store, plain.connection)


@contextmanager
def writing_directly(engine: sa.Engine) -> Iterator[Any]:
    """The same as `writing`, with a cursor of the driver: for the one transaction that every request waits for."""
    store = store_of(engine)
    with patience.within(store.limit), turn(engine), _translated(engine):
        connection = borrow(engine, store)
        try:
            _require_in_place(engine, store, connection, wholly=False)
            if engine.dialect.name == "sqlite":
                sqlite_file.begin(connection.driver_connection, connection.info, "BEGIN IMMEDIATE")
            yield connection.cursor()
            connection.commit()
            store.has_written = True
            _require_in_place(engine, store, connection)
        except BaseException:
            _roll_back(connection, engine.dialect.loaded_dbapi)
            raise
        finally:
            connection.close()


def _roll_back(connection: sa.PoolProxiedConnection, driver: Any) -> None:
    try:
        connection.rollback()
    except driver.Error as error:  # it is broken, and why is said already
        connection.invalidate(error)


def turn(engine: sa.Engine) -> AbstractContextManager[None]:
    """Give what a writer has to hold: the file's turn for SQLite, nothing for a server that queues by itself."""
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return nullcontext()
    return turn_of(engine.url.database)


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
        store = store_of(engine)
        if store.is_spent(cause):
            store.let_go()
        raise StoreError(f"the database could not do it: {told}", is_about_a_row=about_a_row) from error


def is_damage(error: BaseException) -> bool:
    """Say whether a StoreError is about a file of SQLite that is damaged, or is none."""
    cause = error.__cause__
    return sqlite_file.is_damaged(getattr(cause, "orig", None) or cause)


def insert(connection: sa.Connection, table: sa.Table) -> Any:
    """Give the INSERT of this dialect, the one with `on_conflict_do_nothing` and `on_conflict_do_update`."""
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)


def lock(connection: sa.Connection, number: int, *, shared: bool = False) -> None:
    """Hold the lock of a number until this transaction ends; writers of a SQLite file take turns anyway."""
    if connection.dialect.name == "postgresql":
        take = sa.func.pg_advisory_xact_lock_shared if shared else sa.func.pg_advisory_xact_lock
        connection.execute(sa.select(take(number)))


def wait_as_an_insert(connection: sa.Connection, *into: sa.Table) -> None:
    """Wait for whoever holds one of these tables, as an INSERT would; all that a SQLite file knows is one writer."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"LOCK TABLE {', '.join(table.name for table in into)} IN ROW EXCLUSIVE MODE")


def ring(cursor: Any, dialect: sa.Dialect) -> None:
    """Wake the workers when this transaction commits: PostgreSQL can, and SQLite is asked often instead."""
    if dialect.name == "postgresql":
        cursor.execute("NOTIFY signalbox")


def ring_of(connection: sa.Connection) -> None:
    """The same for a connection of SQLAlchemy's."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("NOTIFY signalbox")


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
    `tell` is given a sentence about it; HeldError where that does not end. SchemaError where it cannot finish for
    another reason.
    """
    if not _revisions(MIGRATIONS)[1]:
        raise SchemaError(f"There are no migrations in {MIGRATIONS}: this Signalbox is not whole. Install it again.")
    number = 1
    while not is_current(engine):
        try:
            _migrate(engine)
            _require_done(engine)
        except HeldError as error:
            if number == UPGRADE_TRIES:
                raise
            tell(f"{error} It is tried again, {UPGRADE_TRIES - number} times at the most.")
            time.sleep(UPGRADE_PAUSE_SECONDS)
        number += 1
    return number > 1


def _require_done(engine: sa.Engine) -> None:
    """Raise SchemaError where the migrations ran and the tables are still not those of this release."""
    if is_current(engine):
        return
    with reading(engine) as connection:
        found = ", ".join(sorted(_revisions_of(connection))) or "nothing"
    wanted = ", ".join(sorted(_revisions(MIGRATIONS)[1]))
    raise SchemaError(
        f"The migrations ran, but the tables are at {found} instead of {wanted}. A migration in {MIGRATIONS} is missing"
        " or wrong: install Signalbox again."
    )


def _migrate(engine: sa.Engine) -> None:
    # Imported where something is to do: whoever only asks whether the tables are current starts much faster.
    from alembic import command
    from alembic.util import CommandError

    config, store = _alembic_config(), store_of(engine)
    if store.file is not None:
        store.file.may_be_made = True
    with turn(engine), _translated(engine), engine.connect() as plain:
        store.has_written = True
        connection = plain.execution_options(begin_with="BEGIN IMMEDIATE")
        try:
            if not _is_alone(connection):
                raise HeldError("Another upgrade is under way.")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        except (CommandError, ImportError, KeyError, OSError, SyntaxError) as error:
            cause = f"{type(error).__name__}: {error}"  # KeyError: a revision that is missing
            raise SchemaError(f"The migrations in {MIGRATIONS} cannot run: {cause}") from error
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
    file = store_of(engine).file
    if file is not None and file.is_yet_to_be_made:
        return False
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
