"""A worker that has nothing to do asks the database seldom, and begins all the same at once what comes or falls due."""

import sqlite3
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from receiver.errors import Retry
from receiver.events import Event
from receiver.inbox.rows import Inbox
from receiver.jobs import registry
from receiver.jobs.doorbell import doorbell
from receiver.jobs.routing import Router
from receiver.jobs.worker import POLL, Worker
from receiver.storage import db
from receiver.storage.stores import store_of
from receiver.storage.tables import events, jobs
from tests.installation import Clock, arrive
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.both_databases

SECOND = timedelta(seconds=1) // POLL
FAR = f"{__name__}.far"


class Idle(Worker):
    """A worker whose waits take no time: its clock passes by instead, and `meanwhile` has what happens in which."""

    def __init__(self, engine: sa.Engine, router: Router, clock: Clock) -> None:
        super().__init__(engine, router, clock=clock, threads=1)
        self.clock, self.stop, self.waits = clock, threading.Event(), 0
        self.meanwhile: dict[int, Callable[[], object]] = {}

    def _collect(self, patience: timedelta) -> None:
        if self._running:  # a handler takes the time that it takes
            super()._collect(timedelta(seconds=PATIENCE_SECONDS))
            return
        self.waits += 1
        self.clock.pass_by(seconds=patience.total_seconds())
        self.meanwhile.pop(self.waits, lambda: None)()
        super()._collect(timedelta())

    def rest(self, *, waits: int) -> None:
        self.meanwhile[waits] = self.stop.set
        self.run(self.stop)


@pytest.fixture
def worker(engine: sa.Engine, router: Router, clock: Clock) -> Idle:
    return Idle(engine, router, clock)


def rings(engine: sa.Engine, worker: Idle) -> bool:
    registry.beat(engine, worker.clock())
    return not worker._ended.empty()


def far(event: Event) -> None: ...


def leave_to_others(engine: sa.Engine, inbox: Inbox, clock: Clock, *, count: int) -> None:
    """Have many jobs that have been due for a minute, and a worker elsewhere whose handler is to run them."""
    other = Router()
    other.on("filestack:*")(far)
    registry.sign_in(engine, other, clock(), worker="elsewhere")
    arrive(inbox, clock)
    with db.writing(engine) as connection:
        (first,) = connection.execute(sa.update(events).values(state="routed").returning(*events.c)).mappings()
        ids = [f"{number:026}" for number in range(count)]
        connection.execute(sa.insert(events), [{**first, "seq": None, "id": one, "identity": one} for one in ids])
        row = {"handler": FAR, "state": "waiting", "due_at": clock() - timedelta(minutes=1)}
        connection.execute(sa.insert(jobs), [row | {"event_id": one} for one in ids])


@pytest.fixture
def steps(engine: sa.Engine) -> list[int]:
    """What SQLite worked, in thousands of steps of its machine."""
    counted: list[int] = []

    def count(connection: sqlite3.Connection, _record: object) -> None:
        connection.set_progress_handler(lambda: counted.append(1), 1000)

    sa.event.listen(engine, "connect", count)
    engine.dispose()
    return counted


def test_an_idle_worker_asks_the_database_once_a_second(engine: sa.Engine, worker: Idle) -> None:
    asked: list[str] = []

    def begin_to_count() -> None:
        if engine.dialect.name == "postgresql":  # its bell is trusted once it has rung
            until(lambda: rings(engine, worker), "the bell rings")
        sa.event.listen(engine, "before_cursor_execute", lambda *told: asked.append(told[2]))

    worker.meanwhile[1] = begin_to_count
    worker.rest(waits=10 * SECOND)
    assert 9 <= len(asked) <= 20


@pytest.mark.sqlite_only
def test_what_comes_is_begun_without_another_wait(worker: Idle, router: Router, inbox: Inbox, clock: Clock) -> None:
    begun: list[int] = []
    router.on("*")(lambda event: begun.append(worker.waits))
    for wait in (30, 77, 130):
        worker.meanwhile[wait] = partial(arrive, inbox, clock, number=wait)
    worker.rest(waits=200)
    assert begun == [30, 77, 130]


