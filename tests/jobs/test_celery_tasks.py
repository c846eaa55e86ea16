"""Through Celery: what is handed over, in which messages and to which queue, and how jobs run on the other side."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from queue import Empty
from typing import Any

import pytest
import sqlalchemy as sa
from celery.exceptions import SoftTimeLimitExceeded
from kombu.exceptions import OperationalError

from receiver import signals
from receiver.errors import Discard, Retry, StoreError
from receiver.events import Event
from receiver.inbox.rows import Inbox
from receiver.jobs import celery_tasks, dispatch, registry
from receiver.jobs import store as jobs
from receiver.jobs.celery_tasks import LEAST_HANDED, MERCY, QUEUE, TASK, Dispatcher, Keeper, Runner, make_celery, serve
from receiver.jobs.routing import Router
from receiver.jobs.worker import Worker
from receiver.storage.tables import attempts
from receiver.storage.tables import jobs as table
from tests.installation import Clock, arrive
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.both_databases

LEASE = timedelta(seconds=30)


class Broker:
    """Takes what is sent, up to so many messages, and refuses the rest."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, list[tuple[int, int]], dict[str, float]]] = []
        self.takes = 1_000_000

    @contextmanager
    def producer_or_acquire(self) -> Iterator[None]:
        yield

    def send_task(self, _name: str, arguments: Any, *, queue: str, producer: None, **limits: float) -> None:
        if len(self.messages) >= self.takes:
            raise OperationalError("away")
        self.messages.append((queue, arguments[0], limits))

    def sent(self) -> list[int]:
        return [job_id for _queue, handed, _limits in self.messages for job_id, _attempt in handed]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    monkeypatch.setattr(celery_tasks, "LOOK_SECONDS", 0)
    return Broker()


@pytest.fixture
def runner(engine: sa.Engine, router: Router, clock: Clock) -> Runner:
    return Runner(engine, router, clock=clock)


def dispatcher_of(engine: sa.Engine, router: Router, broker: Any, clock: Clock) -> Dispatcher:
    return Dispatcher(engine, router, broker, clock=clock)


def rows(engine: sa.Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(table).order_by(table.c.id)))


def outcomes(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(attempts.c.outcome).order_by(attempts.c.seq)).scalars())


def handed(engine: sa.Engine, clock: Clock) -> dict[int, int]:
    """Hand everything over that is due, as a dispatcher would, and give what the messages would say."""
    until = clock() + 2 * LEASE
    found = dispatch.hand_over(engine, limit=100, now=clock(), until=until, of=sa.true())
    return {one.job_id: one.attempt for one in found}


def route(engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock, count: int = 1) -> None:
    """Keep and route events, and run nothing."""
    for number in range(count):
        arrive(inbox, clock, number=number)
    nobody = Worker(engine, router, clock=clock, threads=0)
    while nobody.turn():
        pass


# The dispatcher


def test_a_dispatcher_routes_and_hands_over_and_runs_nothing_itself(
    engine: sa.Engine, inbox: Inbox, router: Router, broker: Broker, clock: Clock
) -> None:
    ran: list[str] = []

    @router.on("*")
    def note(event: Event) -> None:
        ran.append(event.id)

    arrive(inbox, clock)
    dispatcher_of(engine, router, broker, clock).turn()
    (job,) = rows(engine)
    assert broker.messages == [(QUEUE, [(job.id, 0)], {})]
    assert (job.state, job.due_at, ran) == ("waiting", clock() + 2 * LEASE, [])


def test_a_handler_with_a_queue_of_its_own_gets_its_jobs_there(
    engine: sa.Engine, inbox: Inbox, router: Router, broker: Broker, clock: Clock
) -> None:
    @router.on("*", queue="slow")
    def slow(event: Event) -> None: ...

    @router.on("*")
    def usual(event: Event) -> None: ...

    arrive(inbox, clock)
    dispatcher_of(engine, router, broker, clock).turn()
    names = {row.id: row.handler.rpartition(".")[2] for row in rows(engine)}
    found = {names[job_id]: queue for queue, [(job_id, _)], _ in broker.messages}
    assert found == {"slow": "slow", "usual": QUEUE}


