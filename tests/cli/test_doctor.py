"""`signalbox doctor`: what is well, what is not, and what mends it."""

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from flask import Flask
from flask.cli import ScriptInfo

import wsgi
from receiver import service
from receiver.app import create_app_without_web
from receiver.cli import cli, installation
from receiver.cli.doctor import checks, integrity
from receiver.cli.doctor.checks import Finding
from receiver.events import Reason, Refused, Verified
from receiver.inbox.rows import Inbox
from receiver.jobs import registry
from receiver.jobs import store as jobs
from receiver.jobs.routing import BrokenModule, Router
from receiver.jobs.store import Routing
from receiver.jobs.worker import Worker
from receiver.sources import SOURCES
from receiver.storage import sqlite_file
from tests.cli.conftest import Keep, Signalbox
from tests.installation import delivery, settings

LOG = "handlers.log.log_event"


@pytest.fixture(autouse=True)
def in_the_application(app: Flask) -> Iterator[None]:
    with app.app_context():
        yield


def states(findings: Iterator[Finding]) -> list[tuple[str, str]]:
    return [(finding.state, finding.said) for finding in findings]


def now() -> datetime:
    return datetime.now(UTC)


def test_where_all_is_well_it_says_so_and_ends_with_0(signalbox: Signalbox, engine: sa.Engine, served: str) -> None:
    registry.beat(engine, now())
    result = signalbox("doctor")
    assert (result.exit_code, {line[:4] for line in result.stdout.splitlines()}) == (0, {"ok  "})
    assert f"{served} can keep deliveries" in result.stdout


def test_the_json_says_the_same_in_one_document(signalbox: Signalbox, engine: sa.Engine, served: str) -> None:
    registry.beat(engine, now())
    document = json.loads(signalbox("doctor", "--json").stdout)
    assert document["healthy"]
    assert {item["name"] for item in document["items"]} >= {"settings", "database", "box", "worker", "clock", "web"}


def test_without_a_worker_and_without_web_it_fails_and_says_what_to_start(signalbox: Signalbox, app: Flask) -> None:
    app.config["PORT"] = 1
    result = signalbox("doctor")
    assert result.exit_code == 1
    assert "fail  worker      none has ever run here: events are kept and not handled\n" in result.stdout
    assert "→ signalbox worker (make run starts one)" in result.stdout
    assert "fail  web         no answer from http://127.0.0.1:1" in result.stdout


def test_without_the_tables_it_names_the_command_and_asks_nothing_of_them(
    signalbox: Signalbox, engine: sa.Engine, served: str
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE alembic_version")
    result = signalbox("doctor")
    assert result.exit_code == 1
    assert "→ signalbox db upgrade" in result.stdout
    assert "worker" not in result.stdout
    assert "to /readyz: The tables are not those of this release" in result.stdout


def test_in_production_a_worker_is_started_as_the_procfile_does(app: Flask) -> None:
    app.config["ENV"] = "production"
    assert [finding.mend for finding in checks.worker(app)] == ["python wsgi.py worker"]


def test_settings_that_are_no_good_are_findings_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "eighty")
    monkeypatch.setenv("LEASE_SECONDS", "0")
    result = CliRunner().invoke(cli, ["doctor", "--json"], obj=ScriptInfo(create_app=wsgi.build_without_web))
    found = json.loads(result.stdout)["items"]
    assert result.exit_code == 1
    assert [item["said"].split()[0] for item in found] == ["PORT", "LEASE_SECONDS"]


def test_settings_that_production_lacks_are_not_said_to_belong_into_a_file_that_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ENV", "production")
    result = CliRunner().invoke(cli, ["doctor", "--json"], obj=ScriptInfo(create_app=wsgi.build_without_web))
    mend = {item["mend"] for item in json.loads(result.stdout)["items"]}
    assert mend == {"Set it in the environment: .env is not read, because ENV=production is set in the environment."}


def test_a_misspelt_name_in_the_file_is_a_warning_with_the_one_that_was_meant(app: Flask) -> None:
    service.of(app).misspelt = {"BOX_PRIMRY_KEY": "BOX_PRIMARY_KEY"}
    assert states(checks.settings(app)) == [
        ("ok", "development"),
        ("warn", "BOX_PRIMRY_KEY in .env is no setting: did you mean BOX_PRIMARY_KEY?"),
    ]


def test_a_worker_that_was_not_seen_for_long_is_not_there(app: Flask, engine: sa.Engine) -> None:
    registry.beat(engine, now() - timedelta(hours=2))
    assert states(checks.worker(app)) == [("fail", "none runs: the last sign of one was 2 h ago")]


