"""The command as a whole: help without settings, exit codes, errors in a sentence."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from click import Command, Group
from click.testing import CliRunner
from flask import Flask
from flask.cli import ScriptInfo

from config import ROOT
from receiver import service
from receiver.app import create_app
from receiver.cli import cli
from receiver.storage import db
from tests.cli.conftest import Keep, Signalbox
from tests.installation import settings


def commands(group: Group, *before: str) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [before]
    for name, command in group.commands.items():
        found += commands(command, *before, name) if isinstance(command, Group) else [(*before, name)]
    return found


def refuse_to_build() -> None:
    raise AssertionError("no application is needed for this")


@pytest.mark.parametrize("words", commands(cli), ids=" ".join)
def test_every_command_explains_itself_without_an_application(words: tuple[str, ...]) -> None:
    info = ScriptInfo(create_app=refuse_to_build)  # type: ignore[arg-type]
    result = CliRunner().invoke(cli, [*words, "-h"], obj=info, catch_exceptions=False)
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")
    assert len(result.output.splitlines()) > 4


def test_every_listing_takes_json() -> None:
    def options(command: Command) -> set[str]:
        return {name for parameter in command.params for name in parameter.opts}

    listings = [words for words in commands(cli) if words[-1:] in [("list",), ("show",)]]
    found = {words: options(cli.commands[words[0]].commands[words[1]]) for words in listings}  # type: ignore[attr-defined]
    assert len(found) >= 11
    assert [words for words, taken in found.items() if "--json" not in taken] == []


def test_the_version_is_that_of_the_project(signalbox: Signalbox) -> None:
    version = next(line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("version"))
    assert signalbox("--version").output.split() == ["signalbox", version.split('"')[1]]


def test_what_is_not_there_is_one_sentence_and_exit_1(signalbox: Signalbox) -> None:
    result = signalbox("events", "show", "01AAAAAAAA")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: no event has the id 01AAAAAAAA: signalbox events list shows them\n"


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("events", "list", "--limit", "0"),
        ("events", "list", "--since", "soon"),
        ("events", "list", "--since", "999999w"),
        ("events", "list", "--type", "FILE.UPLOADED"),
        ("events", "list", "--source", "dropbox"),
        ("jobs", "show", "first"),
        ("jobs", "list", "--state", "tired"),
        ("events", "replay"),
        ("send",),
        ("send", "box"),
    ],
)
def test_wrong_usage_is_exit_2(signalbox: Signalbox, words: tuple[str, ...]) -> None:
    assert signalbox(*words).exit_code == 2


def test_without_tables_the_command_that_makes_them_is_named(tmp_path: Path) -> None:
    app = create_app(settings(f"sqlite:///{tmp_path}/empty.db"))
    result = CliRunner().invoke(cli, ["events", "list"], obj=ScriptInfo(create_app=lambda: app))
    service.of(app).engine.dispose()
    assert (result.exit_code, "signalbox db upgrade" in result.stderr) == (1, True)


def test_db_upgrade_makes_the_tables_and_may_run_twice(tmp_path: Path) -> None:
    app = create_app(settings(f"sqlite:///{tmp_path}/empty.db"))
    engine: sa.Engine = service.of(app).engine
    said = [CliRunner().invoke(cli, ["db", "upgrade"], obj=ScriptInfo(create_app=lambda: app)).output for _ in range(2)]
    assert db.is_current(engine)
    assert said == ["The tables are those of this release now.\n", "The tables are those of this release.\n"]
    engine.dispose()


def test_what_a_terminal_of_few_letters_cannot_write_is_written_out(app: Flask, keep: Keep) -> None:
    keep("box:FILE.ÜBER")
    info = ScriptInfo(create_app=lambda: app)
    result = CliRunner(charset="ascii").invoke(cli, ["events", "list"], obj=info, catch_exceptions=False)
    assert r"box:FILE.\xdcBER" in result.stdout