def test_a_handler_that_asks_for_the_usual_queue_shares_it(
    engine: sa.Engine, inbox: Inbox, router: Router, broker: Broker, clock: Clock
) -> None:
    @router.on("*", queue=QUEUE)
    def asks(event: Event) -> None: ...

    @router.on("*")
    def usual(event: Event) -> None: ...

    arrive(inbox, clock)
    dispatcher_of(engine, router, broker, clock).turn()
    assert [queue for queue, _, _ in broker.messages] == [QUEUE, QUEUE]


def test_a_time_limit_travels_with_the_job_which_then_travels_alone(
    engine: sa.Engine, inbox: Inbox, router: Router, broker: Broker, clock: Clock
) -> None:
    @router.on("*", time_limit=timedelta(minutes=2))
    def limited(event: Event) -> None: ...

    @router.on("*")
    def usual(event: Event) -> None: ...

    dispatcher = dispatcher_of(engine, router, broker, clock)
    many_at_once(dispatcher, inbox, clock)
    limits = {"soft_time_limit": 120, "time_limit": 120 + MERCY.total_seconds()}
    ids = {row.id for row in rows(engine) if row.handler.endswith(".limited")}
    assert ids
    for _queue, message, found in broker.messages:
        is_limited = not ids.isdisjoint(job_id for job_id, _ in message)
        assert (found, len(message) == 1) == (limits, True) if is_limited else found == {}


def many_at_once(dispatcher: Dispatcher, inbox: Inbox, clock: Clock) -> None:
    """Let many jobs come after a time in which they were taken quickly."""
    for line in dispatcher._lines:
        line._pace = 5000
    for number in range(200):
        arrive(inbox, clock, number=number)
    dispatcher.turn()


def test_quick_jobs_travel_together_but_are_spread_over_several_messages(
    engine: sa.Engine, inbox: Inbox, router: Router, broker: Broker, clock: Clock
) -> None:
    router.on("*")(print)
    dispatcher = dispatcher_of(engine, router, broker, clock)
    many_at_once(dispatcher, inbox, clock)
    assert [len(message) for _, message, _ in broker.messages] == [25] * 8


def test_no_more_than_a_window_of_jobs_is_with_the_broker_while_nobody_takes_any(
    engine: sa.Engine, inbox: Inbox, router: Router, broker: Broker, clock: Clock
) -> None:
    router.on("*")(print)
    for number in range(LEAST_HANDED + 20):
        arrive(inbox, clock, number=number)
    dispatcher = dispatcher_of(engine, router, broker, clock)
    for _ in range(4):
        dispatcher.turn()
    assert len(broker.sent()) == LEAST_HANDED


