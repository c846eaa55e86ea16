"""A paused handler begins nothing, whatever gives its jobs a time to run at; resumed, it leaves nothing behind."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from receiver.errors import Retry
from receiver.events import Event
from receiver.inbox.rows import Inbox
from receiver.jobs import store as jobs
from receiver.jobs.retry import Policy
from receiver.jobs.routing import Router
from receiver.jobs.store import Finish, Routing
from receiver.jobs.worker import Worker
from receiver.storage import db
from receiver.storage.tables import handlers
from receiver.storage.tables import jobs as table
from tests.installation import Clock, arrive
from tests.waiting import PATIENCE_SECONDS, until

HANDLER = "handlers.search.index"
OTHER = "handlers.log.log_event"


pytestmark = pytest.mark.both_databases


def rows(engine: sa.Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(table).order_by(table.c.id)))


def due_times(engine: sa.Engine) -> list[Any]:
    return [row.due_at for row in rows(engine)]


def route(engine: sa.Engine, inbox: Inbox, clock: Clock, number: int = 1, handler: str = HANDLER) -> str:
    event_id = arrive(inbox, clock, number=number)
    jobs.route(engine, [Routing(event_id, [handler])], clock())
    return event_id


def claim(engine: sa.Engine, clock: Clock, lease: timedelta = timedelta(seconds=30)) -> list[jobs.Claim]:
    return jobs.claim(engine, worker="w", limit=100, now=clock(), lease=lease)


def test_the_jobs_of_a_paused_handler_wait_and_run_when_it_is_resumed(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    seen: list[str] = []

    @router.on("*")
    def paused(event: Event) -> None:
        seen.append("paused")

    @router.on("*")
    def other(event: Event) -> None:
        seen.append("other")

    name = next(one.name for one in router.handlers() if one.name.endswith(".paused"))
    worker = Worker(engine, router, clock=clock)
    jobs.pause_handler(engine, name, clock())
    arrive(inbox, clock)
    worker.drain()
    clock.pass_by(days=1)
    worker.drain()
    assert seen == ["other"]
    assert jobs.resume_handler(engine, name, clock()) == 1
    worker.drain()
    assert seen == ["other", "paused"]


def test_pausing_takes_the_time_from_what_waits_and_leaves_other_handlers_alone(
    engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    route(engine, inbox, clock, 1)
    route(engine, inbox, clock, 2, OTHER)
    assert jobs.pause_handler(engine, HANDLER, clock()) == 1
    assert due_times(engine) == [None, clock()]
    assert [one.handler for one in claim(engine, clock)] == [OTHER]


def test_what_runs_when_its_handler_is_paused_runs_to_its_end(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    route(engine, inbox, clock)
    (running,) = claim(engine, clock)
    jobs.pause_handler(engine, HANDLER, clock())
    assert jobs.finish(engine, [Finish(running, "done", clock(), None)], worker="w") == [True]
    assert [row.state for row in rows(engine)] == ["done"]


def test_a_retry_of_a_paused_handler_waits(engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock) -> None:
    @router.on("*")
    def postpones(event: Event) -> None:
        jobs.pause_handler(engine, router.handlers()[0].name, clock())
        raise Retry(after=timedelta(minutes=1))

    arrive(inbox, clock)
    Worker(engine, router, clock=clock).drain()
    assert [(row.state, row.due_at) for row in rows(engine)] == [("waiting", None)]


def _recover(engine: sa.Engine, claims: list[jobs.Claim], clock: Clock) -> None:
    clock.pass_by(minutes=1)
    assert len(jobs.recover(engine, now=clock(), chance=0.5, policy_of=lambda _name: Policy())) == 1


def _release(engine: sa.Engine, claims: list[jobs.Claim], clock: Clock) -> None:
    jobs.release(engine, claims, worker="w", now=clock())


def _put_back(engine: sa.Engine, claims: list[jobs.Claim], clock: Clock) -> None:
    jobs.put_back(engine, claims, worker="w", now=clock())


@pytest.mark.parametrize("give_back", [_recover, _release, _put_back])
def test_what_a_worker_gives_back_of_a_paused_handler_waits(
    engine: sa.Engine, inbox: Inbox, clock: Clock, give_back: Callable[[sa.Engine, list[jobs.Claim], Clock], None]
) -> None:
    route(engine, inbox, clock)
    claims = claim(engine, clock)
    jobs.pause_handler(engine, HANDLER, clock())
    give_back(engine, claims, clock)
    assert [(row.state, row.due_at) for row in rows(engine)] == [("waiting", None)]


def test_what_is_replayed_to_a_paused_handler_waits(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    event_id = route(engine, inbox, clock)
    (job,) = rows(engine)
    jobs.pause_handler(engine, HANDLER, clock())

    def replay_all() -> int:
        return jobs.replay_event(engine, event_id, handler=None, now=clock())

    def replay_to_it() -> int:
        return jobs.replay_event(engine, event_id, handler=HANDLER, now=clock())

    def replay_the_job() -> int:
        return jobs.replay_job(engine, job.id, now=clock())

    def replay_the_dead() -> int:
        return jobs.replay_dead_jobs(engine, [job.id], now=clock())

    for replay in (replay_all, replay_to_it, replay_the_job, replay_the_dead):
        jobs.bury(engine, job.id, reason="not now")
        assert replay() == 1
        assert due_times(engine) == [None], replay.__name__


def test_an_event_replayed_to_a_paused_handler_that_never_had_it_waits(
    engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    event_id = arrive(inbox, clock)
    jobs.pause_handler(engine, HANDLER, clock())
    assert jobs.replay_event(engine, event_id, handler=HANDLER, now=clock()) == 1
    assert due_times(engine) == [None]


def test_a_job_of_a_paused_handler_can_be_discarded_and_stays_so(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    route(engine, inbox, clock)
    jobs.pause_handler(engine, HANDLER, clock())
    assert jobs.bury(engine, rows(engine)[0].id, reason="no")
    assert jobs.resume_handler(engine, HANDLER, clock()) == 0
    assert [(row.state, row.due_at) for row in rows(engine)] == [("dead", None)]


def test_a_handler_that_nobody_has_seen_can_be_paused(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    jobs.pause_handler(engine, HANDLER, clock())
    with engine.connect() as connection:
        row = connection.execute(sa.select(handlers)).one()
    assert (row.name, row.module, row.paused_at) == (HANDLER, "handlers.search", clock())
    route(engine, inbox, clock)
    assert due_times(engine) == [None]


def test_pausing_twice_keeps_the_first_time(engine: sa.Engine, clock: Clock) -> None:
    began = clock()
    jobs.pause_handler(engine, HANDLER, clock())
    clock.pass_by(hours=1)
    jobs.pause_handler(engine, HANDLER, clock())
    with engine.connect() as connection:
        assert connection.execute(sa.select(handlers.c.paused_at)).scalar_one() == began


def test_resuming_what_is_not_paused_wakes_nothing(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    route(engine, inbox, clock)
    assert jobs.resume_handler(engine, HANDLER, clock()) == 0
    assert jobs.resume_handler(engine, "nobody", clock()) == 0


def test_a_long_backlog_is_paused_and_resumed_in_steps(
    engine: sa.Engine, inbox: Inbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "STEP", 3)
    for number in range(10):
        route(engine, inbox, clock, number, OTHER if number % 4 == 0 else HANDLER)
    assert jobs.pause_handler(engine, HANDLER, clock()) == 7
    assert due_times(engine).count(None) == 7
    clock.pass_by(hours=1)
    assert jobs.resume_handler(engine, HANDLER, clock()) == 7
    assert due_times(engine).count(clock()) == 7


def test_a_paused_backlog_is_not_in_the_way_of_what_is_due(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    jobs.pause_handler(engine, HANDLER, clock())
    route(engine, inbox, clock)
    assert jobs.look(engine, clock()) == jobs.Due(unrouted=False, waiting=False, lost=False)


@pytest.mark.sqlite_only
def test_the_jobs_of_a_paused_handler_are_found_by_an_index(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        plan = connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT id FROM jobs WHERE handler = 'a' AND state = 'waiting' AND due_at IS NULL"
        )
        assert "ix_jobs_held" in str(plan.all())


# Races: a SQLite file has one writer at a time, so there are none.


@contextmanager
def halted_before_its_commit(engine: sa.Engine, work: Callable[[], object]) -> Iterator[None]:
    """Run `work` in a thread up to its last statement, and let it end when the block has ended."""
    arrived, go_on = threading.Event(), threading.Event()

    def halt(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if statement.startswith("UPDATE events"):
            arrived.set()
            assert go_on.wait(PATIENCE_SECONDS)

    sa.event.listen(engine, "before_cursor_execute", halt)
    thread = threading.Thread(target=work)
    thread.start()
    assert arrived.wait(PATIENCE_SECONDS)
    try:
        yield
    finally:
        go_on.set()
        thread.join(PATIENCE_SECONDS)
        sa.event.remove(engine, "before_cursor_execute", halt)


def until_somebody_waits_for_a_lock(engine: sa.Engine) -> None:
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

    def count() -> int:
        with engine.connect() as connection:
            return int(connection.execute(waiting).scalar_one())

    until(count, "somebody waits")


@pytest.mark.sqlite_only  # which leaves the choice to the next line
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("change", ["resume", "pause"])
def test_neither_pause_nor_resume_misses_a_job_that_is_being_routed(
    engine: sa.Engine, inbox: Inbox, clock: Clock, change: str
) -> None:
    if change == "resume":
        jobs.pause_handler(engine, HANDLER, clock())
    event_id = arrive(inbox, clock)
    act = jobs.resume_handler if change == "resume" else jobs.pause_handler
    changing = threading.Thread(target=act, args=(engine, HANDLER, clock()))
    with halted_before_its_commit(engine, lambda: jobs.route(engine, [Routing(event_id, [HANDLER])], clock())):
        changing.start()
        until_somebody_waits_for_a_lock(engine)
    changing.join(PATIENCE_SECONDS)
    assert due_times(engine) == [clock() if change == "resume" else None]
