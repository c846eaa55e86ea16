"""The threads of a worker: whatever ends one, its job has an attempt with an outcome, and another takes its place."""

import ctypes
import queue
import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from receiver import signals
from receiver.events import Event
from receiver.inbox.rows import Inbox
from receiver.jobs.pool import Crew
from receiver.jobs.routing import Router
from receiver.jobs.store import Claim, Finish
from receiver.jobs.worker import Worker
from receiver.runtime.tracebacks import LIMIT_CHARACTERS
from receiver.storage.tables import attempts, jobs
from tests.installation import Clock, arrive
from tests.runtime.test_tracebacks import NASTY
from tests.waiting import PATIENCE_SECONDS, until

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
THREADS = 8


class Thrown(Exception):
    """What a library for time limits throws into another thread."""


class Thrower:
    """Throws into threads from a thread of its own, a moment of chance after it is asked to."""

    def __init__(self) -> None:
        self._targets: queue.SimpleQueue[threading.Thread | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.asked = 0

    def ask(self) -> None:
        self.asked += 1
        self._targets.put(threading.current_thread())

    def _run(self) -> None:
        while target := self._targets.get():
            threading.Event().wait(random.uniform(0, 0.003))
            # The number of a thread that has ended may be that of another one by now.
            if target.is_alive():
                number = ctypes.c_ulong(target.ident or 0)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(Thrown))

    def end(self) -> None:
        self._targets.put(None)
        self._thread.join(PATIENCE_SECONDS)