def test_the_window_grows_with_how_quickly_jobs_are_taken(
    engine: sa.Engine,
    inbox: Inbox,
    router: Router,
    broker: Broker,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The pace is measured: on a slow machine it has to do for longer.
    monkeypatch.setattr(celery_tasks, "HANDED_AHEAD_SECONDS", PATIENCE_SECONDS)
    router.on("*")(print)
    for number in range(LEAST_HANDED):
        arrive(inbox, clock, number=number)
    dispatcher = dispatcher_of(engine, router, broker, clock)
    (line,) = dispatcher._lines
    dispatcher.turn()
    assert line.free == 0
    dispatch.take(engine, dict.fromkeys(broker.sent(), 0), worker="w", now=clock(), lease=LEASE)
    arrive(inbox, clock, number=LEAST_HANDED)
    dispatcher.turn()
    assert line.free > LEAST_HANDED


def test_jobs_that_the_broker_lost_are_handed_over_again_when_they_are_due_again(
    engine: sa.Engine, inbox: Inbox, router: Router, broker: Broker, clock: Clock
) -> None:
    router.on("*")(print)
    for number in range(LEAST_HANDED):
        arrive(inbox, clock, number=number)
    dispatcher = dispatcher_of(engine, router, broker, clock)
    dispatcher.turn()
    lost = broker.sent()
    broker.messages.clear()
    dispatcher.turn()
    assert broker.sent() == []
    clock.pass_by(seconds=60)
    dispatcher.turn()
    assert broker.sent() == lost


def test_a_broker_that_is_away_loses_nothing_and_is_told_of(
    engine: sa.Engine, inbox: Inbox, router: Router, broker: Broker, clock: Clock
) -> None:
    router.on("*")(print)
    for number in range(3):
        arrive(inbox, clock, number=number)
    dispatcher = dispatcher_of(engine, router, broker, clock)
    broker.takes = 1
    with pytest.raises(StoreError, match="the broker did not take jobs: OperationalError: away"):
        dispatcher.turn()
    assert [row.due_at for row in rows(engine)] == [clock() + 2 * LEASE, clock(), clock()]
    with pytest.raises(StoreError):
        dispatcher.turn()
    broker.takes = 10
    dispatcher.turn()
    assert broker.sent() == [row.id for row in rows(engine)]


def test_a_dispatcher_goes_on_after_the_broker_was_away(
    engine: sa.Engine, inbox: Inbox, router: Router, broker: Broker
) -> None:
    router.on("*")(print)
    broker.takes = 0
    troubles: list[str] = []

    def note(_sender: object, error: Exception) -> None:
        troubles.append(str(error))

    stop = threading.Event()
    dispatcher = Dispatcher(engine, router, broker)
    thread = threading.Thread(target=dispatcher.run, args=(stop,), daemon=True)
    with signals.worker_troubled.connected_to(note):
        thread.start()
        arrive(inbox, Clock())
        until(lambda: troubles, "the trouble is told")
        broker.takes = 1
        until(lambda: len(broker.messages) == 1, "the job is handed over")
        stop.set()
        dispatcher.wake()
        thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()


# The broker's own: kombu's, in memory


def test_a_message_carries_numbers_only_and_runs_the_job_on_the_other_side(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    ran: list[str] = []

    @router.on("*")
    def note(event: Event) -> None:
        ran.append(event.id)

    carried: list[Any] = []
    app = make_celery("memory://")
    begun: list[Runner] = []

    def begin() -> Runner:
        begun.append(Runner(engine, router, clock=clock))
        return begun[-1]

    serve(app, begin)
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue(QUEUE)
        queue.clear()
        accepted = [arrive(inbox, clock, number=number) for number in range(2)]
        dispatcher_of(engine, router, app, clock).turn()
        with suppress(Empty):
            while True:
                message = queue.get_nowait()
                (arguments, _named, _more) = json.loads(message.body)
                carried += arguments
                app.tasks[TASK](*arguments)
                message.ack()
        queue.close()
    assert carried == [[[row.id, 0]] for row in rows(engine)]
    assert ran == accepted
    assert len(begun) == 1, "a process has one runner"
    assert outcomes(engine) == ["done", "done"]


# The runner


def test_a_runner_runs_each_job_of_a_message_and_writes_how_it_ended(
    engine: sa.Engine, inbox: Inbox, router: Router, runner: Runner, clock: Clock
) -> None:
    router.on("*")(print)
    route(engine, inbox, router, clock, count=3)
    runner.run(handed(engine, clock))
    assert [(row.state, row.attempt, row.worker) for row in rows(engine)] == [("done", 1, None)] * 3


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), SoftTimeLimitExceeded(), MemoryError()])
def test_a_handler_that_raises_anything_has_failed_and_takes_no_other_job_of_its_message_down(
    engine: sa.Engine, inbox: Inbox, router: Router, runner: Runner, clock: Clock, error: BaseException
) -> None:
    @router.on("*")
    def breaks(event: Event) -> None:
        raise error

    @router.on("*")
    def fine(event: Event) -> None: ...

    route(engine, inbox, router, clock)
    runner.run(handed(engine, clock))
    assert {row.handler.rpartition(".")[2]: row.state for row in rows(engine)} == {"breaks": "waiting", "fine": "done"}
    assert sorted(outcomes(engine)) == ["done", "failed"]


