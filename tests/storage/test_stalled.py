"""A database that is held, stalled or read-only: refused within one limit, and in use again without a restart."""

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from receiver import service, signals
from receiver.app import create_app
from receiver.errors import StoreError
from receiver.events import Event
from receiver.inbox.rows import Inbox
from receiver.jobs.routing import Router
from receiver.jobs.worker import Worker
from receiver.sources import samples
from receiver.storage import db
from receiver.storage.tables import events, metadata
from tests.installation import KEYS, Clock, arrive, settings
from tests.stalling import Stretch
from tests.waiting import until

LIMIT = timedelta(seconds=0.5)

ClientOf = Callable[[str], FlaskClient]


@pytest.fixture
def client_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[ClientOf]:
    """Give clients of applications that wait for their database for half a second."""
    monkeypatch.setattr(db, "open_engine", partial(db.open_engine, limit=LIMIT))
    engines: list[sa.Engine] = []

    def make(url: str) -> FlaskClient:
        app = create_app(settings(url))
        engines.append(service.of(app).engine)
        return app.test_client()

    yield make
    for engine in engines:
        engine.dispose()


def deliver(client: FlaskClient, number: int) -> TestResponse:
    body, headers = samples.forge("box", "FILE.UPLOADED", KEYS["box"], at=datetime.now(UTC), number=number)
    return client.post("/hooks/box", data=body, headers=headers)


def statuses(client: FlaskClient, number: int) -> list[int]:
    """Give what a delivery, a capture and a look at the readiness are answered."""
    answers = [deliver(client, number), client.post("/b/parcels", data=b"1"), client.get("/readyz")]
    assert all(("Retry-After" in answer.headers) == (answer.status_code == 503) for answer in answers)
    return [answer.status_code for answer in answers]


def all_well(client: FlaskClient, number: int) -> bool:
    """Say whether all is taken: asked again and again, because a busy machine may need longer than the limit."""
    return statuses(client, number) == [200, 200, 200]


def insist(call: Callable[[], object]) -> None:
    """Call until the database took it in time."""

    def is_done() -> bool:
        try:
            call()
        except StoreError:
            return False
        return True

    until(is_done, "it is done")


def kept(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(events)).scalar_one())


