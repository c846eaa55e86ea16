"""Dead letters that are put away: off every alarm, list and count, and still with their event."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from receiver.inbox.rows import Inbox
from receiver.jobs import dead_letters, registry
from receiver.jobs import store as jobs
from receiver.jobs.dead_letters import Which
from receiver.observe import documents
from receiver.observe.metrics import gauges
from receiver.storage.search import Filters
from tests import listings
from tests.installation import Clock, arrive
from tests.stock import stock

pytestmark = pytest.mark.both_databases


@pytest.fixture
def dead(engine: sa.Engine, clock: Clock) -> int:
    """The one dead letter of the stock."""
    stock(engine, clock)
    (found,) = listings.list_jobs(engine, state="dead")["items"]
    return int(found["id"])


def test_what_is_discarded_is_off_counts_and_lists_and_stays_with_its_event(
    engine: sa.Engine, clock: Clock, dead: int
) -> None:
    handler, event = (listings.show_job(engine, dead)[key] for key in ("handler", "event"))
    assert gauges.now(engine, clock())["dead_jobs"] == 1
    assert jobs.bury(engine, dead, reason="the folder is gone", now=clock())
    assert gauges.now(engine, clock())["dead_jobs"] == 0
    assert registry.job_counts(engine, [handler])[handler]["dead"].number == 0
    assert listings.list_jobs(engine, state="dead")["items"] == []
    assert listings.list_events(engine, Filters(state="dead"))["items"] == []
    assert dead_letters.count(engine, Which()).number == 0
    assert [one["id"] for one in listings.list_jobs(engine, state="discarded")["items"]] == [dead]
    (shown,) = listings.list_events(engine, Filters(state="discarded"))["items"]
    assert (shown["id"], shown["job_counts"].get("discarded"), shown["job_counts"].get("dead")) == (event, 1, None)
    (job,) = (one for one in listings.show_event(engine, event)["jobs"] if one["id"] == dead)
    assert (job["discarded_reason"], job["discarded_at"]) == ("the folder is gone", documents.iso(clock()))
    assert (job["reason"], len(job["attempts"])) == ("all attempts failed", 1)


def test_what_is_discarded_can_be_brought_back_or_replayed(engine: sa.Engine, clock: Clock, dead: int) -> None:
    jobs.bury(engine, dead, reason="by hand")
    assert not jobs.bury(engine, dead, reason="again")
    assert jobs.bring_back(engine, dead)
    assert not jobs.bring_back(engine, dead)
    assert gauges.now(engine, clock())["dead_jobs"] == 1
    jobs.bury(engine, dead, reason="by hand")
    assert jobs.replay_job(engine, dead, now=clock()) == 1
    job = listings.show_job(engine, dead)
    assert (job["state"], job["discarded_at"], job["discarded_reason"]) == ("waiting", None, None)


def test_one_that_dies_again_after_a_replay_is_a_dead_letter_again(engine: sa.Engine, clock: Clock, dead: int) -> None:
    jobs.bury(engine, dead, reason="by hand")
    jobs.replay_job(engine, dead, now=clock())
    jobs.bury(engine, dead, reason="not any more")
    assert gauges.now(engine, clock())["dead_jobs"] == 1


def test_what_is_discarded_by_filters_is_what_matches_and_nothing_else(
    engine: sa.Engine, inbox: Inbox, clock: Clock, dead: int
) -> None:
    clock.pass_by(days=1)
    jobs.route(engine, [jobs.Routing(arrive(inbox, clock, number=40), ["tests.other"])], clock())
    (late,) = listings.list_jobs(engine, handler="tests.other")["items"]
    jobs.bury(engine, late["id"], reason="by hand")
    which = Which(until=clock() - timedelta(hours=1))
    assert dead_letters.discard(engine, which, reason="old", now=clock()) == 1
    assert [one["id"] for one in listings.list_jobs(engine, state="dead")["items"]] == [late["id"]]


@pytest.mark.sqlite_only
def test_counting_dead_letters_does_not_look_at_discarded_ones(engine: sa.Engine) -> None:
    from receiver.storage.tables import is_dead
    from receiver.storage.tables import jobs as table

    counted = sa.select(table.c.id).where(table.c.handler == "h", is_dead)
    written = counted.compile(engine, compile_kwargs={"literal_binds": True})
    with engine.connect() as connection:
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {written}").all())
    assert "ix_jobs_dead_letters" in plan