def test_a_handler_may_ask_for_a_later_run_or_for_none(
    engine: sa.Engine, inbox: Inbox, router: Router, runner: Runner, clock: Clock
) -> None:
    @router.on("*")
    def discards(event: Event) -> None:
        raise Discard("not ours")

    @router.on("*")
    def postpones(event: Event) -> None:
        raise Retry(after=timedelta(minutes=3))

    route(engine, inbox, router, clock)
    runner.run(handed(engine, clock))
    assert {(row.state, row.due_at, row.reason) for row in rows(engine)} == {
        ("dead", None, "not ours"),
        ("waiting", clock() + timedelta(minutes=3), None),
    }


def test_a_process_of_celerys_tells_how_each_attempt_ended(
    engine: sa.Engine, inbox: Inbox, router: Router, runner: Runner, clock: Clock
) -> None:
    told: list[tuple[int, str]] = []

    def note(_sender: object, **about: Any) -> None:
        told.append((about["job_id"], about["outcome"]))

    router.on("*")(print)
    route(engine, inbox, router, clock, count=2)
    with signals.attempt_finished.connected_to(note):
        runner.run(handed(engine, clock))
    assert told == [(row.id, "done") for row in rows(engine)]


def test_a_message_that_comes_late_or_twice_runs_nothing(
    engine: sa.Engine, inbox: Inbox, router: Router, runner: Runner, clock: Clock
) -> None:
    seen: list[int] = []
    router.on("*")(lambda event: seen.append(event.attempt))
    route(engine, inbox, router, clock)
    message = handed(engine, clock)
    runner.run(message)
    runner.run(message)
    assert (seen, outcomes(engine)) == ([1], ["done"])


def test_the_lease_of_a_job_is_kept_for_as_long_as_its_handler_runs(
    engine: sa.Engine, inbox: Inbox, router: Router
) -> None:
    release = threading.Event()

    @router.on("*")
    def lasts(event: Event) -> None:
        release.wait(PATIENCE_SECONDS)

    now = Clock()
    route(engine, inbox, router, now)
    real = Runner(engine, router, lease=timedelta(seconds=0.3))
    thread = threading.Thread(target=real.run, args=(handed(engine, now),), daemon=True)
    thread.start()
    until(lambda: rows(engine)[0].state == "running", "the job runs")
    first = rows(engine)[0].due_at
    until(lambda: rows(engine)[0].due_at > first + timedelta(seconds=0.5), "its lease is renewed")
    release.set()
    thread.join(PATIENCE_SECONDS)
    assert outcomes(engine) == ["done"]