@contextmanager
def held(engine: sa.Engine) -> Iterator[None]:
    """Hold the database as somebody else would: every table of PostgreSQL, or the one write lock of SQLite."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"LOCK TABLE {', '.join(table.name for table in metadata.sorted_tables)}")
        else:
            connection.execution_options(begin_with="BEGIN IMMEDIATE").begin()
        yield


@pytest.fixture
def stretch(empty_postgres: str) -> Iterator[Stretch]:
    stretch = Stretch(empty_postgres)
    yield stretch
    stretch.close()


@pytest.fixture
def through(stretch: Stretch) -> Iterator[sa.Engine]:
    """That PostgreSQL at the far end of the stretch, waited for as long as the clients do."""
    engine = db.open_engine(stretch.url, limit=LIMIT)
    yield engine
    engine.dispose()


@pytest.mark.both_databases
def test_what_comes_while_the_database_is_held_is_refused_within_the_limit(
    client_of: ClientOf, database_url: str, engine: sa.Engine
) -> None:
    client = client_of(database_url)
    until(lambda: all_well(client, 1), "all is taken")
    with held(engine):
        assert statuses(client, 2) == [503, 503, 503]
    until(lambda: all_well(client, 3), "all is taken")


def test_what_comes_while_a_server_is_stalled_is_refused_and_all_goes_on_afterwards(
    client_of: ClientOf, stretch: Stretch
) -> None:
    client = client_of(stretch.url)
    until(lambda: all_well(client, 1), "all is taken")
    stretch.stall()
    assert statuses(client, 2) == [503, 503, 503]
    stretch.flow()
    until(lambda: all_well(client, 3), "all is taken")


def test_a_process_that_starts_while_the_server_is_stalled_is_not_ready_and_then_is(
    client_of: ClientOf, stretch: Stretch
) -> None:
    client = client_of(stretch.url)
    stretch.stall()
    assert client.get("/readyz").status_code == 503
    stretch.flow()
    until(lambda: client.get("/readyz").status_code == 200, "it is ready")


def test_a_delivery_whose_commit_was_never_answered_is_a_duplicate_when_it_comes_again(
    client_of: ClientOf, stretch: Stretch, migrated_postgres: sa.Engine
) -> None:
    client = client_of(stretch.url)
    until(lambda: deliver(client, 1).status_code == 200, "the first is taken")
    stretch.stall_after(b"COMMIT")
    assert deliver(client, 2).status_code == 503
    stretch.flow()
    until(lambda: deliver(client, 2).get_json()["status"] == "duplicate", "it was committed")
    assert kept(migrated_postgres) == 2


def test_a_worker_whose_server_is_stalled_reports_it_and_goes_on_afterwards(
    stretch: Stretch, through: sa.Engine, router: Router, clock: Clock
) -> None:
    ran: list[str] = []

    @router.on("*")
    def note(event: Event) -> None:
        ran.append(event.id)
        stretch.stall()

    inbox = Inbox(through, rejected_max_count=1, rejected_max_bytes=1)
    insist(lambda: arrive(inbox, clock))
    worker = Worker(through, router, clock=clock)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"not responded|timeout"):
            worker.drain()
    stretch.flow()
    insist(worker.drain)
    assert len(ran) == 1


@pytest.mark.both_databases
def test_who_comes_while_others_wait_waits_no_longer_than_they_do(
    database_url: str, engine: sa.Engine, clock: Clock
) -> None:
    impatient = db.open_engine(database_url, limit=LIMIT)
    inbox = Inbox(impatient, rejected_max_count=1, rejected_max_bytes=1)
    insist(lambda: arrive(inbox, clock))
    group = inbox._group
    with group._leading, pytest.raises(StoreError, match="too long"):
        arrive(inbox, clock, number=2)
    insist(lambda: arrive(inbox, clock, number=3))
    assert kept(engine) == 2
    impatient.dispose()


def test_a_lock_is_given_up_by_the_server_so_that_nothing_of_ours_waits_on_there(
    client_of: ClientOf, empty_postgres: str, migrated_postgres: sa.Engine
) -> None:
    client = client_of(empty_postgres)
    with held(migrated_postgres):
        for number in range(3):
            assert deliver(client, number).status_code == 503
        with migrated_postgres.connect() as connection:
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            until(lambda: connection.exec_driver_sql(waiting).scalar_one() == 0, "nobody waits for the lock")


# What a connection that can only read, or a server that went away, leaves behind: nothing.


@pytest.fixture
def failed_over(empty_postgres: str) -> Iterator[Callable[[str], None]]:
    """Let sessions that begin from now on be read-only, as on the standby that a failover leaves."""
    options = {"options": "-c default_transaction_read_only=off"}
    administration = sa.create_engine(empty_postgres, isolation_level="AUTOCOMMIT", connect_args=options)

    def turn(state: str) -> None:
        with administration.connect() as connection:
            name = connection.exec_driver_sql("SELECT current_database()").scalar_one()
            connection.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = {state}")

    yield turn
    turn("off")
    administration.dispose()


def test_a_server_that_was_read_only_for_a_while_is_written_again(
    client_with: Callable[..., FlaskClient], empty_postgres: str, failed_over: Callable[[str], None]
) -> None:
    client = client_with(DATABASE_URL=empty_postgres)
    failed_over("on")
    assert statuses(client, 1) == [503, 503, 503]
    failed_over("off")
    assert statuses(client, 2) == [200, 200, 200]


@pytest.mark.parametrize("function", ["pg_terminate_backend", "pg_cancel_backend"])
def test_sessions_that_somebody_ends_cost_no_delivery(
    client_with: Callable[..., FlaskClient], empty_postgres: str, migrated_postgres: sa.Engine, function: str
) -> None:
    client = client_with(DATABASE_URL=empty_postgres)
    assert all_well(client, 1)
    with migrated_postgres.connect() as connection:
        others = f"SELECT {function}(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'idle'"
        connection.exec_driver_sql(others)
    assert all_well(client, 2)


@contextmanager
def as_somebody_without_rights(*owned: Path) -> Iterator[None]:
    """Own these files and be nobody special, for as long as the block takes: root may write what is read-only."""
    if os.geteuid():
        yield
        return
    for path in owned:
        os.chown(path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_that_could_only_be_read_at_first_is_written_when_it_may_be(
    client_of: ClientOf, template_file: Path
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "signalbox.db")
        path.write_bytes(template_file.read_bytes())
        path.chmod(0o444)
        client = client_of(f"sqlite:///{path}")
        # In one go: other threads of the application write as well, and what root makes is root's.
        with as_somebody_without_rights(path, Path(folder)):
            assert statuses(client, 1) == [503, 503, 503]
            path.chmod(0o644)
            until(lambda: all_well(client, 2), "all is taken")


def test_what_sqlite_made_beside_a_file_that_could_only_be_read_does_not_keep_it_so(
    client_of: ClientOf, template_file: Path
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, index = Path(folder, "signalbox.db"), Path(folder, "signalbox.db-shm")
        path.write_bytes(template_file.read_bytes())
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("SELECT 1 FROM sqlite_master").fetchall()
            left_behind = index.read_bytes()
        index.write_bytes(left_behind)
        index.chmod(0o400)
        Path(f"{path}-wal").touch()
        client = client_of(f"sqlite:///{path}")
        with as_somebody_without_rights(path, index, Path(f"{path}-wal"), Path(folder)):
            until(lambda: all_well(client, 1), "all is taken")


def spoil(path: Path) -> Any:
    """Overwrite the pages after the first, and give what puts them right again."""
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    return lambda: path.write_bytes(whole)


def test_a_file_that_was_damaged_and_put_right_is_used_again(client_of: ClientOf, database_url: str) -> None:
    path = Path(sa.make_url(database_url).database or "")
    mend = spoil(path)
    client = client_of(database_url)
    assert statuses(client, 1) == [503, 503, 503]
    mend()
    until(lambda: all_well(client, 2), "all is taken")


def test_a_file_that_is_no_database_stops_a_worker_with_a_sentence_for_each_turn(
    engine: sa.Engine, router: Router, database_url: str
) -> None:
    Path(sa.make_url(database_url).database or "").write_bytes(b"not a database" * 1000)
    told: list[str] = []

    def listen(_sender: object, *, error: Exception) -> None:
        told.append(str(error))

    with signals.worker_troubled.connected_to(listen):
        worker = Worker(engine, router)
        with pytest.raises(StoreError, match="not a database"):
            worker.turn()
