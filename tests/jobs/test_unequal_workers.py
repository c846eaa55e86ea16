"""Workers that have loaded different handlers, or not all of them: nobody misses an event, and nothing fails for it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from receiver.errors import StoreError
from receiver.events import Event
from receiver.inbox.rows import Inbox
from receiver.jobs import registry
from receiver.jobs import store as jobs
from receiver.jobs.routing import BrokenModule, Router
from receiver.jobs.worker import Worker
from receiver.storage.tables import attempts, events, handlers
from receiver.storage.tables import jobs as table
from tests import listings
from tests.installation import Clock, arrive
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.both_databases

ran: list[str] = []
BILL, AUDIT = f"{__name__}.bill", f"{__name__}.audit"


def bill(event: Event) -> None:
    ran.append("bill")


def audit(event: Event) -> None:
    ran.append("audit")


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


class Process:
    """A worker that has loaded packages, signed in as a process does when it starts."""

    def __init__(self, engine: sa.Engine, clock: Clock, name: str, router: Router) -> None:
        self.engine, self.clock, self.name, self.router = engine, clock, name, router
        self.worker = Worker(engine, router, clock=clock)
        registry.sign_in(engine, router, clock(), worker=name)

    def beat(self) -> None:
        registry.attend(self.engine, self.router, self.clock(), worker=self.name)

    def end(self) -> None:
        registry.sign_out(self.engine, self.name, self.clock())


Start = Callable[..., Process]


@pytest.fixture
def start(engine: sa.Engine, clock: Clock) -> Start:
    """Start a worker with a package that connects functions to everything, and of which modules may be broken."""

    def start(package: str, *functions: Callable[[Event], None], broken: str = "", pattern: str = "*") -> Process:
        router = Router()
        router.packages[package] = {package, f"{package}.billing"}
        router.modules = router.packages[package] - {broken}
        if broken:
            router.broken[broken] = BrokenModule(broken, "SyntaxError: no", "Traceback … SyntaxError: no")
        router._loading = package
        for function in functions:
            router.on(pattern, attempts=3)(function)
        router._loading = None
        return Process(engine, clock, package, router)

    return start


def rows(engine: sa.Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(table).order_by(table.c.id)))


def stands(engine: sa.Engine) -> dict[str, tuple[str, int, bool]]:
    """Give of each job its state, its attempts, and whether it has a time to run at."""
    return {row.handler: (row.state, row.attempt, row.due_at is not None) for row in rows(engine)}


def outcomes(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(attempts.c.outcome)).scalars())


WAITS = ("waiting", 0, False)
DONE = ("done", 1, False)


# Handlers that others have


def test_an_event_gets_a_job_for_the_handlers_of_every_worker_whichever_routes_it(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start
) -> None:
    one, two = start("acme", bill), start("beta", audit)
    arrive(inbox, clock)
    one.worker.drain()
    assert (ran, stands(engine)[AUDIT]) == (["bill"], ("waiting", 0, True))
    two.worker.drain()
    assert (ran, outcomes(engine)) == (["bill", "audit"], ["done", "done"])


def test_handlers_of_others_get_what_they_want_and_nothing_else(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start
) -> None:
    start("acme", bill, pattern="filestack:fp.converse")
    two = start("beta", audit, pattern="box:FILE.*")
    arrive(inbox, clock, "filestack", "fp.converse")
    arrive(inbox, clock, "box", "FOLDER.TRASHED")
    two.worker.drain()
    assert [row.handler for row in rows(engine)] == [BILL]


def test_a_worker_leaves_the_jobs_of_others_alone_and_is_not_busy_with_them(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start
) -> None:
    one, _two = start("acme", bill), start("beta", audit)
    arrive(inbox, clock)
    one.worker.drain()
    assert not one.worker.turn()
    newcomer = Worker(engine, one.router, clock=clock)  # which knows of nobody yet
    newcomer.drain()
    assert not newcomer.turn()
    assert stands(engine)[AUDIT] == ("waiting", 0, True)


def test_the_job_of_a_handler_that_is_gone_waits_and_says_so_and_runs_when_a_worker_has_it_again(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start
) -> None:
    one, two = start("acme", bill), start("beta", audit)
    arrive(inbox, clock)
    one.worker.drain()
    two.end()
    clock.pass_by(seconds=20)
    one.beat()
    one.worker.turn()
    one.worker.drain()
    assert stands(engine)[AUDIT] == WAITS
    (job,) = [job for job in listings.list_jobs(engine)["items"] if job["handler"] == AUDIT]
    assert (job["next_attempt_at"], job["waits_for"]) == (None, f"no running worker has loaded {AUDIT}")
    start("beta", audit).worker.drain()
    assert (stands(engine)[AUDIT], ran) == (DONE, ["bill", "audit"])


def test_what_comes_while_a_worker_is_restarted_is_for_its_handlers_too(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start
) -> None:
    start("beta", audit).end()
    one = start("acme", bill)
    arrive(inbox, clock)
    one.worker.drain()
    assert stands(engine)[AUDIT] == WAITS
    start("beta", audit).worker.drain()
    assert stands(engine)[AUDIT] == DONE


def test_a_worker_that_was_taken_for_dead_gets_its_jobs_when_it_is_back(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start
) -> None:
    one, two = start("acme", bill), start("beta", audit)
    clock.pass_by(minutes=2)
    one.beat()
    arrive(inbox, clock)
    one.worker.drain()
    assert stands(engine)[AUDIT] == WAITS
    two.beat()
    two.worker.drain()
    assert stands(engine)[AUDIT] == DONE


def test_a_sign_in_that_is_cut_short_is_made_up_for_by_the_next_sign_of_life(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    start("beta", audit).end()
    one = start("acme", bill)
    arrive(inbox, clock)
    one.worker.drain()

    def fail(*_: object) -> int:
        raise StoreError("away")

    with monkeypatch.context() as patch:
        patch.setattr("receiver.jobs.held._wake", fail)
        with pytest.raises(StoreError):
            start("beta", audit)
    assert stands(engine)[AUDIT] == WAITS
    other = Process(engine, clock, "other", one.router)
    other.beat()
    assert stands(engine)[AUDIT] == WAITS, "it is nothing of theirs"
    two = Process(engine, clock, "beta", _router_of(audit))
    two.worker.drain()
    assert stands(engine)[AUDIT] == DONE


def _router_of(function: Callable[[Event], None]) -> Router:
    router = Router()
    router.on("*")(function)
    return router


def test_a_paused_handler_stays_paused_when_a_worker_signs_in_that_has_it(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start
) -> None:
    start("beta", audit).end()
    one = start("acme", bill)
    arrive(inbox, clock)
    one.worker.drain()
    jobs.pause_handler(engine, AUDIT, clock())
    start("beta", audit).worker.drain()
    assert stands(engine)[AUDIT] == WAITS
    (job,) = [job for job in listings.list_jobs(engine)["items"] if job["handler"] == AUDIT]
    assert job["waits_for"] == f"{AUDIT} is paused"


def test_a_job_that_is_lost_has_the_attempts_of_its_handler_whoever_brings_it_back(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start
) -> None:
    one, two = start("acme", bill), start("beta", audit)
    arrive(inbox, clock)
    one.worker.drain()
    for _ in range(3):
        Worker(engine, two.router, clock=clock).turn()  # which vanishes then
        clock.pass_by(minutes=30)
        one.beat()
        two.beat()
        one.worker.drain()
        clock.pass_by(minutes=1)
    (job,) = [row for row in rows(engine) if row.handler == AUDIT]
    assert (job.state, job.reason) == ("dead", "all 3 attempts are used up")


def test_many_jobs_of_a_handler_that_is_gone_wait_after_a_few_turns(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start
) -> None:
    two = start("beta", audit)
    for number in range(60):
        arrive(inbox, clock, number=number)
    routes = Worker(engine, two.router, clock=clock, threads=0)
    while routes.turn():
        pass
    two.end()
    one = start("acme", bill)
    turns = 0
    while one.worker.turn():
        turns += 1
    assert {(row.state, row.attempt, row.due_at) for row in rows(engine)} == {("waiting", 0, None)}
    assert turns < 5


def test_a_discarded_job_of_a_handler_that_is_gone_stays_discarded(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start
) -> None:
    start("beta", audit).end()
    one = start("acme", bill)
    arrive(inbox, clock)
    one.worker.drain()
    (job,) = [row for row in rows(engine) if row.handler == AUDIT]
    assert jobs.bury(engine, job.id, reason="gone for good")
    start("beta", audit).worker.drain()
    assert stands(engine)[AUDIT] == ("dead", 0, False)


# Modules that do not import


@pytest.mark.parametrize("module", ["acme", "acme.billing"])
def test_what_comes_while_a_module_is_broken_reaches_every_handler_once_all_imports(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start, module: str
) -> None:
    one = start("acme", broken=module)
    arrive(inbox, clock)
    one.worker.drain()
    clock.pass_by(hours=3)
    one.beat()
    one.worker.drain()
    assert stands(engine) == {module: WAITS}
    (job,) = listings.list_jobs(engine)["items"]
    assert job["waits_for"] == f"the module {module} does not import"
    one.end()
    start("acme", bill, audit).worker.drain()
    assert sorted(ran) == ["audit", "bill"]
    assert stands(engine) == {module: DONE, BILL: DONE, AUDIT: DONE}


def test_a_worker_without_the_module_gives_its_events_a_job_that_waits_too(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start
) -> None:
    start("acme", broken="acme.billing")
    other = start("beta", audit)
    arrive(inbox, clock)
    other.worker.drain()
    assert stands(engine) == {AUDIT: DONE, "acme.billing": WAITS}


def test_a_module_that_is_broken_in_a_worker_that_is_away_is_waited_for(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start
) -> None:
    start("acme", broken="acme").end()
    other = start("beta", audit)
    arrive(inbox, clock)
    other.worker.drain()
    other.beat()
    assert stands(engine)["acme"] == WAITS
    start("acme", bill).worker.drain()
    assert (stands(engine)["acme"], ran) == (DONE, ["audit", "bill"])


def test_a_worker_that_had_the_module_before_it_broke_does_not_settle_the_jobs_of_the_new_one(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start
) -> None:
    old = start("acme", bill)
    new = Process(engine, clock, "new", start("acme", broken="acme.billing").router)
    registry.sign_in(engine, old.router, clock(), worker="acme")  # the same worker again, with what it had
    registry.sign_in(engine, new.router, clock(), worker="new")
    arrive(inbox, clock)
    old.worker.drain()
    new.end()
    old.beat()
    assert stands(engine)["acme.billing"] == WAITS
    Process(engine, clock, "new", start("acme", bill, audit).router).worker.drain()
    assert sorted(ran) == ["audit", "bill"]


def test_a_package_that_is_mended_in_part_waits_for_the_rest(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start
) -> None:
    start("acme", broken="acme").end()
    routes = start("beta", audit)
    arrive(inbox, clock)
    routes.worker.drain()
    half = start("acme", broken="acme.billing")
    half.worker.drain()
    assert (stands(engine)["acme"], stands(engine)["acme.billing"]) == (DONE, WAITS)
    half.end()
    start("acme", bill).worker.drain()
    assert (stands(engine)["acme.billing"], stands(engine)[BILL]) == (DONE, DONE)


def test_a_module_that_is_removed_is_no_longer_waited_for_once_its_package_is_whole(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start
) -> None:
    one = start("acme", broken="acme.invoices")
    one.router.packages["acme"].add("acme.invoices")
    one.beat()
    registry.sign_in(engine, one.router, clock(), worker="acme")
    arrive(inbox, clock)
    one.worker.drain()
    one.end()
    start("acme", bill).worker.drain()
    assert stands(engine) == {"acme.invoices": DONE, BILL: DONE}


def test_a_broken_module_whose_package_nobody_loads_is_said_and_can_be_discarded(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start
) -> None:
    start("acme", broken="acme").end()
    other = start("beta", audit)
    arrive(inbox, clock)
    other.worker.drain()
    (found,) = registry.stranded(engine, clock())
    assert (found.name, found.count.number, found.why) == ("acme", 1, "the module acme does not import")
    (job,) = [row for row in rows(engine) if row.handler == "acme"]
    assert jobs.bury(engine, job.id, reason="gone for good")
    assert registry.stranded(engine, clock()) == []


def test_what_the_release_before_made_of_a_broken_module_is_routed_again(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start
) -> None:
    event_id = arrive(inbox, clock)
    jobs.route(engine, [jobs.Routing(event_id, ["acme.billing"])], clock())
    row = {
        "name": "acme.billing",
        "module": "acme.billing",
        "patterns": [],
        "attempts": 10,
        "summary": "",
        "trouble": "no",
    }
    with engine.begin() as connection:
        connection.execute(sa.insert(handlers), row | {"loaded_at": clock()})
    start("acme", bill).worker.drain()
    assert stands(engine) == {"acme.billing": DONE, BILL: DONE}


def test_a_job_in_the_name_of_a_module_that_is_replayed_routes_its_event_again(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start
) -> None:
    one = start("acme", broken="acme")
    arrive(inbox, clock)
    one.worker.drain()
    one.end()
    mended = start("acme", bill)
    mended.worker.drain()
    with engine.begin() as connection:
        connection.execute(sa.delete(table).where(table.c.handler == BILL))
    (job,) = rows(engine)
    jobs.replay_job(engine, job.id, now=clock())
    mended.worker.drain()
    assert (ran, stands(engine)[BILL]) == (["bill", "bill"], DONE)


def test_routing_again_is_all_or_nothing(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = start("acme", broken="acme")
    arrive(inbox, clock)
    one.worker.drain()
    one.end()

    def fail(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if statement.startswith("INSERT INTO attempts"):
            raise StoreError("the process died here")

    sa.event.listen(engine, "before_cursor_execute", fail)
    with pytest.raises(StoreError):
        start("acme", bill)
    sa.event.remove(engine, "before_cursor_execute", fail)
    with engine.connect() as connection:
        assert connection.execute(sa.select(events.c.state)).scalar_one() == "routed"
    assert stands(engine) == {"acme": WAITS}
    start("acme", bill).worker.drain()
    assert (ran, stands(engine)["acme"]) == (["bill"], DONE)


# Two at once, on PostgreSQL: a SQLite file has one writer at a time.


@contextmanager
def halted_at(engine: sa.Engine, beginning: str, work: Callable[[], object]) -> Iterator[None]:
    """Run `work` in a thread up to a statement, and let it end when the block has ended."""
    arrived, go_on = threading.Event(), threading.Event()

    def halt(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if statement.startswith(beginning) and threading.current_thread() is thread:
            arrived.set()
            assert go_on.wait(PATIENCE_SECONDS)

    sa.event.listen(engine, "before_cursor_execute", halt)
    thread = threading.Thread(target=work)
    thread.start()
    assert arrived.wait(PATIENCE_SECONDS)
    try:
        yield
    finally:
        go_on.set()
        thread.join(PATIENCE_SECONDS)
        sa.event.remove(engine, "before_cursor_execute", halt)


def until_somebody_waits_for_a_lock(engine: sa.Engine) -> None:
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

    def count() -> int:
        with engine.connect() as connection:
            return int(connection.execute(waiting).scalar_one())

    until(count, "somebody waits")


@pytest.mark.sqlite_only  # which leaves the choice to the next line
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("beginning", ["UPDATE events", "UPDATE jobs SET due_at"])
def test_a_sign_in_does_not_miss_the_job_that_is_just_being_left_without_a_time(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start, beginning: str
) -> None:
    two = start("beta", audit)
    if beginning == "UPDATE events":
        two.end()
    arrive(inbox, clock)
    one = start("acme", bill)
    if beginning != "UPDATE events":  # routed while the other ran, given back when it does not any more
        Worker(engine, one.router, clock=clock, threads=0).turn()
        two.end()
    newcomer: list[Process] = []
    signing_in = threading.Thread(target=lambda: newcomer.append(start("beta", audit)))
    with halted_at(engine, beginning, one.worker.turn):
        signing_in.start()
        until_somebody_waits_for_a_lock(engine)
    signing_in.join(PATIENCE_SECONDS)
    assert stands(engine)[AUDIT] == ("waiting", 0, True)
    newcomer[0].worker.drain()
    assert stands(engine)[AUDIT] == DONE


@pytest.mark.sqlite_only
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_workers_that_sign_in_give_back_and_route_at_once_lose_nothing(
    engine: sa.Engine, inbox: Inbox, clock: Clock, start: Start
) -> None:
    start("acme", broken="acme").end()
    start("beta", audit).end()  # known from before: who comes for the first time gets nothing that was routed already
    for number in range(40):
        arrive(inbox, clock, number=number)
    errors: list[BaseException] = []

    def work(package: str, function: Callable[[Event], None]) -> None:
        try:
            for _ in range(6):
                process = start(package, function)
                process.worker.drain()
                process.beat()
                process.end()
        except (StoreError, AssertionError, KeyError) as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=one) for one in [("acme", bill), ("beta", audit)] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    last = [start("acme", bill), start("beta", audit)]
    for process in (*last, *last):
        process.worker.drain()
    assert errors == []
    found = [(row.handler, row.state) for row in rows(engine)]
    assert (found.count((BILL, "done")), found.count((AUDIT, "done"))) == (40, 40)
    assert {state for _, state in found} == {"done"}
    assert set(outcomes(engine)) == {"done"}
