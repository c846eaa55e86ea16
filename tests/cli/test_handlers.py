"""`signalbox handlers`: the handlers, and first what does not import; one that fails is paused and resumed."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from receiver.cli import installation
from receiver.jobs import registry
from receiver.jobs import store as jobs
from receiver.jobs.routing import Router
from receiver.jobs.store import Routing
from tests.cli.conftest import Keep, Signalbox
from tests.installation import Clock


@pytest.fixture
def broken(tmp_path: Path, app: Flask, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that talks while it loads and then does not import; the router is this test's own."""
    (tmp_path / "broken_one.py").write_text("print('loading')\nimport nothing_like_this\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(installation, "router", Router())
    app.config["HANDLERS"] = ("broken_one",)
    return "broken_one"


def test_handlers_are_listed_with_what_they_want(signalbox: Signalbox) -> None:
    items = json.loads(signalbox("handlers", "list", "--json").stdout)["items"]
    assert {
        "name": "handlers.log.log_event",
        "patterns": ["*"],
        "attempts": 10,
        "summary": "Write what happened, to what, in one line.",
        "workers": 0,
    } in items
    assert "handlers.log.log_event" in signalbox("handlers", "list").stdout


def test_a_module_that_does_not_import_is_named_with_the_line_at_fault(signalbox: Signalbox, broken: str) -> None:
    result = signalbox("handlers", "list")
    lines = result.stdout.splitlines()
    assert (result.exit_code, lines[0]) == (0, f"✗ {broken} does not import")
    assert lines[1].endswith('broken_one.py", line 2, in <module>')
    assert lines[3] == "ModuleNotFoundError: No module named 'nothing_like_this'"


@pytest.mark.parametrize("command", ["test", "pause"])
def test_a_handler_of_a_module_that_does_not_import_is_said_to_be_that(
    signalbox: Signalbox, broken: str, command: str
) -> None:
    result = signalbox("handlers", command, f"{broken}.never")
    assert result.exit_code == 1
    assert f"{broken} does not import: ModuleNotFoundError: No module named 'nothing_like_this'" in result.stderr
    assert "no handler is named broken_oneself.never" in signalbox("handlers", "test", "broken_oneself.never").stderr


def test_what_a_module_prints_does_not_spoil_the_json(signalbox: Signalbox, broken: str) -> None:
    sys.modules.pop(broken, None)
    result = signalbox("handlers", "list", "--json")
    assert [one["module"] for one in json.loads(result.stdout)["broken"]] == [broken]
    assert "loading" in result.stderr


def test_a_handler_is_paused_and_resumed(signalbox: Signalbox, engine: sa.Engine, keep: Keep) -> None:
    name = "handlers.log.log_event"
    jobs.route(engine, [Routing(keep(), [name])], Clock()())
    assert signalbox("handlers", "pause", name).stdout == f"{name} is paused; 1 job waited for it.\n"
    assert registry.show_handler(engine, name)["paused_at"]
    assert signalbox("handlers", "resume", name).stdout == f"{name} is resumed; 1 job waited for it.\n"
    assert registry.show_handler(engine, name)["paused_at"] is None


@pytest.mark.parametrize("act", ["pause", "resume"])
def test_a_name_that_is_nearly_right_is_refused_with_a_hint(signalbox: Signalbox, engine: sa.Engine, act: str) -> None:
    result = signalbox("handlers", act, "handlers.log.log_evnt")
    assert (result.exit_code, "did you mean handlers.log.log_event?" in result.stderr) == (1, True)
    assert registry.list_handlers(engine) == []


def test_a_handler_that_only_other_workers_have_or_that_none_has_is_said(
    signalbox: Signalbox, engine: sa.Engine
) -> None:
    router = Router()
    router.on("*")(print)
    registry.sign_in(engine, router, datetime.now(UTC), worker="one")
    result = signalbox("handlers", "list")
    assert "builtins.print is not loaded here; 1 running worker has it" in result.stderr
    assert "no running worker has loaded it" in result.stdout
    registry.sign_out(engine, "one", datetime.now(UTC))
    assert "builtins.print is not loaded here; no running worker have it" not in signalbox("handlers", "list").stderr
    assert "builtins.print is not loaded here; no running worker has it" in signalbox("handlers", "list").stderr


def test_a_handler_is_forgotten_unless_a_running_worker_has_it(signalbox: Signalbox, engine: sa.Engine) -> None:
    router = Router()
    router.on("*")(print)
    registry.sign_in(engine, router, datetime.now(UTC), worker="one")
    refused = signalbox("handlers", "forget", "builtins.print")
    assert (refused.exit_code, "a running worker has loaded builtins.print" in refused.stderr) == (1, True)
    registry.sign_out(engine, "one", datetime.now(UTC))
    assert signalbox("handlers", "forget", "builtins.print").exit_code == 0
    assert registry.list_handlers(engine) == []


def test_the_list_needs_no_database(signalbox: Signalbox, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE alembic_version")
    assert "handlers.log.log_event" in signalbox("handlers", "list").stdout
