"""Events are routed and jobs are run: each handler by itself, under a lease, until it is done or dead."""

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast

import pytest
import sqlalchemy as sa

from receiver import signals
from receiver.errors import Discard, NotFoundError, Retry
from receiver.events import Event
from receiver.inbox.rows import Inbox
from receiver.jobs import store as jobs
from receiver.jobs.routing import Router
from receiver.jobs.store import Claim
from receiver.jobs.worker import Worker
from receiver.sources import samples
from receiver.storage.tables import attempts, events
from receiver.storage.tables import jobs as jobs_table
from tests.installation import Clock, arrive
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.both_databases


@pytest.fixture
def worker(engine: sa.Engine, router: Router, clock: Clock) -> Worker:
    return Worker(engine, router, clock=clock)


def all_jobs(engine: sa.Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(jobs_table).order_by(jobs_table.c.id)))


def history(engine: sa.Engine, handler: str) -> list[str]:
    chosen = sa.select(attempts.c.outcome).join(jobs_table, jobs_table.c.id == attempts.c.job_id)
    with engine.connect() as connection:
        ordered = chosen.where(jobs_table.c.handler.endswith(f".{handler}")).order_by(attempts.c.number)
        return list(connection.execute(ordered).scalars())


def state_of(engine: sa.Engine, handler: str) -> str:
    return next(str(job.state) for job in all_jobs(engine) if job.handler.endswith(f".{handler}"))


def test_an_event_becomes_one_job_for_each_handler_and_is_routed(
    engine: sa.Engine, inbox: Inbox, router: Router, worker: Worker, clock: Clock
) -> None:
    seen: list[str] = []

    @router.on("box:FILE.*")
    def first(event: Event) -> None:
        seen.append(f"first {event.type}")

    @router.on("*")
    def second(event: Event) -> None:
        seen.append(f"second {event.type}")

    @router.on("filestack:*")
    def not_this(event: Event) -> None:
        seen.append("not_this")

    arrive(inbox, clock)
    worker.drain()
    assert sorted(seen) == ["first box:FILE.UPLOADED", "second box:FILE.UPLOADED"]
    assert [job.state for job in all_jobs(engine)] == ["done", "done"]
    with engine.connect() as connection:
        assert connection.execute(sa.select(events.c.state)).scalar_one() == "routed"


def test_a_handler_gets_the_whole_event(inbox: Inbox, router: Router, worker: Worker, clock: Clock) -> None:
    got: list[Event] = []
    router.on("*")(got.append)
    event_id = arrive(inbox, clock, "filestack", "fp.converse")
    worker.drain()
    (event,) = got
    assert (event.id, event.source, event.type) == (event_id, "filestack", "filestack:fp.conversion")
    assert (event.name, event.payload["action"], event.attempt) == ("fp.converse", "fp.converse", 1)
    assert event.received_at == clock()
    assert event.body
    assert event.headers["fs-timestamp"]


def test_what_one_handler_does_to_the_payload_no_other_sees(
    inbox: Inbox, router: Router, worker: Worker, clock: Clock
) -> None:
    triggers: list[object] = []

    @router.on("*")
    def destroys(event: Event) -> None:
        triggers.append(event.payload.pop("trigger"))

    @router.on("*")
    def reads(event: Event) -> None:
        triggers.append(event.payload["trigger"])

    arrive(inbox, clock)
    worker.drain()
    assert triggers == ["FILE.UPLOADED", "FILE.UPLOADED"]


def test_each_handler_fails_alone(
    engine: sa.Engine, inbox: Inbox, router: Router, worker: Worker, clock: Clock
) -> None:
    @router.on("*")
    def raises(event: Event) -> None:
        raise ValueError("no")

    @router.on("*")
    def exits(event: Event) -> None:
        raise SystemExit(1)

    @router.on("*")
    def discards(event: Event) -> None:
        raise Discard("not ours")

    @router.on("*")
    def postpones(event: Event) -> None:
        raise Retry(after=timedelta(minutes=3))

    @router.on("*")
    def fine(event: Event) -> None: ...

    arrive(inbox, clock)
    worker.drain()
    outcomes = {name: history(engine, name) for name in ("raises", "exits", "discards", "postpones", "fine")}
    assert outcomes == {
        "raises": ["failed"],
        "exits": ["failed"],
        "discards": ["discarded"],
        "postpones": ["retry"],
        "fine": ["done"],
    }
    assert state_of(engine, "discards") == "dead"
    assert next(job.due_at for job in all_jobs(engine) if "postpones" in job.handler) == clock() + timedelta(minutes=3)


