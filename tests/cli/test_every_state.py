"""Every command over every state of what it is about: no traceback, readable JSON, and the same in words."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from receiver.cli import cli
from receiver.jobs import store as life
from receiver.jobs.retry import Policy
from receiver.storage import tables
from tests.cli import every_state
from tests.cli.conftest import Signalbox
from tests.cli.every_state import AHEAD, Stock
from tests.cli.test_cli import commands

Words = tuple[str, ...]
Row = Callable[[Stock], Iterator[Words]]


def once(*words: str) -> Row:
    return lambda _stock: iter([words])


def each(kind: str, *words: str) -> Row:
    """Call it for each object of a kind."""
    return lambda stock: ((one, *words) for one in map(str, getattr(stock, kind)))


# What looks, and what it is called with: each row runs as it is and, where it takes it, with --json.
LOOKS: dict[str, Row] = {
    "events list": once("--limit", "1000"),
    "events show": each("events", "--full"),
    "events export": once(),
    "jobs list": once("--limit", "1000"),
    "jobs show": each("jobs", "--full"),
    "rejected list": once("--limit", "1000"),
    "rejected show": each("rejected"),
    "rejected verify": once("--all"),
    "quarantine list": once("--limit", "1000"),
    "quarantine show": each("quarantined"),
    "handlers list": once(),
    "bins list": once("--limit", "1000"),
    "bins show": lambda stock: iter([*((name,) for name in stock.bins), *stock.captures]),
    "db prune": once("--dry-run", "--days", "1"),
}
# What changes something: each is called once for each object, one after the other.
CHANGES: dict[str, Row] = {
    "events replay": each("events"),
    "jobs replay": each("jobs"),
    "jobs discard": each("jobs"),
    "rejected release": once("--all", "--yes"),
    "quarantine release": once("--all", "--yes", "--as", "FILE.UPLOADED"),
    "handlers pause": lambda _stock: ((name,) for name in every_state.HANDLERS),
    "handlers resume": lambda _stock: ((name,) for name in every_state.HANDLERS),
    "handlers forget": lambda _stock: ((name,) for name in every_state.HANDLERS),
    "bins delete": each("bins"),
    "db upgrade": once(),
}
# What is about something else than the tables, or does not end by itself: the tests that have it.
ELSEWHERE = {
    "run": "tests/cli/test_processes.py",
    "worker": "tests/cli/test_processes.py",
    "send": "tests/cli/test_send.py",
    "events tail": "tests/cli/test_events.py",
    "init": "tests/cli/test_init.py",
    "handlers test": "tests/cli/test_trial.py",
    "bins create": "tests/cli/test_bins.py",
    "box": "tests/cli/test_box.py",  # over every state of a registration
    "sandbox": "tests/cli/test_sandbox.py",
    "db backup": "tests/cli/test_database.py",
    "db restore": "tests/cli/test_database.py",
    "listen": "tests/cli/test_listen.py",
    "doctor": "tests/cli/test_doctor.py",
}


@pytest.fixture
def stock(engine: sa.Engine) -> Stock:
    return every_state.fill(engine)


def takes_json(command: str) -> bool:
    group, _, name = command.partition(" ")
    found: Any = cli.commands[group]
    return any("--json" in parameter.opts for parameter in (found.commands[name] if name else found).params)


def test_every_command_has_a_row_here() -> None:
    named = {*LOOKS, *CHANGES, *ELSEWHERE}
    every = {" ".join(words) for words in commands(cli)}
    leaves = {name for name in every if not any(other.startswith(f"{name} ") for other in every)} - {""}
    assert {leaf for leaf in leaves if not {leaf, leaf.partition(" ")[0]} & named} == set()
    assert named - every == set()


@pytest.mark.parametrize("command", LOOKS)
def test_what_looks_shows_every_state(command: str, signalbox: Signalbox, stock: Stock) -> None:
    for words in LOOKS[command](stock):
        result = signalbox(*command.split(), *words)
        assert (result.exit_code, bool(result.output)) == (0, True), words
        if takes_json(command):
            result = signalbox(*command.split(), *words, "--json")
            assert result.exit_code == 0, words
            json.loads(result.stdout)


@pytest.mark.parametrize("command", CHANGES)
def test_what_changes_something_ends_in_a_sentence_for_every_state(
    command: str, signalbox: Signalbox, stock: Stock
) -> None:
    for words in CHANGES[command](stock):
        result = signalbox(*command.split(), *words)
        assert result.exit_code in (0, 1), words
        assert result.output, words
        if takes_json(command) and "--yes" in words:
            json.loads(signalbox(*command.split(), *words, "--json").stdout or "null")


def test_doctor_looks_at_every_state_and_no_check_fails_itself(signalbox: Signalbox, stock: Stock) -> None:
    assert stock.jobs
    result = signalbox("doctor", "--json", "--url", "http://127.0.0.1:9")
    assert result.exit_code == 1  # there are dead letters, and no worker is there
    found = {one["name"]: one for one in json.loads(result.stdout)["items"]}
    assert {one["state"] for one in found.values()} <= {"ok", "warn", "fail"}
    assert not [one for one in found.values() if "Error" in one["said"] and one["name"] != "web"]
    assert signalbox("doctor", "--url", "http://127.0.0.1:9").output.count("\n") >= len(found)


def of_job(stock: Stock, **wanted: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    found = [(str(job), one) for job, one in stock.jobs.items() if wanted.items() <= one.items()]
    assert found
    yield from found


def test_a_job_that_waits_for_a_paused_handler_says_paused_everywhere(signalbox: Signalbox, stock: Stock) -> None:
    said = f"{every_state.PAUSED} is paused"
    listed = dict(line.split(maxsplit=1) for line in signalbox("jobs", "list", "--limit", "1000").stdout.splitlines())
    for job, one in of_job(stock, state="waiting", handler=every_state.PAUSED):
        assert said in listed[job]
        assert said in signalbox("jobs", "show", job).stdout
        assert said in signalbox("events", "show", one["event"]).stdout


def test_what_begins_in_the_future_is_not_said_to_last(signalbox: Signalbox, stock: Stock) -> None:
    listed = dict(line.split(maxsplit=1) for line in signalbox("jobs", "list", "--limit", "1000").stdout.splitlines())
    for job, _ in of_job(stock, state="running", started=AHEAD):
        assert "begun 118 min ahead of this clock" in listed[job]
        assert "begun 118 min ahead of this clock" in signalbox("jobs", "show", job).stdout
    for job, _ in of_job(stock, state="dead", started=AHEAD, reason=None):
        assert "after an unknown time, as the clock was set back" in signalbox("jobs", "show", job).stdout


@pytest.mark.parametrize("command", ["events", "rejected", "quarantine"])
def test_the_age_of_what_came_ahead_of_this_clock_is_in_the_future(
    command: str, signalbox: Signalbox, stock: Stock
) -> None:
    lines = signalbox(command, "list", "--limit", "1000").stdout.splitlines()[1:]
    assert any(line.startswith("in 118 min ") for line in lines)
    assert not any(line.startswith("118 min") for line in lines)


def test_a_lost_job_of_which_nobody_wrote_down_when_it_began_comes_back(engine: sa.Engine, stock: Stock) -> None:
    now = datetime.now(UTC) + timedelta(hours=3)
    lost = life.recover(engine, now=now, chance=0.5, policy_of=lambda _name: Policy(), limit=10_000)
    assert len(lost) == sum(one["state"] == "running" and one["due"] is not None for one in stock.jobs.values())
    with engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).where(tables.attempts.c.outcome == "lost")).scalar_one()