def test_a_job_that_is_lost_and_comes_back_to_the_same_process_keeps_its_second_lease(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    router.on("*")(print)
    route(engine, inbox, router, clock)
    message = handed(engine, clock)
    first = dispatch.take(engine, message, worker="w", now=clock(), lease=LEASE)
    clock.pass_by(minutes=1)
    jobs.recover(engine, now=clock(), chance=0, policy_of=lambda _name: router.handlers()[0].policy)
    second = dispatch.take(engine, handed(engine, clock), worker="w", now=clock(), lease=LEASE)
    renewed: list[list[jobs.Claim]] = []
    keeper = Keeper(renewed.append, every=timedelta(milliseconds=1))
    with keeper.keeping(second):
        with keeper.keeping(first):
            until(lambda: renewed, "leases are renewed")
        renewed.clear()
        until(lambda: len(renewed) > 1, "leases are renewed again")
        assert renewed[-1] == second


def test_what_is_thrown_in_after_a_handler_is_a_failed_attempt(
    engine: sa.Engine, inbox: Inbox, router: Router, runner: Runner, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def comes_late(_claim: jobs.Claim) -> jobs.Finish:
        raise SoftTimeLimitExceeded

    router.on("*")(print)
    route(engine, inbox, router, clock)
    monkeypatch.setattr(runner._worker, "attempt", comes_late)
    runner.run(handed(engine, clock))
    assert (rows(engine)[0].state, outcomes(engine)) == ("waiting", ["failed"])


def test_leases_are_kept_by_a_new_thread_where_the_last_one_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _told: None)
    renewed: list[int] = []

    def renew(_claims: list[jobs.Claim]) -> None:
        renewed.append(1)
        if len(renewed) == 1:
            raise SystemExit

    keeper = Keeper(renew, every=timedelta(milliseconds=1))
    claim = jobs.Claim(1, "acme.index", 1, 1, Clock()(), None)  # type: ignore[arg-type]
    with keeper.keeping([claim]):
        until(lambda: keeper._thread and not keeper._thread.is_alive(), "the thread has ended")
    with keeper.keeping([claim]):
        until(lambda: len(renewed) > 1, "leases are renewed again")


def test_what_ended_while_the_database_was_away_is_written_when_it_is_back(
    engine: sa.Engine, inbox: Inbox, router: Router, runner: Runner, clock: Clock
) -> None:
    is_away = threading.Event()

    @router.on("*")
    def fine(event: Event) -> None:
        _rename(engine, "attempts", "away")
        is_away.set()

    route(engine, inbox, router, clock)
    thread = threading.Thread(target=runner.run, args=(handed(engine, clock),), daemon=True)
    thread.start()
    assert is_away.wait(PATIENCE_SECONDS)
    _rename(engine, "away", "attempts")
    thread.join(PATIENCE_SECONDS)
    assert outcomes(engine) == ["done"]


def test_a_job_whose_end_cannot_be_written_comes_back_when_its_lease_is_over(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    @router.on("*")
    def fine(event: Event) -> None:
        if event.attempt == 1:
            _rename(engine, "attempts", "away")

    route(engine, inbox, router, clock)
    impatient = Runner(engine, router, clock=clock, lease=timedelta(milliseconds=1))
    with pytest.raises(StoreError):
        impatient.run(handed(engine, clock))
    _rename(engine, "away", "attempts")
    clock.pass_by(seconds=1)
    Worker(engine, router, clock=clock).drain()
    assert outcomes(engine) == ["lost", "done"]


def _rename(engine: sa.Engine, name: str, new: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {name} RENAME TO {new}")


def test_a_job_whose_handler_this_process_lacks_comes_again_later_without_using_an_attempt(
    engine: sa.Engine, inbox: Inbox, router: Router, runner: Runner, clock: Clock
) -> None:
    elsewhere = Router()
    elsewhere.on("*")(print)
    registry.sign_in(engine, elsewhere, clock(), worker="one")
    route(engine, inbox, elsewhere, clock)
    runner.run(handed(engine, clock))
    (row,) = rows(engine)
    assert (row.state, row.attempt, row.due_at, outcomes(engine)) == ("waiting", 0, clock() + LEASE / 3, [])
    clock.pass_by(seconds=10)
    Runner(engine, elsewhere, clock=clock).run(handed(engine, clock))
    assert outcomes(engine) == ["done"]


def test_a_job_whose_handler_nobody_has_waits_without_a_time(
    engine: sa.Engine, inbox: Inbox, router: Router, runner: Runner, clock: Clock
) -> None:
    event_id = arrive(inbox, clock)
    jobs.route(engine, [jobs.Routing(event_id, ["handlers.gone.away"])], clock())
    runner.run(handed(engine, clock))
    (row,) = rows(engine)
    assert (row.state, row.attempt, row.due_at, outcomes(engine)) == ("waiting", 0, None, [])


def test_a_dispatcher_gives_events_to_the_handlers_of_other_workers_and_hands_over_its_own(
    engine: sa.Engine, inbox: Inbox, router: Router, broker: Broker, clock: Clock
) -> None:
    elsewhere = Router()
    elsewhere.on("*")(print)
    registry.sign_in(engine, elsewhere, clock(), worker="one")

    @router.on("*")
    def own(event: Event) -> None: ...

    arrive(inbox, clock)
    dispatcher = dispatcher_of(engine, router, broker, clock)
    for _ in range(3):
        dispatcher.turn()
    names = {row.id: row.handler for row in rows(engine)}
    assert sorted(names.values()) == ["builtins.print", router.handlers()[0].name]
    assert [names[job_id] for job_id in broker.sent()] == [router.handlers()[0].name]
    assert {row.attempt for row in rows(engine)} == {0}
