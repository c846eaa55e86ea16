"""What is old goes, with all that belongs to it, and what still has work to do stays."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from flask import Flask
from flask.cli import ScriptInfo

from receiver import bins
from receiver.bins import Request
from receiver.cli import cli
from receiver.events import Event, Headers, Verified
from receiver.inbox.rows import Inbox
from receiver.jobs import pruning
from receiver.jobs import store as jobs
from receiver.jobs.pruning import Pruned, Pruner
from receiver.jobs.routing import Router
from receiver.jobs.worker import Worker
from receiver.storage import db
from receiver.storage.tables import attempts, deliveries, events, metadata, quarantined, tallies
from receiver.storage.tables import jobs as job_table
from tests.installation import Clock, arrive, delivery
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.both_databases

KEEP = timedelta(days=30)
TABLES = (events, deliveries, job_table, attempts)


def rows(engine: sa.Engine, table: sa.Table) -> int:
    with engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def ids(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(events.c.id).order_by(events.c.seq)).scalars())


def prune(engine: sa.Engine, clock: Clock, keep: timedelta = KEEP) -> Pruned:
    pruned = Pruned()
    pruning.prune(engine, keep, now=clock(), pruned=pruned, tell=lambda: None)
    return pruned


@pytest.fixture
def work(engine: sa.Engine, router: Router, clock: Clock) -> Callable[[], None]:
    """Route what came and run what is due; every event has one handler that succeeds."""

    @router.on("*")
    def note(event: Event) -> None: ...

    return Worker(engine, router, clock=clock).drain


def test_an_old_event_goes_with_its_deliveries_jobs_and_attempts(
    engine: sa.Engine, inbox: Inbox, clock: Clock, work: Callable[[], None]
) -> None:
    arrive(inbox, clock)
    arrive(inbox, clock)
    work()
    assert [rows(engine, table) for table in TABLES] == [1, 1, 1, 1]
    clock.pass_by(days=30, seconds=1)
    assert prune(engine, clock) == Pruned(events=1)
    assert [rows(engine, table) for table in TABLES] == [0, 0, 0, 0]


def test_what_is_kept_for_a_hundred_years_stays_and_is_counted_as_that(
    engine: sa.Engine, inbox: Inbox, clock: Clock, work: Callable[[], None]
) -> None:
    arrive(inbox, clock)
    work()
    century = timedelta(days=36500)
    assert pruning.count(engine, century, now=clock()) == Pruned()
    assert prune(engine, clock, century) == Pruned()
    assert rows(engine, events) == 1


def test_a_younger_event_stays(engine: sa.Engine, inbox: Inbox, clock: Clock, work: Callable[[], None]) -> None:
    arrive(inbox, clock, number=1)
    clock.pass_by(seconds=2)
    young = arrive(inbox, clock, number=2)
    work()
    clock.pass_by(days=30, seconds=-1)
    assert prune(engine, clock).events == 1
    assert ids(engine) == [young]


def test_an_event_that_is_not_routed_stays_however_old(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    arrive(inbox, clock)
    clock.pass_by(days=300)
    assert prune(engine, clock) == Pruned()
    assert rows(engine, events) == 1


@pytest.mark.parametrize("state", ["waiting", "running"])
def test_an_event_with_a_job_that_waits_or_runs_stays(
    engine: sa.Engine, inbox: Inbox, clock: Clock, work: Callable[[], None], state: str
) -> None:
    kept = arrive(inbox, clock, number=1)
    arrive(inbox, clock, number=2)
    work()
    jobs.replay_event(engine, kept, handler="another.handler", now=clock())
    if state == "running":
        assert jobs.claim(engine, worker="w", limit=1, now=clock(), lease=timedelta(seconds=30))
    clock.pass_by(days=31)
    assert pruning.count(engine, KEEP, now=clock()) == Pruned(events=1, staying=1)
    assert prune(engine, clock) == Pruned(events=1, staying=1)
    assert ids(engine) == [kept]


def test_a_dead_letter_goes_with_its_event(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    event_id = arrive(inbox, clock)
    jobs.route(engine, [jobs.Routing(event_id, ["a.handler"])], clock())
    jobs.bury(engine, 1, reason="no use")
    clock.pass_by(days=31)
    assert prune(engine, clock).events == 1


def test_more_than_one_step_are_taken(
    engine: sa.Engine, inbox: Inbox, clock: Clock, work: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "STEP", 10)
    kept = [arrive(inbox, clock, number=number) for number in range(25)]
    work()
    for one in kept[::5]:
        jobs.replay_event(engine, one, handler="another.handler", now=clock())
    clock.pass_by(days=31)
    steps = list(pruning.steps(engine, KEEP, clock()))
    assert len(steps) > 3
    assert sum(step.events for step in steps) == 20
    assert ids(engine) == kept[::5]


def test_an_interruption_leaves_what_was_counted_deleted_and_the_rest_whole(
    engine: sa.Engine, inbox: Inbox, clock: Clock, work: Callable[[], None]
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    for number in range(150):
        arrive(inbox, clock, number=number)
    work()
    clock.pass_by(days=31)
    pruned = Pruned()
    with pytest.raises(KeyboardInterrupt):
        pruning.prune(engine, KEEP, now=clock(), pruned=pruned, tell=interrupt)
    assert 0 < pruned.events < 150
    assert [rows(engine, table) for table in (events, job_table, attempts)] == [150 - pruned.events] * 3


def test_nothing_is_deleted_where_events_are_kept_for_ever(
    engine: sa.Engine, inbox: Inbox, clock: Clock, work: Callable[[], None]
) -> None:
    arrive(inbox, clock)
    work()
    clock.pass_by(days=9000)
    assert prune(engine, clock, keep=timedelta(0)) == Pruned()
    assert pruning.count(engine, timedelta(0), now=clock()) == Pruned()


def test_quarantined_deliveries_captures_and_counts_go_when_they_are_old(
    engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    inbox.quarantine(delivery("box", "FILE.UPLOADED", at=clock()), Verified("primary"), {"body": ["No."]})
    bins.create(engine, now=clock(), name="short", changes={"keep_seconds": 60})
    request = Request(method="GET", path="", query="", client="127.0.0.1", headers=Headers([]), body=b"")
    bins.record(engine, "short", request, now=clock())
    count = {"kind": "source", "subject": "box", "outcome": "accepted", "count": 1, "milliseconds": 1.0, "spread": {}}
    with engine.begin() as connection:
        connection.execute(sa.insert(tallies), {"step": 60, "began_at": clock(), **count})
    clock.pass_by(days=31)
    assert pruning.count(engine, KEEP, now=clock()) == Pruned(quarantined=1)
    assert prune(engine, clock) == Pruned(quarantined=1, captures=1, tallies=1)
    assert rows(engine, quarantined) == 0


def test_deliveries_are_kept_between_two_steps(
    engine: sa.Engine, inbox: Inbox, clock: Clock, work: Callable[[], None]
) -> None:
    for number in range(150):
        arrive(inbox, clock, number=number)
    work()
    clock.pass_by(days=31)
    for step in pruning.steps(engine, KEEP, clock()):
        if step.events:
            arrive(inbox, clock, number=1000 + step.events)
    assert rows(engine, events) == 2


def test_an_event_that_is_gone_is_a_new_one_when_it_comes_again(
    engine: sa.Engine, inbox: Inbox, clock: Clock, work: Callable[[], None]
) -> None:
    first = arrive(inbox, clock)
    work()
    clock.pass_by(days=31)
    prune(engine, clock)
    assert arrive(inbox, clock) != first


def test_a_worker_prunes_at_most_so_much_at_once_and_goes_on_the_next_time(
    engine: sa.Engine, inbox: Inbox, clock: Clock, work: Callable[[], None]
) -> None:
    for number in range(150):
        arrive(inbox, clock, number=number)
    work()
    clock.pass_by(days=31)
    pruner = Pruner(engine, KEEP, clock=clock)
    first = pruner.pass_through(threading.Event(), most_steps=1)
    assert 0 < first.events < 150
    assert first.events + pruner.pass_through(threading.Event()).events == 150
    assert pruner.pass_through(threading.Event()) == Pruned()


class Counted(threading.Event):
    """Counts how often it is waited for."""

    waits = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.waits += 1
        return super().wait(timeout)


def test_a_worker_does_not_prune_while_jobs_or_events_wait(
    engine: sa.Engine, inbox: Inbox, clock: Clock, work: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "CATCH_UP", timedelta(milliseconds=5))
    arrive(inbox, clock, number=1)
    work()
    clock.pass_by(days=31)
    arrive(inbox, clock, number=2)
    pruner, stop, found = Pruner(engine, KEEP, clock=clock), Counted(), list[Pruned]()
    assert not pruner.is_behind()
    clock.pass_by(seconds=2)
    assert pruner.is_behind()
    thread = threading.Thread(target=lambda: found.append(pruner.pass_through(stop)))
    thread.start()
    until(lambda: stop.waits > 3, "it has looked a few times")
    assert (found, rows(engine, events)) == ([], 2)
    work()
    thread.join(PATIENCE_SECONDS)
    assert found == [Pruned(events=1)]


def test_a_worker_that_stops_prunes_no_more(
    engine: sa.Engine, inbox: Inbox, clock: Clock, work: Callable[[], None]
) -> None:
    arrive(inbox, clock)
    work()
    clock.pass_by(days=31)
    stop = threading.Event()
    stop.set()
    assert Pruner(engine, KEEP, clock=clock).pass_through(stop) == Pruned()
    with pruning.hourly(engine, KEEP):
        assert "pruning" in {thread.name for thread in threading.enumerate()}
    assert "pruning" not in {thread.name for thread in threading.enumerate()}


@pytest.fixture
def old_and_new(inbox: Inbox, router: Router, engine: sa.Engine) -> list[str]:
    """An event of forty days ago, one of three days ago, and one of just now."""
    clock = Clock()
    kept = []
    for number, days in enumerate((40, 3, 0)):
        clock.now = datetime.now(UTC) - timedelta(days=days)
        kept.append(arrive(inbox, clock, number=number))
    Worker(engine, router).drain()
    return kept


def run(app: Flask, *words: str) -> Any:
    info = ScriptInfo(create_app=lambda: app)
    return CliRunner().invoke(cli, ["db", "prune", *words], obj=info, catch_exceptions=False)


def test_the_command_deletes_what_is_older_than_the_setting_and_counts_it(
    app: Flask, engine: sa.Engine, old_and_new: list[str]
) -> None:
    done = run(app)
    assert (done.exit_code, done.stdout.split()[:2]) == (0, ["events", "1"])
    assert "were deleted" in done.stderr
    assert ids(engine) == old_and_new[1:]


def test_days_on_the_command_line_win(app: Flask, engine: sa.Engine, old_and_new: list[str]) -> None:
    found = json.loads(run(app, "--days", "2", "--json").stdout)
    assert (found["events"], found["dry_run"], found["is_whole"]) == (2, False, True)
    assert ids(engine) == old_and_new[2:]


def test_a_dry_run_deletes_nothing(app: Flask, engine: sa.Engine, old_and_new: list[str]) -> None:
    done = run(app, "--dry-run")
    assert (done.stdout.split(), "would be deleted" in done.stderr) == (["events", "1", "quarantined", "0"], True)
    assert ids(engine) == old_and_new


def test_less_than_two_days_is_done_but_not_without_a_word(
    app: Flask, engine: sa.Engine, old_and_new: list[str]
) -> None:
    assert "less than 2 days" not in run(app, "--days", "2", "--dry-run").stderr
    assert "less than 2 days" in run(app, "--days", "1").stderr
    assert ids(engine) == old_and_new[2:]


def test_a_setting_of_no_days_keeps_everything_and_says_so(
    app: Flask, engine: sa.Engine, old_and_new: list[str]
) -> None:
    app.config["RETENTION"] = timedelta(0)
    assert "kept for ever" in run(app).stderr
    assert ids(engine) == old_and_new
    assert run(app, "--days", "0").exit_code == 2


def test_no_table_is_forgotten() -> None:
    """A table that a later release adds is either pruned, or named here with why not."""
    pruned = {"events", "deliveries", "jobs", "attempts", "quarantined", "captures", "tallies"}
    stays = {"rejected": "capped", "pulse": "one row", "handlers": "one a handler", "bins": "capped, or made by people"}
    stays |= {"logins": "forgotten 90 days after their last use, with each new one"}
    stays |= {"registrations": "one a webhook at Box", "workers": "forgotten a day after their last sign of life"}
    assert set(metadata.tables) == pruned | set(stays)
