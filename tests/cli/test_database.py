"""`signalbox db backup` and `restore`: what they say, what they ask, and what they do on PostgreSQL."""

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from flask import Flask
from flask.cli import ScriptInfo

from receiver.cli import cli
from tests import listings
from tests.cli.conftest import Keep, Signalbox


def test_a_backup_is_made_of_the_database_that_is_set_and_says_what_is_in_it(
    signalbox: Signalbox, keep: Keep, tmp_path: Path
) -> None:
    keep()
    made = json.loads(signalbox("db", "backup", str(tmp_path / "one.db"), "--json").stdout)
    assert (made["rows"]["events"], made["bytes"]) == (1, (tmp_path / "one.db").stat().st_size)
    said = signalbox("db", "backup", str(tmp_path / "two.db")).stdout
    assert said.startswith(f"{tmp_path / 'two.db'}: ")
    assert f"1 event, all of sqlite:///{tmp_path}/signalbox.db" in said
    again = signalbox("db", "backup", str(tmp_path / "two.db"))
    assert (again.exit_code, "exists already" in again.stderr) == (1, True)


def test_a_restore_asks_with_the_numbers_and_a_no_changes_nothing(
    signalbox: Signalbox, app: Flask, engine: sa.Engine, keep: Keep, tmp_path: Path
) -> None:
    backup = str(tmp_path / "backup.db")
    signalbox("db", "backup", backup)
    kept = keep()
    engine.dispose()
    said = CliRunner().invoke(cli, ["db", "restore", backup], obj=ScriptInfo(create_app=lambda: app), input="n\n")
    assert (said.exit_code, f"Put 0 events of {backup} in the place of 1 event?" in said.stderr) == (1, True)
    assert signalbox("db", "restore", backup, "--json").exit_code == 2
    assert listings.show_event(engine, kept)["id"] == kept


def test_a_restore_says_where_what_was_there_is_kept(
    signalbox: Signalbox, engine: sa.Engine, keep: Keep, tmp_path: Path
) -> None:
    backup = str(tmp_path / "backup.db")
    signalbox("db", "backup", backup)
    keep()
    engine.dispose()
    said = signalbox("db", "restore", backup, "--force").stdout
    (kept_as,) = tmp_path.glob("signalbox.db.before-restore-*Z")
    assert said.endswith(f": 0 events.\nWhat was there is kept: {kept_as}\n")
    assert listings.list_events(engine)["items"] == []


@pytest.fixture
def on_postgresql(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the programs of the PostgreSQL of the tests are; they are found there alone."""
    with engine.connect() as connection:
        asked = "SELECT setting FROM pg_config WHERE name = 'BINDIR'"
        found = Path(connection.exec_driver_sql(asked).scalar_one())
    monkeypatch.setenv("PATH", str(found))
    return found


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_postgresql_is_dumped_by_its_own_program_and_the_dump_is_read_again(
    signalbox: Signalbox, keep: Keep, tmp_path: Path, on_postgresql: Path
) -> None:
    keep()
    dump = tmp_path / "backup.dump"
    made = json.loads(signalbox("db", "backup", str(dump), "--json").stdout)
    assert (made["rows"]["events"], stat.S_IMODE(dump.stat().st_mode)) == (1, 0o600)
    listed = subprocess.run([on_postgresql / "pg_restore", "--list", dump], check=True, capture_output=True, text=True)
    assert "TABLE DATA public events" in listed.stdout
    restored = signalbox("db", "restore", str(dump))
    assert (restored.exit_code, "pg_restore --clean" in restored.stderr) == (1, True)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_without_pg_dump_it_is_named(signalbox: Signalbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    said = signalbox("db", "backup", str(tmp_path / "backup.dump"))
    assert (said.exit_code, "pg_dump, which is not installed here" in said.stderr) == (1, True)
    assert not list(tmp_path.glob("backup*"))
