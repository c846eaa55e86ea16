"""Jobs go through a broker and are lost, doubled and late there, and each is run once all the same."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from receiver.inbox.rows import Inbox
from receiver.jobs import dispatch
from receiver.jobs import store as jobs
from receiver.jobs.dispatch import Handed
from receiver.jobs.retry import Again
from receiver.jobs.store import Claim, Finish, Routing
from receiver.storage.tables import jobs as table
from tests.installation import Clock, arrive

pytestmark = pytest.mark.both_databases

HANDLER = "handlers.search.index"
OTHER = "handlers.log.log_event"
LEASE = timedelta(seconds=30)
ALL = sa.true()


def rows(engine: sa.Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(table).order_by(table.c.id)))


def route(engine: sa.Engine, inbox: Inbox, clock: Clock, *handlers: str, count: int = 1) -> None:
    for number in range(count):
        jobs.route(engine, [Routing(arrive(inbox, clock, number=number), handlers or [HANDLER])], clock())


def hand_over(engine: sa.Engine, clock: Clock, *, of: sa.ColumnElement[bool] = ALL, limit: int = 100) -> list[Handed]:
    return dispatch.hand_over(engine, limit=limit, now=clock(), until=clock() + 2 * LEASE, of=of)


def take(engine: sa.Engine, clock: Clock, *handed: Handed, worker: str = "w") -> list[Claim]:
    named = {one.job_id: one.attempt for one in handed}
    return dispatch.take(engine, named, worker=worker, now=clock(), lease=LEASE)


def test_a_job_that_is_handed_over_still_waits_and_is_due_again_later(
    engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    route(engine, inbox, clock)
    (handed,) = hand_over(engine, clock)
    (row,) = rows(engine)
    assert handed == Handed(row.id, HANDLER, 0)
    assert (row.state, row.attempt, row.worker, row.due_at) == ("waiting", 0, None, clock() + 2 * LEASE)


def test_what_is_with_the_broker_is_not_handed_over_again_before_its_time(
    engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    route(engine, inbox, clock)
    first = hand_over(engine, clock)
    clock.pass_by(seconds=59)
    assert hand_over(engine, clock) == []
    clock.pass_by(seconds=1)
    assert hand_over(engine, clock) == first


def test_no_more_are_handed_over_than_asked_for_and_the_longest_due_first(
    engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    route(engine, inbox, clock, count=3)
    first, second, third = (row.id for row in rows(engine))
    with engine.begin() as connection:
        sooner = sa.update(table).where(table.c.id != second)
        connection.execute(sooner.values(due_at=clock() - timedelta(seconds=1)))
    assert [one.job_id for one in hand_over(engine, clock, limit=2)] == [first, third]


def test_the_jobs_of_some_handlers_can_be_handed_over_apart(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    route(engine, inbox, clock, HANDLER, OTHER)
    assert [one.handler for one in hand_over(engine, clock, of=dispatch.of_handlers([OTHER]))] == [OTHER]
    assert [one.handler for one in hand_over(engine, clock, of=dispatch.of_no_handler([OTHER]))] == [HANDLER]


def test_what_arrives_is_taken_with_its_event_and_runs_under_a_lease(
    engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    route(engine, inbox, clock, HANDLER, OTHER)
    claims = take(engine, clock, *hand_over(engine, clock))
    assert [(claim.handler, claim.attempt, claim.event.type) for claim in claims] == [
        (HANDLER, 1, "box:FILE.UPLOADED"),
        (OTHER, 1, "box:FILE.UPLOADED"),
    ]
    assert {(row.state, row.worker, row.due_at) for row in rows(engine)} == {("running", "w", clock() + LEASE)}


def test_a_message_that_comes_twice_is_taken_once(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    route(engine, inbox, clock)
    (handed,) = hand_over(engine, clock)
    assert len(take(engine, clock, handed)) == 1
    assert take(engine, clock, handed, worker="other") == []


def test_a_message_for_an_attempt_that_is_over_is_not_taken(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    route(engine, inbox, clock)
    (late,) = hand_over(engine, clock)
    (claim,) = take(engine, clock, late)
    jobs.finish(engine, [Finish(claim, "failed", clock(), Again(clock()))], worker="w")
    assert take(engine, clock, late) == []
    assert len(take(engine, clock, *hand_over(engine, clock))) == 1


def test_a_late_message_in_company_does_not_keep_the_others_from_running(
    engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    route(engine, inbox, clock, count=3)
    handed = hand_over(engine, clock)
    take(engine, clock, handed[1], worker="other")
    assert [claim.job_id for claim in take(engine, clock, *handed)] == [handed[0].job_id, handed[2].job_id]


def test_untaken_is_what_waits_in_the_attempt_that_was_handed_over(
    engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    route(engine, inbox, clock, count=3)
    running, over, waiting = handed = hand_over(engine, clock)
    take(engine, clock, running)
    (claim,) = take(engine, clock, over)
    jobs.finish(engine, [Finish(claim, "failed", clock(), Again(clock()))], worker="w")
    assert dispatch.untaken(engine, handed) == {waiting.job_id}


def test_what_the_broker_refused_is_due_again_at_once(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    route(engine, inbox, clock, count=2)
    sent, refused = hand_over(engine, clock)
    dispatch.bring_back(engine, [refused], clock())
    assert [one.job_id for one in hand_over(engine, clock)] == [refused.job_id]
    assert dispatch.untaken(engine, [sent]) == {sent.job_id}


def test_what_was_said_to_be_refused_but_has_run_keeps_the_time_of_its_next_attempt(
    engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    route(engine, inbox, clock)
    (handed,) = hand_over(engine, clock)
    (claim,) = take(engine, clock, handed)
    later = clock() + timedelta(hours=1)
    jobs.finish(engine, [Finish(claim, "failed", clock(), Again(later))], worker="w")
    dispatch.bring_back(engine, [handed], clock())
    assert [row.due_at for row in rows(engine)] == [later]


def test_a_job_whose_handler_is_paused_on_the_way_is_not_taken(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    route(engine, inbox, clock)
    handed = hand_over(engine, clock)
    jobs.pause_handler(engine, HANDLER, clock())
    assert take(engine, clock, *handed) == []
    jobs.resume_handler(engine, HANDLER, clock())
    assert len(take(engine, clock, *handed)) == 1


def test_what_the_broker_refused_does_not_wake_a_paused_handler(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    route(engine, inbox, clock, HANDLER, OTHER)
    handed = hand_over(engine, clock)
    jobs.pause_handler(engine, HANDLER, clock())
    dispatch.bring_back(engine, handed, clock())
    assert [one.handler for one in hand_over(engine, clock)] == [OTHER]
    assert [row.due_at for row in rows(engine) if row.handler == HANDLER] == [None]