@pytest.fixture(autouse=True)
def unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a thread be hit even where it is ending: pytest would take that for its own failure."""
    monkeypatch.setattr(threading, "excepthook", lambda _told: None)
    monkeypatch.setattr(sys, "unraisablehook", lambda _told: None)


@contextmanager
def working(worker: Worker) -> Iterator[Callable[[], list[threading.Thread]]]:
    """Run a worker, and give what gives the threads of its handlers that live."""
    before, stop = set(threading.enumerate()), threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield lambda: [one for one in threading.enumerate() if one not in before and one.name.startswith("handler-")]
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


def states(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(jobs.c.state).order_by(jobs.c.id)).scalars())


def outcomes(engine: sa.Engine) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    with engine.connect() as connection:
        for row in connection.execute(sa.select(attempts).order_by(attempts.c.seq)):
            found.setdefault(row.job_id, []).append(row.outcome)
    return found


def test_thirty_exceptions_thrown_into_threads_about_when_their_handlers_return_leave_nothing_behind(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    thrower = Thrower()

    @router.on("*")
    def is_hit(event: Event) -> None:
        if thrower.asked < 30:
            thrower.ask()

    for number in range(100):
        arrive(inbox, clock, number=number)

    def all_have_ended() -> bool:
        return len(outcomes(engine)) == 100 and "running" not in states(engine)

    def are_done() -> bool:
        # One that was thrown late waits in an idle thread, and hits its next job.
        if all_have_ended():
            clock.pass_by(minutes=1)
        return set(states(engine)) == {"done"}

    with working(Worker(engine, router, threads=THREADS, clock=clock)) as threads:
        until(all_have_ended, "each job has an attempt with an outcome")
        thrower.end()
        until(are_done, "what failed is repeated")
        until(lambda: len(threads()) == THREADS, "all threads live")
    assert set(map(tuple, outcomes(engine).values())) <= {("failed",) * number + ("done",) for number in range(9)}


def test_a_thread_that_ends_in_a_handler_is_replaced_and_its_attempt_says_by_what_it_was_ended(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(_claim: Claim) -> Finish:
        raise Thrown("after the handler")

    @router.on("*")
    def fine(event: Event) -> None: ...

    told: list[str] = []

    def note(_worker: object, error: Exception) -> None:
        told.append(str(error))

    worker = Worker(engine, router, threads=2, clock=clock)
    monkeypatch.setattr(worker._crew, "_attempt", ends)
    arrive(inbox, clock)
    with signals.worker_troubled.connected_to(note), working(worker) as threads:
        until(lambda: states(engine) == ["waiting"] and outcomes(engine), "the attempt has an outcome")
        until(lambda: len(threads()) == 2, "both threads live")
    with engine.connect() as connection:
        (row,) = connection.execute(sa.select(attempts))
    assert row.outcome == "failed"
    assert row.error.startswith("the thread that ran this was ended from outside\nTraceback")
    assert row.error.endswith("Thrown: after the handler\n")
    assert [words.split(" ", 3)[3] for words in told] == [
        "was ended by tests.jobs.test_pool.Thrown: another one took its place"
    ]


@pytest.mark.parametrize("make", NASTY.values(), ids=NASTY.keys())
def test_whatever_a_handler_raises_its_attempt_has_an_outcome_and_a_text_of_some_length(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock, make: Callable[[], BaseException]
) -> None:
    @router.on("*")
    def raises(event: Event) -> None:
        raise make()

    told: list[str] = []

    def note(_worker: object, error: str, **_more: Any) -> None:
        told.append(error)

    arrive(inbox, clock)
    with signals.attempt_finished.connected_to(note):
        Worker(engine, router, clock=clock).drain()
    assert (states(engine), list(outcomes(engine).values())) == (["waiting"], [["failed"]])
    # Before anything else works on it, too: splitting millions of lines holds everybody up.
    length = len(told[0])
    assert 0 < length <= LIMIT_CHARACTERS


# The crew alone


def claim_of(job_id: int) -> Claim:
    return Claim(job_id, "acme.index", 1, 1, NOON, None)  # type: ignore[arg-type]


@pytest.fixture
def ran() -> "queue.SimpleQueue[Claim]":
    return queue.SimpleQueue()


@pytest.fixture
def crew(ran: "queue.SimpleQueue[Claim]") -> Crew:
    def attempt(claim: Claim) -> Finish:
        ran.put(claim)
        return Finish(claim, "done", NOON, None)

    return Crew(attempt)


def end_a_thread(crew: Crew) -> None:
    crew.begun.put(None)
    until(crew.fallen, "a thread has ended")


def test_a_job_that_was_on_its_way_into_a_thread_that_ended_is_run_by_another(
    crew: Crew, ran: "queue.SimpleQueue[Claim]"
) -> None:
    crew.start(1)
    end_a_thread(crew)
    lost, waiting = claim_of(1), claim_of(2)
    crew.add(lost)
    assert crew.begun.get() is lost
    crew.add(waiting)
    falls = crew.replace(crew.fallen(), [])
    assert [fall.held for fall in falls] == [[]]
    assert {ran.get(timeout=PATIENCE_SECONDS).job_id, ran.get(timeout=PATIENCE_SECONDS).job_id} == {1, 2}
    assert not crew.fallen()


def test_a_job_that_is_in_the_queue_twice_is_run_once(crew: Crew, ran: "queue.SimpleQueue[Claim]") -> None:
    claim, last = claim_of(1), claim_of(2)
    crew.add(claim)
    crew.begun.put(claim)
    crew.add(last)
    crew.start(1)
    assert [ran.get(timeout=PATIENCE_SECONDS), ran.get(timeout=PATIENCE_SECONDS)] == [claim, last]


def test_a_job_that_was_given_back_is_not_begun_by_a_thread_that_had_it_in_its_hand(
    crew: Crew, ran: "queue.SimpleQueue[Claim]"
) -> None:
    claim, last = claim_of(1), claim_of(2)
    crew.add(claim)
    assert crew.take_back() == [claim]
    crew.begun.put(claim)
    crew.add(last)
    crew.start(1)
    assert ran.get(timeout=PATIENCE_SECONDS) is last
    crew.forget(claim)
    crew.begun.put(claim)
    crew.add(again := claim_of(1))
    assert ran.get(timeout=PATIENCE_SECONDS) is again


def test_what_a_thread_had_ended_before_it_fell_is_not_ended_twice(crew: Crew) -> None:
    crew.add(claim := claim_of(1))
    crew.start(1)
    finish = crew.ended.get(timeout=PATIENCE_SECONDS)
    assert finish
    assert finish.claim is claim
    end_a_thread(crew)
    assert [fall.held for fall in crew.replace(crew.fallen(), [finish])] == [[]]
    assert crew.begun.empty()