def test_a_failed_job_is_tried_again_when_it_is_due_and_not_before(
    engine: sa.Engine, inbox: Inbox, router: Router, worker: Worker, clock: Clock
) -> None:
    numbers: list[int] = []

    @router.on("*")
    def second_time(event: Event) -> None:
        numbers.append(event.attempt)
        if event.attempt < 2:
            raise ConnectionError

    arrive(inbox, clock)
    worker.drain()
    clock.pass_by(seconds=7)
    worker.drain()
    assert numbers == [1]
    clock.pass_by(seconds=6)
    worker.drain()
    assert numbers == [1, 2]
    assert history(engine, "second_time") == ["failed", "done"]


def test_a_job_that_runs_out_of_attempts_is_dead_and_says_why(
    engine: sa.Engine, inbox: Inbox, router: Router, worker: Worker, clock: Clock
) -> None:
    @router.on("*", attempts=3)
    def never(event: Event) -> None:
        raise ValueError("no")

    arrive(inbox, clock)
    for _ in range(5):
        worker.drain()
        clock.pass_by(days=1)
    (job,) = all_jobs(engine)
    assert (job.state, job.due_at, job.reason) == ("dead", None, "all 3 attempts are used up")
    assert history(engine, "never") == ["failed"] * 3


def test_the_error_kept_begins_at_the_handler(
    engine: sa.Engine, inbox: Inbox, router: Router, worker: Worker, clock: Clock
) -> None:
    @router.on("*")
    def raises(event: Event) -> None:
        raise ValueError("\ud800 and \0")

    arrive(inbox, clock)
    worker.drain()
    with engine.connect() as connection:
        error = connection.execute(sa.select(attempts.c.error)).scalar_one()
    assert error.endswith("ValueError: \\ud800 and \\0\n")
    assert "receiver/jobs/worker.py" not in error


def test_a_dead_letter_that_is_replayed_gets_a_fresh_budget(
    engine: sa.Engine, inbox: Inbox, router: Router, worker: Worker, clock: Clock
) -> None:
    @router.on("*", attempts=2)
    def third_time(event: Event) -> None:
        if event.attempt < 4:
            raise ValueError

    arrive(inbox, clock)
    for _ in range(3):
        worker.drain()
        clock.pass_by(days=1)
    (job,) = all_jobs(engine)
    assert jobs.replay_job(engine, job.id, now=clock()) == 1
    for _ in range(3):
        worker.drain()
        clock.pass_by(days=1)
    assert history(engine, "third_time") == ["failed", "failed", "failed", "done"]


def test_an_event_is_replayed_to_all_its_handlers_and_to_those_that_came_later(
    engine: sa.Engine, inbox: Inbox, router: Router, worker: Worker, clock: Clock
) -> None:
    seen: list[str] = []

    @router.on("*")
    def early(event: Event) -> None:
        seen.append("early")

    event_id = arrive(inbox, clock)
    worker.drain()

    @router.on("*")
    def late(event: Event) -> None:
        seen.append("late")

    assert jobs.replay_event(engine, event_id, handler=None, now=clock()) == 1
    worker.drain()
    assert sorted(seen) == ["early", "early", "late"]


def test_an_event_is_replayed_to_one_handler(
    engine: sa.Engine, inbox: Inbox, router: Router, worker: Worker, clock: Clock
) -> None:
    seen: list[str] = []

    @router.on("*")
    def one(event: Event) -> None:
        seen.append("one")

    @router.on("*")
    def other(event: Event) -> None:
        seen.append("other")

    event_id = arrive(inbox, clock)
    worker.drain()
    name = router.handlers()[0].name
    assert jobs.replay_event(engine, event_id, handler=name, now=clock()) == 1
    worker.drain()
    assert sorted(seen) == ["one", "one", "other"]


def test_an_event_that_is_not_there_cannot_be_replayed(engine: sa.Engine, clock: Clock) -> None:
    with pytest.raises(NotFoundError):
        jobs.replay_event(engine, "01", handler=None, now=clock())


