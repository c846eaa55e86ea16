"""What only PostgreSQL has: workers that are woken, rows that are locked. The rest of the suite runs on both."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from receiver.events import Event
from receiver.inbox.rows import Inbox
from receiver.jobs import pruning, registry, worker
from receiver.jobs import store as accounts
from receiver.jobs.doorbell import doorbell
from receiver.jobs.pruning import Pruned
from receiver.jobs.routing import Router
from receiver.jobs.worker import Worker
from receiver.settings import resolve_database_url
from receiver.storage import db, postgresql
from receiver.storage.tables import events, jobs
from tests import listings
from tests.installation import Clock, arrive
from tests.waiting import PATIENCE_SECONDS, until

CALENDAR = (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))


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
        thread.join(PATIENCE_SECONDS)
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
    assert ran.wait(PATIENCE_SECONDS)
    stop.set()
    arrive(inbox, Clock(), number=2)  # rings once more, so that the worker sees that it is to stop
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()


def test_a_bell_is_believed_once_it_has_rung_and_until_its_connection_breaks(engine: sa.Engine) -> None:
    heard: list[bool] = []
    ended = sa.text("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query = 'LISTEN signalbox'")
    with doorbell(engine, lambda: heard.append(True)) as bell:
        assert not bell.is_quiet()
        until(lambda: _beats(engine) and heard, "it rings")
        assert bell.is_quiet()
        assert _count(engine, ended) == 1
        until(lambda: not bell.is_quiet(), "it is believed no longer")
        until(lambda: _beats(engine) and bell.is_quiet(), "it listens again")


def _beats(engine: sa.Engine) -> bool:
    registry.beat(engine, Clock()())
    return True


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
        assert first.result(PATIENCE_SECONDS).events + second.result(PATIENCE_SECONDS).events == 300
    assert column(engine, events.c.id) == []


def _prune(engine: sa.Engine, clock: Clock) -> Pruned:
    pruned = Pruned()
    pruning.prune(engine, timedelta(days=30), now=clock(), pruned=pruned, tell=lambda: None)
    return pruned


def _count(engine: sa.Engine, question: sa.TextClause) -> int:
    with engine.connect() as connection:
        return int(connection.execute(question).scalar_one())


@pytest.fixture(params=["Asia/Tokyo", "America/New_York"])
def elsewhere(request: pytest.FixtureRequest, fresh_postgres: str) -> Iterator[sa.Engine]:
    """A database whose sessions are in another time zone than UTC."""
    own = db.open_engine(resolve_database_url(fresh_postgres))
    db.upgrade(own)
    with own.begin() as connection:
        name = connection.exec_driver_sql("SELECT current_database()").scalar_one()
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET timezone = '{request.param}'")
    own.dispose()
    yield own
    own.dispose()


def test_an_event_at_the_edge_of_the_calendar_stops_nothing_in_any_time_zone(
    elsewhere: sa.Engine, router: Router, clock: Clock
) -> None:
    ran: list[str] = []

    @router.on("*")
    def note(event: Event) -> None:
        ran.append(event.id)

    inbox = Inbox(elsewhere, rejected_max_count=1, rejected_max_bytes=1)
    accepted = [arrive(inbox, clock, number=number) for number in range(3)]
    with elsewhere.begin() as connection:  # as older releases kept them
        for event_id, at in zip(accepted, CALENDAR, strict=False):
            connection.execute(sa.update(events).where(events.c.id == event_id).values(occurred_at=at))
    Worker(elsewhere, router, clock=clock).drain()
    assert sorted(ran) == sorted(accepted)
    assert len(listings.list_events(elsewhere)["items"]) == 3


def test_a_session_is_in_utc_and_has_the_options_that_its_url_gives(fresh_postgres: str) -> None:
    url = sa.make_url(resolve_database_url(fresh_postgres))
    chosen = url.update_query_dict({"options": "-c timezone=Asia/Tokyo -c work_mem=5MB"})
    own = db.open_engine(chosen.render_as_string(hide_password=False))
    for _ in range(2):  # what a transaction that is rolled back leaves
        with own.connect() as connection:
            shown = [connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in ("timezone", "work_mem")]
        assert shown == ["UTC", "5MB"]
    own.dispose()


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


def test_with_gevent_a_batch_lets_others_run_once_for_each_wait_and_not_for_each_row(
    fresh_postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[Any] = []

    def noted(steps: Any) -> Any:
        try:
            state = next(steps)
            while True:
                turns.append(state)
                state = steps.send((yield state))
        except StopIteration as end:
            return end.value

    waits = psycopg.Connection.wait
    monkeypatch.setattr(psycopg.Connection, "wait", lambda self, steps, *rest: waits(self, noted(steps), *rest))
    monkeypatch.setattr(postgresql, "_others_run_meanwhile", lambda: True)
    monkeypatch.setattr(postgresql, "BUSY_SECONDS", PATIENCE_SECONDS)
    with closing(postgresql.Patient.connect(fresh_postgres)) as connection:
        connection.execute("CREATE TABLE kept (number INTEGER)")
        turns.clear()
        connection.cursor().executemany("INSERT INTO kept VALUES (%s)", [(number,) for number in range(500)])
        assert len(turns) < 50
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (500,)