def test_a_job_is_begun_in_the_very_wait_in_which_it_falls_due(
    worker: Idle, router: Router, inbox: Inbox, clock: Clock
) -> None:
    begun: list[int] = []

    @router.on("*")
    def later(event: Event) -> None:
        begun.append(worker.waits)
        if len(begun) == 1:
            raise Retry(after=104 * POLL)

    arrive(inbox, clock)
    worker.rest(waits=200)
    assert begun == [0, 104]


@pytest.mark.sqlite_only
def test_the_jobs_of_other_workers_are_passed_over_once_and_not_at_every_look(
    engine: sa.Engine, worker: Idle, inbox: Inbox, clock: Clock, steps: list[int]
) -> None:
    leave_to_others(engine, inbox, clock, count=2000)
    worker.turn()  # takes them for its own, and learns whose they are
    steps.clear()
    worker.turn()
    once = len(steps)
    steps.clear()
    worker.rest(waits=20 * SECOND)
    assert 0 < len(steps) < 3 * once


@pytest.mark.sqlite_only
@pytest.mark.parametrize("due", [timedelta(), timedelta(seconds=10)])
def test_among_the_jobs_of_others_its_own_are_begun_at_once(
    engine: sa.Engine, worker: Idle, router: Router, inbox: Inbox, clock: Clock, due: timedelta
) -> None:
    begun: list[int] = []
    router.on("box:*")(near := lambda event: begun.append(worker.waits))
    near.__qualname__ = "near"
    leave_to_others(engine, inbox, clock, count=50)

    def route_here() -> None:
        row = {"event_id": f"{7:026}", "handler": f"{__name__}.near", "state": "waiting", "due_at": clock() - due}
        with db.writing(engine) as connection:
            connection.execute(sa.insert(jobs), row)

    worker.meanwhile[5 * SECOND] = route_here
    worker.rest(waits=6 * SECOND)
    assert begun == [5 * SECOND]


@pytest.mark.sqlite_only
def test_a_job_of_its_own_that_was_due_long_before_it_was_written_is_begun_in_half_a_minute(
    engine: sa.Engine, worker: Idle, router: Router, inbox: Inbox, clock: Clock
) -> None:
    begun: list[int] = []
    router.on("box:*")(near := lambda event: begun.append(worker.waits))
    near.__qualname__ = "near"
    leave_to_others(engine, inbox, clock, count=50)
    row = {"event_id": f"{7:026}", "handler": f"{__name__}.near", "state": "waiting"}

    def route_here() -> None:
        registry.sign_in(engine, worker._router, clock(), worker="elsewhere")
        with db.writing(engine) as connection:
            connection.execute(sa.insert(jobs), row | {"due_at": clock() - timedelta(hours=1)})

    worker.meanwhile[5 * SECOND] = route_here
    worker.rest(waits=36 * SECOND)
    assert begun
    assert begun[0] <= 35 * SECOND


@pytest.mark.sqlite_only
def test_the_bell_of_a_file_is_quiet_until_somebody_has_written_to_it(
    engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    with doorbell(engine, lambda: None) as bell:
        assert [bell.is_quiet() for _ in range(3)] == [False, True, True]
        arrive(inbox, clock)
        assert [bell.is_quiet() for _ in range(2)] == [False, True]
        store_of(engine).let_go()  # as where another file lies at its path
        assert [bell.is_quiet() for _ in range(3)] == [False, False, True]


@pytest.mark.sqlite_only
def test_a_file_that_cannot_be_opened_is_not_quiet(engine: sa.Engine, tmp_path: Path) -> None:
    (tmp_path / "signalbox.db").unlink()
    with doorbell(engine, lambda: None) as bell:
        assert not bell.is_quiet()
        assert not bell.is_quiet()
