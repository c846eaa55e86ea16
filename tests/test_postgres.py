"""What only PostgreSQL has: workers that are woken, rows that are locked. The rest of the suite runs on both."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from receiver import jobs as accounts
from receiver import pruning, worker
from receiver.events import Event
from receiver.inbox import Inbox
from receiver.pruning import Pruned
from receiver.routing import Router
from receiver.tables import events, jobs
from receiver.worker import Worker
from tests.installation import Clock, arrive
from tests.waiting import until


@pytest.fixture
def database_url(empty_postgres: str) -> str:
    return empty_postgres


def column(engine: sa.Engine, chosen: sa.Column[Any]) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(chosen).order_by(chosen.table.primary_key.columns[0])).scalars())


def test_two_workers_run_every_job_once(engine: sa.Engine, inbox: Inbox, router: Router) -> None:
    ran: list[str] = []

    @router.on("*")
    def note(event: Event) -> None:
        ran.append(event.id)

    accepted = {arrive(inbox, Clock(), number=number) for number in range(200)}
    stop = threading.Event()
    threads = [
        threading.Thread(target=Worker(engine, router, threads=4).run, args=(stop,), daemon=True) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    until(lambda: column(engine, jobs.c.state) == ["done"] * 200, "all jobs are done")
    stop.set()
    for thread in threads:
        thread.join(60)
    assert (len(ran), set(ran)) == (200, accepted)


def test_a_worker_is_woken_by_a_commit_and_does_not_wait_for_its_next_look(
    engine: sa.Engine, inbox: Inbox, router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "POLL", timedelta(seconds=60))
    ran = threading.Event()

    @router.on("*")
    def note(event: Event) -> None:
        ran.set()

    stop = threading.Event()
    thread = threading.Thread(target=Worker(engine, router).run, args=(stop,), daemon=True)
    thread.start()
    listening = sa.text("SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN signalbox'")
    until(lambda: _count(engine, listening), "the worker listens")
    arrive(inbox, Clock())
    assert ran.wait(60)
    stop.set()
    arrive(inbox, Clock(), number=2)  # rings once more, so that the worker sees that it is to stop
    thread.join(60)
    assert not thread.is_alive()


def test_an_event_stays_while_somebody_is_about_to_replay_a_job_of_it(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    @router.on("*")
    def note(event: Event) -> None: ...

    arrive(inbox, clock)
    Worker(engine, router, clock=clock).drain()
    clock.pass_by(days=31)
    with engine.begin() as replaying:
        replaying.execute(sa.update(jobs).values(state="waiting", due_at=clock()))
        assert _prune(engine, clock) == Pruned(staying=1)
    assert _prune(engine, clock) == Pruned(staying=1)
    assert column(engine, jobs.c.state) == ["waiting"]


def test_two_prune_beside_each_other(engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock) -> None:
    for number in range(300):
        arrive(inbox, clock, number=number)
    Worker(engine, router, clock=clock).drain()
    clock.pass_by(days=31)
    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(_prune, engine, clock) for _ in range(2))
        assert first.result(60).events + second.result(60).events == 300
    assert column(engine, events.c.id) == []


def _prune(engine: sa.Engine, clock: Clock) -> Pruned:
    pruned = Pruned()
    pruning.prune(engine, timedelta(days=30), now=clock(), pruned=pruned, tell=lambda: None)
    return pruned


def _count(engine: sa.Engine, question: sa.TextClause) -> int:
    with engine.connect() as connection:
        return int(connection.execute(question).scalar_one())


def test_no_plan_of_the_database_takes_more_jobs_than_asked_for(
    database_url: str, engine: sa.Engine, inbox: Inbox
) -> None:
    clock = Clock()
    for number in range(3):
        accounts.route(engine, [accounts.Routing(arrive(inbox, clock, number=number), ["h.f"])], clock())
    # With this it looks for each job anew, which it may choose to do by itself: a subquery would run once for each.
    unlike = ("hashagg", "hashjoin", "mergejoin", "material", "sort", "memoize")
    options = " ".join(f"-c enable_{name}=off" for name in unlike)
    nested = sa.create_engine(engine.url, connect_args={"options": options})
    first, second, _ = column(engine, jobs.c.id)
    claims = accounts.claim(nested, worker="w", limit=2, now=clock(), lease=timedelta(seconds=30))
    nested.dispose()
    assert [claim.job_id for claim in claims] == [first, second]
