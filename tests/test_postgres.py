"""The same on a real PostgreSQL: kept, counted, poisoned, routed, done, and without waiting for a poll."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from config.settings import resolve_database_url
from receiver import db, worker
from receiver.errors import StoreError
from receiver.events import Event, Headers, Reason, Refused, Verified
from receiver.inbox import Arrival, Group, Inbox, new_id, write_arrivals
from receiver.routing import Router
from receiver.tables import deliveries, events, jobs, metadata, rejected
from receiver.worker import Worker
from tests.installation import Clock, arrive, delivery


@pytest.fixture(scope="module")
def server(postgres: str) -> Iterator[sa.Engine]:
    engine = db.open_engine(resolve_database_url(postgres))
    db.upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(server: sa.Engine) -> sa.Engine:
    with server.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(sa.delete(table))
    return server


def column(engine: sa.Engine, chosen: sa.Column[Any]) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(chosen).order_by(chosen.table.primary_key.columns[0])).scalars())


def arrival(number: int, clock: Clock, **changed: Any) -> Arrival:
    plain = Arrival(
        new_id(clock()), "box", "box:A", "A", f"[{number}]", "accepted", clock(), None, "primary", b"", b"{}"
    )
    return plain._replace(**changed)


def test_a_delivery_is_kept_byte_for_byte_and_a_repeated_one_counted(
    engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    first = arrive(inbox, clock)
    assert arrive(inbox, clock) == first
    assert column(engine, events.c.body) == [delivery("box", "FILE.UPLOADED", at=clock()).body]
    assert (column(engine, events.c.deliveries), column(engine, events.c.received_at)) == ([2], [clock()])
    assert column(engine, deliveries.c.event_id) == [first]


def test_a_poisonous_row_takes_none_of_its_neighbours_down(engine: sa.Engine, clock: Clock) -> None:
    def write(take: Any) -> Any:
        with db.writing_directly(engine) as cursor:
            return write_arrivals(cursor, take(), engine.dialect)

    group = Group(write)
    batch = group._open
    batch.arrivals.extend([arrival(1, clock), arrival(2, clock, name="\0"), arrival(3, clock)])
    group._lead(batch)
    assert [isinstance(outcome, StoreError) for outcome in batch.outcomes] == [False, True, False]
    assert column(engine, events.c.identity) == ["[1]", "[3]"]


def test_rejected_and_quarantined_deliveries_are_kept(engine: sa.Engine, clock: Clock) -> None:
    capped = Inbox(engine, rejected_max_count=2, rejected_max_bytes=10_000)
    came = delivery("box", "FILE.UPLOADED", at=clock())
    ids = [capped.reject(came, Refused(Reason.SIGNATURE_MISMATCH, "No.")) for _ in range(4)]
    assert column(engine, rejected.c.id) == ids[2:]
    assert Headers.from_bytes(column(engine, rejected.c.headers)[0]).pairs == came.headers.pairs
    kept = [capped.quarantine(came, Verified("primary"), {"body": ["No."]}) for _ in range(2)]
    assert kept[0] == kept[1]


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
    deadline = time.monotonic() + 20
    while column(engine, jobs.c.state) != ["done"] * 200:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    stop.set()
    for thread in threads:
        thread.join(20)
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
    deadline = time.monotonic() + 10
    listening = sa.text("SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN signalbox'")
    while not _count(engine, listening):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    arrive(inbox, Clock())
    assert ran.wait(10)
    stop.set()
    arrive(inbox, Clock(), number=2)  # rings once more, so that the worker sees that it is to stop
    thread.join(20)
    assert not thread.is_alive()


def _count(engine: sa.Engine, question: sa.TextClause) -> int:
    with engine.connect() as connection:
        return int(connection.execute(question).scalar_one())