def test_a_job_discarded_by_hand_is_dead_and_is_not_run(
    engine: sa.Engine, inbox: Inbox, router: Router, worker: Worker, clock: Clock
) -> None:
    seen: list[str] = []

    @router.on("*")
    def fails(event: Event) -> None:
        seen.append(event.id)
        raise ValueError

    arrive(inbox, clock)
    worker.drain()
    (job,) = all_jobs(engine)
    assert jobs.bury(engine, job.id, reason="known trouble")
    clock.pass_by(days=1)
    worker.drain()
    assert len(seen) == 1
    assert (all_jobs(engine)[0].state, all_jobs(engine)[0].reason) == ("dead", "known trouble")
    assert jobs.bury(engine, job.id, reason="put away")
    assert not jobs.bury(engine, job.id, reason="twice")


def test_an_event_that_nobody_wants_is_routed_to_nobody(
    engine: sa.Engine, inbox: Inbox, worker: Worker, clock: Clock
) -> None:
    arrive(inbox, clock)
    worker.drain()
    assert all_jobs(engine) == []


def test_drift_is_noted_on_the_event(engine: sa.Engine, inbox: Inbox, worker: Worker, clock: Clock) -> None:
    arrive(inbox, clock, name="SOMETHING.NEW")
    worker.drain()
    with engine.connect() as connection:
        (entry, *_) = connection.execute(sa.select(events.c.drift)).scalar_one()
    assert entry["path"] == "trigger"


@pytest.mark.parametrize("source", ["box", "filestack"])
def test_every_name_that_we_know_is_routed_and_done_without_drift(
    engine: sa.Engine, inbox: Inbox, router: Router, worker: Worker, clock: Clock, source: str
) -> None:
    types: list[str] = []
    router.on(f"{source}:*")(_remember_type_in(types))
    names = samples.names(source)
    for number, name in enumerate(names):
        arrive(inbox, clock, source, name, number)
    worker.drain()
    assert len(types) == len(names)
    assert {job.state for job in all_jobs(engine)} == {"done"}
    with engine.connect() as connection:
        drifting = connection.execute(sa.select(events.c.type, events.c.drift)).all()
    assert [(row.type, row.drift) for row in drifting if row.drift] == []


def _remember_type_in(types: list[str]) -> Any:
    def remember(event: Event) -> None:
        types.append(event.type)

    return remember


def test_a_payload_whose_check_breaks_is_routed_all_the_same(
    engine: sa.Engine, inbox: Inbox, router: Router, worker: Worker, clock: Clock
) -> None:
    @router.on("*")
    def fine(event: Event) -> None: ...

    event_id = arrive(inbox, clock)
    with engine.begin() as connection:
        connection.execute(sa.update(events).values(body=b"no longer JSON"))
    worker.drain()
    assert [(job.event_id, job.state) for job in all_jobs(engine)] == [(event_id, "waiting")]
    assert history(engine, "fine") == ["failed"]


def _remember_in(seen: list[str]) -> Any:
    def remember(event: Event) -> None:
        seen.append(event.id)

    return remember


async def work(event: Event) -> None: ...


def produce(event: Event) -> Iterator[None]:
    yield


async def stream(event: Event) -> AsyncIterator[None]:
    yield


class Later:
    """What somebody would have to wait for."""

    def __await__(self) -> Iterator[None]:
        yield


@pytest.mark.parametrize(
    ("give", "kind"),
    [(work, "coroutine"), (produce, "generator"), (stream, "async_generator"), (lambda event: Later(), "Later")],
)
def test_a_handler_that_returns_what_is_still_to_be_run_has_failed(
    engine: sa.Engine, inbox: Inbox, router: Router, worker: Worker, clock: Clock, give: Any, kind: str
) -> None:
    @router.on("*")
    def passes_on(event: Event) -> object:
        return give(event)

    arrive(inbox, clock)
    worker.drain()
    assert history(engine, "passes_on") == ["failed"]
    with engine.connect() as connection:
        error = connection.execute(sa.select(attempts.c.error)).scalar_one()
    assert error.startswith(f"the handler returned an object of {kind}, which nobody runs: its work is not done")


