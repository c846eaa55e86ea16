"""Leases are kept while jobs run: of all that run, well before they end, in a worker and in a process of Celery's."""

import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from receiver.events import Event
from receiver.inbox.rows import Inbox
from receiver.jobs import celery_tasks, dispatch
from receiver.jobs import store as jobs
from receiver.jobs.celery_tasks import Keeper, Runner
from receiver.jobs.routing import Router
from receiver.jobs.worker import Worker
from receiver.storage.tables import attempts
from receiver.storage.tables import jobs as table
from tests.installation import Clock, arrive
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.both_databases

LEASE = timedelta(seconds=30)
COUNT = 5


def rows(engine: sa.Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(table).order_by(table.c.id)))


def ends(engine: sa.Engine) -> list[datetime]:
    """Give when each lease ends, by job."""
    return [row.due_at for row in rows(engine)]


def routed(engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock) -> None:
    """Keep and route events, and run nothing."""
    for number in range(COUNT):
        arrive(inbox, clock, number=number)
    nobody = Worker(engine, router, clock=clock, threads=0)
    while nobody.turn():
        pass


def holding(engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock) -> tuple[Worker, list[jobs.Claim]]:
    """Give a worker in the middle of several jobs, and these, as if each had a thread."""
    router.on("*")(lambda event: None)
    routed(engine, inbox, router, clock)
    worker = Worker(engine, router, clock=clock, threads=COUNT, lease=LEASE)
    worker.turn()
    return worker, [claim for _ in range(COUNT) if (claim := worker._begun.get()) is not None]


def test_a_worker_renews_the_leases_of_all_that_it_runs(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    worker, _claims = holding(engine, inbox, router, clock)
    assert ends(engine) == [clock() + LEASE] * COUNT
    clock.pass_by(seconds=10)
    worker.turn()
    assert ends(engine) == [clock() + LEASE] * COUNT


def test_a_lease_is_renewed_whenever_a_third_of_it_is_over_and_no_sooner(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    worker, _claims = holding(engine, inbox, router, clock)
    began, left = clock(), []
    for _ in range(6):
        clock.pass_by(seconds=5)
        worker.turn()
        left.append((ends(engine)[0] - began).total_seconds())
    assert left == [30, 40, 40, 50, 50, 60]


def test_a_clock_that_is_set_back_does_not_put_off_renewing(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    worker, _claims = holding(engine, inbox, router, clock)
    clock.pass_by(hours=-1)
    worker.turn()
    assert ends(engine) == [clock() + LEASE] * COUNT


def test_a_worker_that_runs_a_job_of_many_to_its_end_keeps_the_leases_of_the_others(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    worker, claims = holding(engine, inbox, router, clock)
    worker._ended.put(worker.attempt(claims[0]))
    clock.pass_by(seconds=10)
    worker.turn()
    assert [(row.state, row.due_at) for row in rows(engine)] == [
        ("done", None),
        *[("running", clock() + LEASE)] * (COUNT - 1),
    ]


def test_what_is_renewed_is_what_this_worker_holds_and_nothing_else(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    router.on("*")(lambda event: None)
    routed(engine, inbox, router, clock)
    first = jobs.claim(engine, worker="first", limit=2, now=clock(), lease=LEASE)
    other = jobs.claim(engine, worker="other", limit=2, now=clock(), lease=LEASE)
    later = clock() + timedelta(hours=1)
    jobs.renew(engine, [*first, *other], worker="first", until=later)
    assert ends(engine) == [later, later, clock() + LEASE, clock() + LEASE, clock()]
    assert [row.state for row in rows(engine)] == ["running"] * 4 + ["waiting"]


def test_a_worker_that_stops_keeps_leases_while_it_waits_for_what_runs(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    worker, claims = holding(engine, inbox, router, clock)
    stopping = threading.Thread(target=worker._wind_up, args=(timedelta(minutes=5),), daemon=True)
    stopping.start()
    clock.pass_by(seconds=10)
    until(lambda: ends(engine) == [clock() + LEASE] * COUNT, "all leases are renewed")
    for claim in claims:
        worker._ended.put(worker.attempt(claim))
    stopping.join(PATIENCE_SECONDS)
    assert [row.state for row in rows(engine)] == ["done"] * COUNT


def test_a_worker_that_has_to_stop_gives_back_all_that_still_runs(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    worker, _claims = holding(engine, inbox, router, clock)
    worker._wind_up(timedelta(0))
    assert [(row.state, row.due_at, row.worker) for row in rows(engine)] == [("waiting", clock(), None)] * COUNT
    with engine.connect() as connection:
        assert connection.execute(sa.select(attempts.c.outcome)).scalars().all() == ["lost"] * COUNT


def test_a_worker_that_stops_puts_back_all_that_no_thread_has_begun(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    worker, claims = holding(engine, inbox, router, clock)
    for claim in claims:
        worker._begun.put(claim)
    worker._wind_up(timedelta(0))
    assert [(row.state, row.due_at, row.attempt) for row in rows(engine)] == [("waiting", clock(), 0)] * COUNT


# A process of Celery's


def handed(engine: sa.Engine, clock: Clock) -> dict[int, int]:
    """Hand over all that is due, as a dispatcher would, and give what the messages would say."""
    found = dispatch.hand_over(engine, limit=100, now=clock(), until=clock() + 2 * LEASE, of=sa.true())
    return {one.job_id: one.attempt for one in found}


def test_a_process_of_celerys_renews_all_jobs_of_a_message_while_the_first_runs(
    engine: sa.Engine, inbox: Inbox, router: Router
) -> None:
    release = threading.Event()

    @router.on("*")
    def lasts(event: Event) -> None:
        release.wait(PATIENCE_SECONDS)

    clock = Clock()
    routed(engine, inbox, router, clock)
    runner = Runner(engine, router, lease=timedelta(seconds=3))
    thread = threading.Thread(target=runner.run, args=(handed(engine, clock),), daemon=True)
    thread.start()
    until(lambda: all(row.state == "running" for row in rows(engine)), "the message is taken")
    first = ends(engine)
    until(lambda: all(now > was for now, was in zip(ends(engine), first, strict=True)), "all leases are renewed")
    release.set()
    thread.join(PATIENCE_SECONDS)
    assert [row.state for row in rows(engine)] == ["done"] * COUNT


def test_a_process_of_celerys_renews_whenever_a_third_of_a_lease_is_over(
    engine: sa.Engine, router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[timedelta] = []

    class Noting(Keeper):
        def __init__(self, renew: Any, *, every: timedelta, **how: Any) -> None:
            asked.append(every)
            super().__init__(renew, every=every, **how)

    monkeypatch.setattr(celery_tasks, "Keeper", Noting)
    Runner(engine, router, lease=LEASE)
    assert asked == [LEASE / 3]


def test_a_job_that_is_handed_over_is_due_again_after_two_leases_and_taken_for_one(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    router.on("*")(lambda event: None)
    routed(engine, inbox, router, clock)
    message = handed(engine, clock)
    assert ends(engine) == [clock() + 2 * LEASE] * COUNT
    clock.pass_by(seconds=1)
    dispatch.take(engine, message, worker="w", now=clock(), lease=LEASE)
    assert ends(engine) == [clock() + LEASE] * COUNT
