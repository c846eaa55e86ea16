"""The migrations make the tables that the code works with, and change them while they are in use."""

import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from config import ROOT
from receiver import service
from receiver.app import create_app
from receiver.errors import HeldError, SchemaError
from receiver.settings import resolve_database_url
from receiver.storage import db
from receiver.storage.tables import metadata
from tests import later_release
from tests.installation import settings
from tests.waiting import PATIENCE_SECONDS

GROWING = {"events", "deliveries", "jobs", "attempts", "quarantined", "rejected", "captures", "tallies"}


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """A database without tables."""
    url = f"sqlite:///{tmp_path}/signalbox.db"
    if request.param == "postgresql":
        url = resolve_database_url(request.getfixturevalue("fresh_postgres"))
    engine = db.open_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def postgresql(fresh_postgres: str) -> Iterator[sa.Engine]:
    engine = db.open_engine(resolve_database_url(fresh_postgres))
    yield engine
    engine.dispose()


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is upgraded in this test is upgraded to a later release."""
    shutil.copytree(ROOT / "receiver" / "storage" / "migrations", tmp_path / "migrations")
    later_release.add_migrations(tmp_path / "migrations")
    monkeypatch.setattr(db, "MIGRATIONS", tmp_path / "migrations")


def test_an_upgrade_without_migrations_says_so(
    fresh: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "MIGRATIONS", tmp_path)
    with pytest.raises(SchemaError, match=r"no migrations in .*Install it again"):
        db.upgrade(fresh)


@pytest.mark.filterwarnings("ignore:Revision .* is not present:UserWarning")
@pytest.mark.parametrize("lost", ["0001_the_first_tables.py", "0004_workers.py"])
def test_an_upgrade_that_lacks_a_migration_says_so(
    fresh: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    folder = shutil.copytree(db.MIGRATIONS, tmp_path / "migrations")
    (folder / "versions" / lost).unlink()
    monkeypatch.setattr(db, "MIGRATIONS", folder)
    with pytest.raises(SchemaError, match="cannot run"):
        db.upgrade(fresh)


def test_an_upgrade_whose_migrations_do_nothing_says_so(
    fresh: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(db.MIGRATIONS, tmp_path / "migrations")
    (folder / "env.py").write_text("")
    monkeypatch.setattr(db, "MIGRATIONS", folder)
    with pytest.raises(SchemaError, match="the tables are at nothing instead of 0008"):
        db.upgrade(fresh)


def columns(engine: sa.Engine, table: str) -> list[str]:
    return [column["name"] for column in sa.inspect(engine).get_columns(table)]


def test_the_migrations_make_what_the_tables_say(fresh: sa.Engine) -> None:
    db.upgrade(fresh)
    with db.reading(fresh) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_a_later_release_adds_a_column_and_an_index(fresh: sa.Engine, later: None) -> None:
    assert db.upgrade(fresh)
    assert not db.upgrade(fresh)
    for table in ("events", "jobs"):
        assert "weight" in columns(fresh, table)
        assert f"ix_{table}_weight" in {index["name"] for index in sa.inspect(fresh).get_indexes(table)}


def test_a_release_works_on_with_the_tables_of_a_later_one(
    fresh: sa.Engine, later: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.upgrade(fresh)
    monkeypatch.setattr(db, "MIGRATIONS", ROOT / "receiver" / "storage" / "migrations")
    db.require_current(fresh)
    assert not db.upgrade(fresh)
    app = create_app(settings(fresh.url.render_as_string(hide_password=False)))
    assert app.test_client().get("/readyz").status_code == 200
    service.of(app).engine.dispose()


def test_a_later_release_does_not_work_with_the_tables_of_an_earlier_one(
    fresh: sa.Engine, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    db.upgrade(fresh)
    request.getfixturevalue("later")
    assert not db.is_current(fresh)


@pytest.mark.parametrize("release", ["this one", "a later one"])
def test_the_revisions_that_a_release_knows_are_those_that_alembic_finds(
    release: str, request: pytest.FixtureRequest
) -> None:
    if release == "a later one":
        request.getfixturevalue("later")
    scripts = ScriptDirectory.from_config(db._alembic_config())
    known, newest = db._revisions(db.MIGRATIONS)
    assert known == {one.revision for one in scripts.walk_revisions()}
    assert newest == set(scripts.get_heads())


def test_a_table_that_is_held_is_asked_for_again_and_nobody_waits_for_long(
    postgresql: sa.Engine, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    db.upgrade(postgresql)
    request.getfixturevalue("later")
    monkeypatch.setattr(db, "UPGRADE_PAUSE_SECONDS", 0.01)
    told: list[str] = []
    with postgresql.connect() as backup:
        backup.exec_driver_sql("SELECT count(*) FROM events")

        def tell(words: str) -> None:
            told.append(words)
            backup.rollback()

        assert db.upgrade(postgresql, tell=tell)
    assert len(told) == 1
    assert "such as a backup" in told[0]
    assert "weight" in columns(postgresql, "jobs")


def test_an_upgrade_does_not_try_for_ever(
    postgresql: sa.Engine, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    db.upgrade(postgresql)
    request.getfixturevalue("later")
    monkeypatch.setattr(db, "UPGRADE_TRIES", 1)
    with postgresql.connect() as backup:
        backup.exec_driver_sql("SELECT count(*) FROM events")
        with pytest.raises(HeldError, match="such as a backup"):
            db.upgrade(postgresql)
    assert "weight" not in columns(postgresql, "events")


def test_two_upgrades_at_once_make_the_tables_once(
    fresh: sa.Engine, monkeypatch: pytest.MonkeyPatch, later: None
) -> None:
    monkeypatch.setattr(db, "UPGRADE_PAUSE_SECONDS", 0.05)
    with ThreadPoolExecutor(3) as pool:
        for upgrade in [pool.submit(db.upgrade, fresh) for _ in range(3)]:
            upgrade.result(PATIENCE_SECONDS)
    assert db.is_current(fresh)


def test_what_a_cut_short_index_left_behind_is_taken_away(
    postgresql: sa.Engine, request: pytest.FixtureRequest
) -> None:
    db.upgrade(postgresql)
    with postgresql.begin() as connection:
        connection.exec_driver_sql("CREATE INDEX ix_events_weight ON events (id)")
    request.getfixturevalue("later")
    db.upgrade(postgresql)
    (found,) = (one for one in sa.inspect(postgresql).get_indexes("events") if one["name"] == "ix_events_weight")
    assert found["column_names"] == ["weight", "seq"]


@contextmanager
def statements(engine: sa.Engine) -> Iterator[list[str]]:
    """Note what is executed; "COMMIT" stands between transactions."""
    noted: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        noted.append(" ".join(statement.split()))

    def end(_connection: Any) -> None:
        noted.append("COMMIT")

    sa.event.listen(engine, "before_cursor_execute", note)
    sa.event.listen(engine, "commit", end)
    yield noted
    sa.event.remove(engine, "before_cursor_execute", note)
    sa.event.remove(engine, "commit", end)


def upgrade_from_second(engine: sa.Engine) -> list[str]:
    """Give what the migrations after the second execute."""
    config = db._alembic_config()
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
    with statements(engine) as noted:
        db.upgrade(engine)
    return noted


def holdups(noted: list[str]) -> list[str]:
    """Give the statements that would hold up those who work with a big table, or could, together with another."""
    found, altered = [], set[str]()
    for statement in noted:
        if statement == "COMMIT":
            altered.clear()
        if table := _matched(r"(?i)CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY).* ON (\w+)", statement):
            found.append(statement)
        if table := _matched(r"(?i)ALTER TABLE (\w+)", statement):
            altered.add(table)
            if len(altered) > 1 or re.search(r"(?i) (TYPE|SET NOT NULL|ADD CONSTRAINT|PRIMARY KEY)\b", statement):
                found.append(statement)
    return found


def _matched(pattern: str, statement: str) -> str | None:
    match = re.match(pattern, statement)
    return match[1] if match and match[1] in GROWING else None


def test_no_migration_after_the_second_holds_up_who_works_with_a_big_table(postgresql: sa.Engine) -> None:
    assert holdups(upgrade_from_second(postgresql)) == []


def test_a_migration_as_they_should_be_would_pass(postgresql: sa.Engine, later: None) -> None:
    noted = upgrade_from_second(postgresql)
    assert [one for one in noted if "CREATE INDEX CONCURRENTLY" in one and "_weight" in one] != []
    assert holdups(noted) == []


@pytest.mark.parametrize(
    "noted",
    [
        ["CREATE INDEX ix_a ON events (type)"],
        ["CREATE UNIQUE INDEX ix_a ON jobs (event_id, handler)"],
        ["ALTER TABLE events ALTER COLUMN name TYPE TEXT"],
        ["ALTER TABLE jobs ALTER COLUMN reason SET NOT NULL"],
        ["ALTER TABLE jobs ADD CONSTRAINT a CHECK (attempt > 0)"],
        ["ALTER TABLE events ADD COLUMN a INTEGER", "ALTER TABLE jobs ADD COLUMN a INTEGER"],
    ],
)
def test_what_would_hold_up_others_is_found(noted: list[str]) -> None:
    assert holdups(noted) == noted[-1:]
    assert holdups([noted[0], "COMMIT", "CREATE INDEX ix_b ON handlers (module)"]) == (noted if len(noted) == 1 else [])