# Leases, with real threads.


@contextmanager
def working(worker: Worker, grace: timedelta = timedelta(seconds=5)) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,), kwargs={"grace": grace}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=PATIENCE_SECONDS)
        assert not thread.is_alive()


def test_a_handler_that_takes_longer_than_its_lease_is_not_run_twice(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    runs: list[str] = []
    lease = timedelta(seconds=30)

    @router.on("*")
    def slow(event: Event) -> None:
        runs.append(event.id)
        for _ in range(10):  # three leases, and a third
            clock.pass_by(seconds=10)
            until(lambda: all_jobs(engine)[0].due_at == clock() + lease, "its lease is renewed")

    arrive(inbox, clock)
    workers = [Worker(engine, router, lease=lease, clock=clock) for _ in range(2)]
    with working(workers[0]), working(workers[1]):
        until(lambda: [job.state for job in all_jobs(engine)] == ["done"], "the job is done")
    assert len(runs) == 1
    assert history(engine, "slow") == ["done"]


def test_what_is_claimed_behind_a_handler_that_hangs_is_left_to_another_worker(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    ran: list[str] = []
    router.on("*")(_remember_in(ran))
    for number in range(3):
        arrive(inbox, clock, number=number)
    hanging = Worker(engine, router, clock=clock, threads=1)
    hanging.turn()
    hanging._ended.put(hanging.attempt(cast(Claim, hanging._begun.get())))
    hanging.turn()  # one ended, so it takes one more than its thread can run
    hung = cast(Claim, hanging._begun.get())
    other = Worker(engine, router, clock=clock)
    other.drain()
    assert len(ran) == 1

    clock.pass_by(seconds=2)
    hanging.turn()
    other.drain()
    assert len(ran) == 2
    held = {job.id: (job.state, job.attempt) for job in all_jobs(engine)}
    assert held.pop(hung.job_id) == ("running", 1)
    assert set(held.values()) == {("done", 1)}


def test_a_handler_that_hangs_keeps_no_other_from_running(engine: sa.Engine, inbox: Inbox, router: Router) -> None:
    release = threading.Event()

    @router.on("*")
    def hangs(event: Event) -> None:
        release.wait(PATIENCE_SECONDS)

    @router.on("*")
    def quick(event: Event) -> None: ...

    for number in range(3):
        arrive(inbox, Clock(), number=number)
    with working(Worker(engine, router, threads=4)):
        until(lambda: history(engine, "quick") == ["done"] * 3, "the quick jobs are done")
        release.set()


def test_a_job_whose_worker_vanished_is_run_by_another_and_the_loss_is_in_its_history(
    engine: sa.Engine, inbox: Inbox, router: Router, worker: Worker, clock: Clock
) -> None:
    @router.on("*")
    def fine(event: Event) -> None: ...

    arrive(inbox, clock)
    vanished = Worker(engine, router, clock=clock)
    vanished.turn()
    assert [job.state for job in all_jobs(engine)] == ["running"]
    clock.pass_by(seconds=29)
    worker.drain()
    assert [job.state for job in all_jobs(engine)] == ["running"]
    clock.pass_by(seconds=2)
    worker.drain()
    assert history(engine, "fine") == ["lost", "done"]


def test_the_lease_of_a_job_that_is_held_again_outlasts_the_end_of_its_first_attempt(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    router.on("*")(lambda event: None)
    arrive(inbox, clock)
    holder = Worker(engine, router, clock=clock, threads=2)
    holder.turn()
    first = cast(Claim, holder._begun.get())
    (job,) = all_jobs(engine)
    jobs.bury(engine, job.id, reason="it hangs")
    jobs.replay_job(engine, job.id, now=clock())
    holder.turn()
    second = cast(Claim, holder._begun.get())
    holder._ended.put(holder.attempt(first))
    for _ in range(4):
        clock.pass_by(seconds=15)
        holder.turn()
    assert (second.attempt, holder._begun.empty()) == (2, True)
    (job,) = all_jobs(engine)
    assert (job.state, job.attempt) == ("running", 2)


class BrokenRetry(Retry):
    """Forgets to call what it is made of."""

    def __init__(self, why: str) -> None:
        self.why = why


class BrokenWish(Retry):
    """Wishes for no span of time."""

    def __init__(self) -> None:
        super().__init__(after=timedelta(0))
        self.after = "soon"  # type: ignore[assignment]


class BrokenDiscard(Discard):
    """Cannot say why."""

    def __str__(self) -> str:
        raise SystemExit(self.args[0])


@pytest.mark.parametrize(
    "error", [BrokenRetry("later"), BrokenWish(), BrokenDiscard("no")], ids=lambda one: type(one).__name__
)
def test_an_error_that_is_broken_itself_is_a_failure_like_any_other(
    engine: sa.Engine, inbox: Inbox, router: Router, worker: Worker, clock: Clock, error: Exception
) -> None:
    @router.on("*")
    def breaks(event: Event) -> None:
        raise error

    @router.on("*")
    def fine(event: Event) -> None: ...

    arrive(inbox, clock)
    worker.drain()
    assert (history(engine, "breaks"), state_of(engine, "breaks")) == (["failed"], "waiting")
    assert history(engine, "fine") == ["done"]


def test_what_a_worker_finishes_after_its_lease_was_lost_counts_for_nothing(
    engine: sa.Engine, inbox: Inbox, router: Router, worker: Worker, clock: Clock
) -> None:
    outcomes: list[str] = []

    def note(_sender: object, **told: Any) -> None:
        outcomes.append(told["outcome"])

    @router.on("*")
    def fine(event: Event) -> None: ...

    arrive(inbox, clock)
    late = Worker(engine, router, clock=clock)
    late.turn()
    begun = cast(Claim, late._begun.get())
    clock.pass_by(minutes=1)
    worker.drain()
    late._ended.put(late.attempt(begun))
    with signals.attempt_finished.connected_to(note):
        late.drain()
    assert outcomes == ["outlived"]
    assert history(engine, "fine") == ["lost", "done"]


def test_a_worker_that_is_told_to_stop_gives_back_what_still_runs(
    engine: sa.Engine, inbox: Inbox, router: Router
) -> None:
    release = threading.Event()

    @router.on("*")
    def hangs(event: Event) -> None:
        release.wait(PATIENCE_SECONDS)

    arrive(inbox, Clock())
    with working(Worker(engine, router), grace=timedelta(0)):
        until(lambda: [job.state for job in all_jobs(engine)] == ["running"], "the job runs")
    assert [job.state for job in all_jobs(engine)] == ["waiting"]
    assert history(engine, "hangs") == ["lost"]
    release.set()


def test_a_worker_goes_on_after_the_database_was_away(engine: sa.Engine, inbox: Inbox, router: Router) -> None:
    @router.on("*")
    def fine(event: Event) -> None: ...

    troubles: list[str] = []

    def note(_sender: object, error: Exception) -> None:
        troubles.append(str(error))

    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE jobs RENAME TO away")
    with signals.worker_troubled.connected_to(note), working(Worker(engine, router)):
        until(lambda: troubles, "the trouble is told")
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE away RENAME TO jobs")
        arrive(inbox, Clock())
        until(lambda: history(engine, "fine") == ["done"], "the job is done")


def test_jobs_that_were_claimed_but_not_begun_when_the_worker_stops_are_as_if_never_claimed(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    @router.on("*")
    def fine(event: Event) -> None: ...

    arrive(inbox, clock)
    stopping = Worker(engine, router, clock=clock)
    stopping.turn()
    stop = threading.Event()
    stop.set()
    stopping._threads = 0  # nobody begins what is claimed
    stopping.run(stop)
    (job,) = all_jobs(engine)
    assert (job.state, job.attempt, history(engine, "fine")) == ("waiting", 0, [])


def test_quick_jobs_are_claimed_in_batches_that_grow_and_slow_ones_one_for_a_thread(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    @router.on("*")
    def fine(event: Event) -> None: ...

    for number in range(60):
        arrive(inbox, clock, number=number)
    worker = Worker(engine, router, clock=clock, threads=4)
    sizes = []
    while worker.turn():
        sizes.append(worker._begun.qsize())
        while not worker._begun.empty():
            claim = worker._begun.get()
            assert claim is not None
            worker._ended.put(worker.attempt(claim))
    assert sizes[:4] == [4, 8, 12, 16]
    assert {job.state for job in all_jobs(engine)} == {"done"}
