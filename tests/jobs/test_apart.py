"""Jobs that failed or were lost together do not come back together."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from receiver.events import Event
from receiver.inbox.rows import Inbox
from receiver.jobs import store as jobs
from receiver.jobs.celery_tasks import Runner
from receiver.jobs.retry import Policy
from receiver.jobs.routing import Router
from receiver.jobs.worker import Worker
from receiver.storage.tables import jobs as table
from tests.installation import Clock, arrive

pytestmark = pytest.mark.both_databases

COUNT = 8


def waits(engine: sa.Engine, clock: Clock) -> list[timedelta]:
    """Give how long each waiting job waits from now on, the shortest first."""
    with engine.connect() as connection:
        due = connection.execute(sa.select(table.c.due_at).where(table.c.state == "waiting")).scalars()
        return sorted(at - clock() for at in due)


def fail_together(inbox: Inbox, router: Router, clock: Clock) -> None:
    @router.on("*")
    def fails(event: Event) -> None:
        raise ConnectionError

    for number in range(COUNT):
        arrive(inbox, clock, number=number)


def assert_apart(found: list[timedelta], plain: timedelta) -> None:
    """They lie around the wait of the policy, a fifth either way at the most, and no two at one time."""
    assert len(set(found)) == COUNT
    assert 0.8 * plain <= found[0] < found[-1] <= 1.2 * plain


def test_jobs_that_failed_together_wait_for_different_times(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    fail_together(inbox, router, clock)
    Worker(engine, router, clock=clock).drain()
    assert_apart(waits(engine, clock), timedelta(seconds=10))


def test_jobs_that_failed_together_in_a_process_of_celerys_wait_for_different_times(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    fail_together(inbox, router, clock)
    nobody = Worker(engine, router, clock=clock, threads=0)
    while nobody.turn():
        pass
    with engine.connect() as connection:
        message = dict.fromkeys(connection.execute(sa.select(table.c.id)).scalars(), 0)
    Runner(engine, router, clock=clock).run(message)
    assert_apart(waits(engine, clock), timedelta(seconds=10))


def lose_twice(engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock) -> Worker:
    """Let a worker vanish with many jobs, and another one with the same; give a third that finds that out."""
    router.on("*")(lambda event: None)
    for number in range(COUNT):
        arrive(inbox, clock, number=number)
    for _ in range(2):
        Worker(engine, router, clock=clock, threads=COUNT).turn()
        clock.pass_by(minutes=1)
    return Worker(engine, router, clock=clock, threads=0)


def test_jobs_that_were_lost_together_come_back_at_once_the_first_time(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    router.on("*")(lambda event: None)
    for number in range(COUNT):
        arrive(inbox, clock, number=number)
    Worker(engine, router, clock=clock, threads=COUNT).turn()
    clock.pass_by(minutes=1)
    Worker(engine, router, clock=clock, threads=0).turn()
    assert waits(engine, clock) == [timedelta()] * COUNT


def test_jobs_that_were_lost_together_twice_wait_for_different_times(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    lose_twice(engine, inbox, router, clock).turn()
    assert_apart(waits(engine, clock), timedelta(seconds=30))


def test_chance_moves_the_jobs_that_were_lost_together(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    lose_twice(engine, inbox, router, clock)
    losses = jobs.recover(engine, now=clock(), chance=0.25, policy_of=lambda _name: Policy())
    found = waits(engine, clock)
    assert len(losses) == COUNT
    assert_apart(found, timedelta(seconds=30))
    # Spread evenly from 24 s to 36 s, from where chance says on and around.
    assert [round(one.total_seconds(), 1) for one in found] == [24, 25.5, 27, 28.5, 30, 31.5, 33, 34.5]