def test_a_source_without_a_key_is_a_warning_and_none_with_one_a_failure(app: Flask) -> None:
    own = service.of(app)
    own.gates = {**own.gates, "box": replace(own.gates["box"], keys={})}
    assert [state for state, _ in states(checks.keys(app))] == ["warn", "ok"]
    own.gates = {**own.gates, "filestack": replace(own.gates["filestack"], keys={})}
    assert [state for state, _ in states(checks.keys(app))] == ["fail", "fail"]


def test_a_module_that_does_not_import_is_a_failure(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_two.py").write_text("import nothing_like_this\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(installation, "router", Router())
    app.config["HANDLERS"] = ("broken_two",)
    assert states(checks.handlers(app)) == [
        ("fail", "broken_two does not import: ModuleNotFoundError: No module named 'nothing_like_this'")
    ]


def test_handlers_that_are_paused_or_not_loaded_by_the_worker_are_named(app: Flask, engine: sa.Engine) -> None:
    router = Router()
    router.on("*")(lambda event: None)
    registry.sign_in(engine, router, now())
    jobs.pause_handler(engine, LOG, now())
    (paused, _), (new, said) = states(checks.handlers(app))
    assert (paused, new) == ("warn", "warn")
    assert said.startswith("not loaded by any worker that runs: handlers.box_journal.note_upload")


def test_a_handler_that_runs_for_very_long_is_named(app: Flask, engine: sa.Engine, keep: Keep) -> None:
    for number, minutes in enumerate([8, 7, 3]):
        began = now() - timedelta(minutes=minutes)
        jobs.route(engine, [Routing(keep(number=number), [LOG])], began)
        jobs.claim(engine, worker="w", limit=1, now=began, lease=timedelta(hours=1))
    assert states(checks.runs(app)) == [("warn", f"{LOG} runs 2 jobs, the first of which began 8 min ago")]


def test_what_waits_too_long_died_or_was_refused_is_said(
    app: Flask, engine: sa.Engine, inbox: Inbox, keep: Keep
) -> None:
    jobs.route(engine, [Routing(keep(), [LOG])], now())
    jobs.bury(engine, 1, reason="no")
    early = delivery("box", "FILE.UPLOADED", at=now() - timedelta(minutes=9), number=2)
    inbox.accept(early, SOURCES["box"].parse(early), Verified("primary"))
    inbox.reject(delivery("box", "FILE.UPLOADED", at=now()), Refused(Reason.TIMESTAMP_STALE, "Too old."))
    assert [(state, said.partition(": ")[2] or said) for state, said in states(checks.work(app))] == [
        ("fail", "the oldest event that is not routed waits for 9 min"),
        ("warn", "a dead letter"),
        ("warn", "timestamp_stale"),
    ]


@pytest.mark.both_databases
def test_an_event_from_the_future_means_that_a_clock_is_wrong(app: Flask, inbox: Inbox) -> None:
    assert [state for state, _ in states(checks.clock(app))] == ["ok"]
    early = delivery("box", "FILE.UPLOADED", at=now() + timedelta(hours=3))
    inbox.accept(early, SOURCES["box"].parse(early), Verified("primary"))
    ((state, said),) = states(checks.clock(app))
    assert (state, said.startswith("the newest event is ")) == ("fail", True)


@pytest.mark.both_databases
def test_what_was_let_in_hides_no_event_from_the_future(app: Flask, inbox: Inbox) -> None:
    for hours in (3, -72):
        came = delivery("box", "FILE.UPLOADED", at=now() + timedelta(hours=hours), number=hours)
        inbox.accept(came, SOURCES["box"].parse(came), Verified("primary"))
    assert [state for state, _ in states(checks.clock(app))] == ["fail"]


def test_a_clock_that_is_not_the_databases_is_said(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_off_from_database", lambda engine: timedelta(seconds=-5))
    assert states(checks.clock(app)) == [("warn", "5 s behind the database's")]


def test_a_disk_that_fills_up_is_said(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [state for state, _ in states(checks.disk(app))] == ["ok"]
    monkeypatch.setattr(checks, "FEW_BYTES", 10**18)
    assert [state for state, _ in states(checks.disk(app))] == ["warn"]
    monkeypatch.setattr(checks, "TOO_FEW_BYTES", 10**18)
    assert [state for state, _ in states(checks.disk(app))] == ["fail"]


def test_something_else_than_signalbox_is_not_taken_for_it(app: Flask, served: str) -> None:
    ((state, said),) = states(checks.web(app, f"{served}/b/other"))
    assert (state, said) == ("fail", f"{served}/b/other answers 200 to /readyz: not as Signalbox does")
    ((state, said),) = states(checks.web(app, f"{served}/nowhere"))
    assert (state, said.partition(": ")[0]) == ("fail", f"{served}/nowhere answers 404 to /readyz")


def test_a_web_process_that_still_has_other_keys_is_noticed(app: Flask, served: str, database_url: str) -> None:
    now = create_app_without_web(settings(database_url, BOX_PRIMARY_KEY="changed-since", PORT=app.config["PORT"]))
    assert states(checks.web(app, None)) == [("ok", f"{served} can keep deliveries")]
    well, warned = states(checks.web(now, None))
    assert well[0] == "ok"
    assert warned == ("warn", "it was started with other keys, or another SECRET_KEY, than are set here now")
    service.of(now).engine.dispose()


def test_every_worker_is_named_with_what_it_has_loaded_and_what_waits_for_nobody_is_a_failure(
    app: Flask, engine: sa.Engine, keep: Keep
) -> None:
    router = Router()
    router.on("*")(print)
    router.packages["acme"] = {"acme"}
    registry.sign_in(engine, router, now() - timedelta(seconds=50), worker="one")
    router.broken["acme"] = BrokenModule("acme", "SyntaxError: no", "Traceback …")
    registry.sign_in(engine, router, now(), worker="two")
    here = f"process {os.getpid()} on {socket.gethostname()}"
    (well, said), (failing, broken) = states(checks.worker(app))
    assert (well, said.startswith(here), said.endswith("with 1 handler of acme")) == ("ok", True, True)
    assert (failing, broken.endswith("with 1 handler of acme; acme does not import")) == ("fail", True)
    jobs.route(engine, [Routing(keep(), ["acme", "old.gone"])], now())
    Worker(engine, router).drain()
    assert states(checks.waits(app)) == [
        ("fail", "1 job of acme: the module acme does not import"),
        ("fail", "1 job of old.gone: no running worker has loaded old.gone"),
    ]
    jobs.pause_handler(engine, "old.gone", now())
    assert [said.partition(":")[0] for _, said in states(checks.waits(app))] == ["1 job of acme"]


def overwrite(engine: sa.Engine, *, table: str) -> Path:
    """Write nonsense over the first page of a table, as a failing disk does, and give the file."""
    with engine.connect() as connection:
        (page,) = connection.exec_driver_sql(f"SELECT rootpage FROM sqlite_master WHERE name = '{table}'").one()
        (size,) = connection.exec_driver_sql("PRAGMA page_size").one()
    engine.dispose()
    path = Path(engine.url.database or "")
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * 4096)
    return path


def test_a_damaged_page_is_found_and_everything_else_is_looked_at_all_the_same(
    signalbox: Signalbox, engine: sa.Engine, served: str
) -> None:
    registry.beat(engine, now())
    overwrite(engine, table="rejected")
    document = json.loads((result := signalbox("doctor", "--json")).stdout)
    found = {item["name"]: item for item in document["items"]}
    assert (result.exit_code, found["database"]["state"], found["damage"]["state"]) == (1, "ok", "fail")
    assert found["damage"]["said"].startswith("the file is damaged: ")
    assert "restore a backup" in found["damage"]["mend"]
    assert (found["work"]["state"], found["clock"]["state"], found["web"]["state"]) == ("fail", "ok", "ok")
    assert "malformed" in found["work"]["said"]


def test_a_file_that_is_no_database_is_one_line_that_fails_and_the_rest_goes_on(
    signalbox: Signalbox, engine: sa.Engine, app: Flask
) -> None:
    engine.dispose()
    service.of(app).engine.dispose()
    Path(engine.url.database or "").write_bytes(b"nothing of SQLite's" * 1000)
    document = json.loads(signalbox("doctor", "--json").stdout)
    states_of = [(item["name"], item["state"]) for item in document["items"]]
    assert [state for name, state in states_of if name in ("database", "damage")] == ["fail"]
    assert {"settings", "disk", "box", "web"} <= {name for name, _state in states_of}


def test_a_file_too_large_to_be_read_in_time_is_said_to_be_read_in_part(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert states(integrity.damage(app)) == [("ok", "none: every page can be read")]
    monkeypatch.setattr(integrity, "LIMIT", timedelta(0))
    monkeypatch.setattr(sqlite_file, "STEPS", 1)
    ((state, said),) = states(integrity.damage(app))
    assert (state, said) == ("ok", "none found in 0 s, and the file is too large to be read in that time")


@pytest.mark.both_databases
def test_whether_anything_is_damaged_is_asked_of_either_database(app: Flask) -> None:
    assert [state for state, _ in states(integrity.damage(app))] == ["ok"]


def test_a_check_that_fails_itself_is_a_finding_and_keeps_no_other_from_looking(
    signalbox: Signalbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_app: Flask) -> Iterator[Finding]:
        raise RuntimeError("no such luck")
        yield

    monkeypatch.setattr(checks, "settings", broken)
    monkeypatch.setattr(checks, "disk", broken)
    lines = signalbox("doctor").stdout
    assert lines.count("it cannot be looked at: RuntimeError: no such luck") == 2
    assert "database" in lines
    assert "web" in lines
