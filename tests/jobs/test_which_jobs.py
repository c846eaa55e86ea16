"""What is done to one job, event or handler is done to no other; and what is not there is said not to be."""

from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from receiver.errors import NotFoundError
from receiver.inbox.rows import Inbox
from receiver.jobs import store as jobs
from receiver.jobs.retry import Dead
from receiver.jobs.store import Due, Finish, Routing
from receiver.runtime import tracebacks
from receiver.storage.tables import events, handlers
from receiver.storage.tables import jobs as table
from tests.installation import Clock, arrive

pytestmark = pytest.mark.both_databases

ONE, OTHER = "handlers.one.index", "handlers.other.index"
LEASE = timedelta(seconds=30)


def rows(engine: sa.Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(table).order_by(table.c.id)))


def due_times(engine: sa.Engine, handler: str) -> list[datetime | None]:
    return [row.due_at for row in rows(engine) if row.handler == handler]


@pytest.fixture
def event_ids(engine: sa.Engine, inbox: Inbox, clock: Clock) -> list[str]:
    """Three events, each with a job for each of two handlers."""
    found = [arrive(inbox, clock, number=number) for number in range(3)]
    jobs.route(engine, [Routing(one, [ONE, OTHER]) for one in found], clock())
    return found


def bury_all(engine: sa.Engine, clock: Clock) -> None:
    claims = jobs.claim(engine, worker="w", limit=100, now=clock(), lease=LEASE)
    jobs.finish(engine, [Finish(one, "failed", clock(), Dead("no"), "no") for one in claims], worker="w")


def test_a_handler_that_is_resumed_wakes_no_other_that_is_paused(
    engine: sa.Engine, clock: Clock, event_ids: list[str]
) -> None:
    for name in (ONE, OTHER):
        assert jobs.pause_handler(engine, name, clock()) == 3
    assert jobs.resume_handler(engine, ONE, clock()) == 3
    assert due_times(engine, ONE) == [clock()] * 3
    assert due_times(engine, OTHER) == [None] * 3
    with engine.connect() as connection:
        chosen = sa.select(handlers.c.name).where(handlers.c.paused_at.is_not(None))
        assert connection.execute(chosen).scalars().all() == [OTHER]


def test_an_event_that_is_not_there_cannot_be_replayed_whatever_else_is_there(
    engine: sa.Engine, clock: Clock, event_ids: list[str]
) -> None:
    for handler in (None, ONE):
        with pytest.raises(NotFoundError, match="no event has the id 01"):
            jobs.replay_event(engine, "01", handler=handler, now=clock())


def test_a_job_that_is_not_there_can_be_neither_replayed_nor_discarded(
    engine: sa.Engine, clock: Clock, event_ids: list[str]
) -> None:
    with pytest.raises(NotFoundError, match="no job has the id 999999"):
        jobs.replay_job(engine, 999_999, now=clock())
    with pytest.raises(NotFoundError, match="no job has the id 999999"):
        jobs.bury(engine, 999_999, reason="no")


def test_an_event_is_replayed_and_routed_again_and_no_other_is(
    engine: sa.Engine, clock: Clock, event_ids: list[str]
) -> None:
    bury_all(engine, clock)
    assert jobs.replay_event(engine, event_ids[1], handler=None, now=clock()) == 2
    assert [row.event_id for row in rows(engine) if row.state == "waiting"] == [event_ids[1]] * 2
    with engine.connect() as connection:
        states = connection.execute(sa.select(events.c.state).order_by(events.c.seq)).scalars().all()
    assert states == ["routed", "accepted", "routed"]


def test_an_event_is_replayed_to_one_handler_and_no_other_event_or_handler_is_touched(
    engine: sa.Engine, clock: Clock, event_ids: list[str]
) -> None:
    bury_all(engine, clock)
    assert jobs.replay_event(engine, event_ids[1], handler=ONE, now=clock()) == 1
    waiting = [row for row in rows(engine) if row.state == "waiting"]
    assert [(row.event_id, row.handler, row.reason) for row in waiting] == [(event_ids[1], ONE, None)]


def test_one_job_is_replayed_and_discarded_alone(engine: sa.Engine, clock: Clock, event_ids: list[str]) -> None:
    bury_all(engine, clock)
    chosen = rows(engine)[2].id
    assert jobs.replay_job(engine, chosen, now=clock()) == 1
    assert [row.id for row in rows(engine) if row.state == "waiting"] == [chosen]
    assert jobs.bury(engine, chosen, reason="by hand")
    assert [row.id for row in rows(engine) if row.reason == "by hand"] == [chosen]


def test_the_oldest_events_are_routed_first_and_no_more_than_are_asked_for(
    engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    found = [arrive(inbox, clock, number=number) for number in range(3)]
    assert [row.id for row in jobs.unrouted(engine, 2)] == found[:2]


def test_the_longest_due_jobs_are_claimed_first_and_no_more_than_are_asked_for(
    engine: sa.Engine, clock: Clock, event_ids: list[str]
) -> None:
    latest_first = [row.id for row in rows(engine)]
    with engine.begin() as connection:
        for place, id_ in enumerate(latest_first):
            due_at = clock() - timedelta(minutes=place)
            connection.execute(sa.update(table).where(table.c.id == id_).values(due_at=due_at))
    claims = jobs.claim(engine, worker="w", limit=2, now=clock(), lease=LEASE)
    assert [one.job_id for one in claims] == latest_first[-2:]


def test_what_there_is_to_do_is_told_apart(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    assert jobs.look(engine, clock()) == Due(unrouted=False, waiting=False, lost=False)
    event_id = arrive(inbox, clock)
    assert jobs.look(engine, clock()) == Due(unrouted=True, waiting=False, lost=False)
    jobs.route(engine, [Routing(event_id, [ONE])], clock())
    assert jobs.look(engine, clock()) == Due(unrouted=False, waiting=True, lost=False)
    assert jobs.look(engine, clock() - timedelta(seconds=1)) == Due(unrouted=False, waiting=False, lost=False)
    jobs.claim(engine, worker="w", limit=1, now=clock(), lease=LEASE)
    assert jobs.look(engine, clock()) == Due(unrouted=False, waiting=False, lost=False)
    assert jobs.look(engine, clock() + LEASE) == Due(unrouted=False, waiting=False, lost=True)


def test_of_a_long_error_the_beginning_and_the_end_are_kept_with_what_is_missing_between() -> None:
    limit = tracebacks.LIMIT_CHARACTERS
    assert tracebacks.storable("x" * limit) == "x" * limit
    kept = tracebacks.storable("a" * limit + "b" * limit)
    half = kept.index("\n")
    assert kept == f"{'a' * half}\n… {2 * limit - 2 * half} characters left out …\n{'b' * half}"
    assert limit - 100 < len(kept) <= limit
