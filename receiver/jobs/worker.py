"""The loop that routes events and runs due jobs: every handler by itself, under a lease, in a pool of threads."""

import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from ulid_transform import ulid_now

from receiver import signals
from receiver.errors import StoreError, WorkerError
from receiver.events import Headers
from receiver.jobs import reports
from receiver.jobs import store as jobs
from receiver.jobs.doorbell import Doorbell, doorbell
from receiver.jobs.idle import Clear, Rest
from receiver.jobs.loaded import Registry
from receiver.jobs.pool import Crew
from receiver.jobs.retry import Dead, Policy, decide
from receiver.jobs.routing import Router
from receiver.jobs.run import event_of, run
from receiver.jobs.store import Claim, Finish, Routing
from receiver.runtime import redaction, tracebacks
from receiver.runtime.watchdog import Watchdog
from receiver.sources import SOURCES

ROUTE_AT_ONCE = 200
CLAIM_AT_MOST = 200
POLL = timedelta(milliseconds=20)
GATHER = timedelta(milliseconds=3)
TEND = timedelta(milliseconds=250)  # how often threads and leases are checked here while nothing else happens
PAUSE_IN_TROUBLE = timedelta(seconds=1)
LOOK_AROUND = timedelta(seconds=10)  # how often it checks that the workers whose jobs it leaves alone still live
MOMENT = timedelta(seconds=1)  # how long a job may be kept from other workers before a thread here begins it


def utc_now() -> datetime:
    return datetime.now(UTC)


class Worker:
    """Routes events and runs jobs until it is asked to stop; any number of workers share one database.

    `lease` is how long the jobs of a killed worker wait before they are retried; while a handler runs, its lease is
    renewed, however long it takes. `clock` returns the time, aware and in UTC. `watchdog` ends the process if the
    worker's loop hangs.
    """

    def __init__(
        self,
        engine: sa.Engine,
        router: Router,
        *,
        threads: int = 8,
        lease: timedelta = timedelta(seconds=30),
        clock: Callable[[], datetime] = utc_now,
        watchdog: Watchdog | None = None,
    ) -> None:
        self.id = ulid_now()
        self._engine = engine
        self._router = router
        self._registry = Registry(router)
        self._threads = threads
        self._lease = lease
        self._clock = clock
        self._watchdog = watchdog
        self._crew = Crew(self.attempt)
        self._running, self._begun, self._ended = self._crew.running, self._crew.begun, self._crew.ended
        self._renew_at = clock()
        self._claimed_at = clock()
        self._unwritten: list[Finish] = []
        self._pace = 0
        self._rest, self._clear = Rest(clock), Clear()
        self._tend_every = min(TEND, lease / 10, TEND if watchdog is None else watchdog.pause)

    def run(self, stop: threading.Event, *, grace: timedelta = timedelta(seconds=20)) -> None:
        """Work until `stop` is set; then wait `grace` for running jobs, and release the rest.

        WorkerError if this process cannot go on: its jobs are retried when their leases end.
        """
        self._start_threads()
        with doorbell(self._engine, self.wake) as bell:
            while not stop.is_set():
                self._turn_and_rest(stop, bell)
        self._wind_up(grace)

    def wake(self) -> None:
        """End a rest at once; a signal handler must call this.

        In CPython 3.11 `SimpleQueue.get` with a timeout waits for ever if a signal arrives just as the timeout ends.
        """
        self._rest.call()
        self._ended.put(None)

    def _turn_and_rest(self, stop: threading.Event, bell: Doorbell) -> None:
        try:
            busy = self._tend()
            if self._rest.is_over(bell) or busy:
                busy |= self._act()
        except StoreError as error:
            self._pat()  # if the database's files are gone, no waiting helps
            signals.worker_troubled.send(self, error=error)
            stop.wait(PAUSE_IN_TROUBLE.total_seconds())
        else:
            if self._running or not busy:
                self._wait(bell)

    def _wait(self, bell: Doorbell) -> None:
        """Wait for an attempt to end or for new work, but no longer than running jobs may go unchecked."""
        until = time.monotonic() + self._tend_every.total_seconds()
        while True:
            self._collect(POLL)
            if self._unwritten or self._rest.is_over(bell) or time.monotonic() >= until:
                return

    def drain(self) -> None:
        """Work until nothing is due, as a test or a script needs it. Handlers run one at a time, in this thread."""
        self._threads = 1
        while self.turn() or not self._begun.empty():
            while not self._begun.empty():
                claim = self._begun.get()
                if claim is not None:
                    self._ended.put(self.attempt(claim))

    def turn(self) -> bool:
        """Write results, renew leases, route new events, begin due jobs; return whether there was anything to do."""
        busy = self._tend()
        return self._act() or busy

    def _tend(self) -> bool:
        """Check threads and leases, write results; return whether any attempt has ended. It queries nothing."""
        self._pat()
        self._look_after_threads()
        busy = self._record() > 0
        self._let_go()
        self._keep_alive()
        return busy

    def _act(self) -> bool:
        self._rest.end()
        now, elsewhere, busy = self._clock(), self._registry.elsewhere, False
        after = self._clear.until(now, elsewhere)
        due = jobs.look(self._engine, now, elsewhere=elsewhere, after=after)
        if not due.waiting:
            self._clear.note(now, elsewhere, is_whole=after is None)
        if due.unrouted:
            busy |= self._route() > 0
        if due.lost:
            busy |= self._recover() > 0
        if due.waiting or due.unrouted or due.lost:
            busy |= self._begin() > 0
        self._registry.refresh(self._engine, self._clock(), every=LOOK_AROUND)
        if not busy and not (due.unrouted or due.lost or (due.waiting and self._has_room())):
            self._rest.begin(now, until=due.next_at)
        return busy

    def _has_room(self) -> bool:
        return self._free() > 0

    def _start_threads(self) -> None:
        self._crew.start(self._threads)

    def _look_after_threads(self) -> None:
        """Replace the threads that have ended, which none should, and end the attempts that they held."""
        fallen = self._crew.fallen()
        if not fallen:
            return
        self._gather()
        for fall in self._crew.replace(fallen, self._unwritten):
            self._unwritten.extend(self._cut_off(claim, fall.error) for claim in fall.held)
            name = "something" if fall.error is None else tracebacks.name_of(fall.error)
            trouble = WorkerError(f"the thread {fall.thread} was ended by {name}: another one took its place")
            signals.worker_troubled.send(self, error=trouble)

    def _cut_off(self, claim: Claim, error: BaseException | None) -> Finish:
        why = "the exception is unknown" if error is None else tracebacks.text_of(error)
        headers = Headers.from_bytes(claim.event.headers)
        said = redaction.hide(headers.pairs, f"the thread that ran this was ended from outside\n{why}")
        return self._failed(claim, self._policy_of(claim.handler), "failed", said, cause=error)

    def _collect(self, patience: timedelta) -> None:
        """Wait up to `patience` for an attempt to end, and collect those that end right after it.

        The doorbell ends the wait too: there are new events.
        """
        wait, deadline = patience.total_seconds(), None
        with suppress(queue.Empty):
            while (finish := self._ended.get(timeout=wait)) is not None:
                self._unwritten.append(finish)
                if len(self._unwritten) >= len(self._running):
                    return
                deadline = deadline or time.monotonic() + GATHER.total_seconds()
                wait = max(0.0, deadline - time.monotonic())

    def _gather(self) -> None:
        while not self._ended.empty():
            if (finish := self._ended.get()) is not None:
                self._unwritten.append(finish)

    def _record(self) -> int:
        self._gather()
        self._pace = len(self._unwritten)
        if not self._unwritten:
            return 0
        kept = jobs.finish(self._engine, self._unwritten, worker=self.id)
        ended, self._unwritten = self._unwritten, []
        for one, was_kept in zip(ended, kept, strict=True):
            self._crew.forget(one.claim)
            reports.report_finish(self, one, kept=was_kept)
        return len(ended)

    def _keep_alive(self) -> None:
        self._pat()
        self._keep_leases()

    def _pat(self) -> None:
        if self._watchdog is not None:
            self._watchdog.pat()

    def _keep_leases(self) -> None:
        now = self._clock()
        # After the clock was set back, the next renewal may seem far off: then renew at once.
        if timedelta() < self._renew_at - now <= self._lease / 3:
            return
        if self._running:
            jobs.renew(self._engine, list(self._running.values()), worker=self.id, until=now + self._lease)
        self._renew_at = now + self._lease / 3

    def _let_go(self) -> None:
        """Return jobs that no thread has begun in time to the queue: handlers here may hang, other workers be idle."""
        # A clock that was set back must not keep jobs here either.
        if self._begun.empty() or abs(self._clock() - self._claimed_at) < MOMENT:
            return
        unbegun = self._crew.take_back()
        try:
            self._put_back(unbegun)
        except StoreError:
            self._crew.add_again(unbegun)
            raise

    def _route(self) -> int:
        rows = jobs.unrouted(self._engine, ROUTE_AT_ONCE)
        routings = []
        for row in rows:
            routings.append(self._decide_route(row))
            self._keep_alive()  # checking huge payloads for drift takes a while
        counts = jobs.route(self._engine, routings, self._clock(), self._registry) if routings else []
        for row, routing, count in zip(rows, routings, counts, strict=True):
            signals.event_routed.send(self, event_id=row.id, type=row.type, handlers=count, drift=len(routing.drift))
        return len(routings)

    def _decide_route(self, row: sa.Row[Any]) -> Routing:
        handlers = [handler.name for handler in self._router.handlers_for(row.type, row.name)]
        # A module that does not import may contain handlers that want this: a job in its name waits until it imports.
        handlers.extend(self._router.broken)
        return Routing(row.id, handlers, _drift_of(row), row.type, row.name)

    def _recover(self) -> int:
        losses = jobs.recover(self._engine, now=self._clock(), chance=random.random(), policy_of=self._policy_of)
        for loss in losses:
            reports.report_loss(self, loss)
        return len(losses)

    def _policy_of(self, handler: str) -> Policy:
        found = self._router.find(handler)
        if found is not None:
            return found.policy
        attempts = self._registry.known.attempts_of(handler)
        return Policy() if attempts is None else Policy(attempts=attempts)

    def _begin(self) -> int:
        free = self._free()
        if free <= 0:
            return 0
        self._claimed_at = self._clock()
        taken = jobs.claim_own(
            self._engine,
            registry=self._registry,
            worker=self.id,
            limit=free,
            now=self._claimed_at,
            lease=self._lease,
            after=self._clear.until(self._claimed_at, self._registry.elsewhere),
        )
        for claim in taken.claims:
            self._crew.add(claim)
        return len(taken.claims) + len(taken.given_back)

    def _free(self) -> int:
        # More than the threads run, by as many as ended lately: quick handlers get large batches.
        return min(self._threads + self._pace, CLAIM_AT_MOST) - len(self._running)

    def write(self, finishes: Sequence[Finish], *, patience: timedelta) -> None:
        """Write how attempts ended; if the database is away, retry for `patience`, then raise StoreError."""
        deadline = time.monotonic() + patience.total_seconds()
        while True:
            try:
                kept = jobs.finish(self._engine, finishes, worker=self.id)
            except StoreError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE_IN_TROUBLE.total_seconds())
            else:
                break
        for one, was_kept in zip(finishes, kept, strict=True):
            reports.report_finish(self, one, kept=was_kept)

    def attempt(self, claim: Claim) -> Finish:
        """Run one job once, whatever its handler does; return how it ended and what happens to the job."""
        handler = self._router.find(claim.handler)
        if handler is None:  # it was disconnected since then: no worker claims jobs of handlers it has not loaded
            return self._failed(claim, Policy(), "failed", f"no handler is named {claim.handler}")
        ran = run(handler, lambda: event_of(claim.event, attempt=claim.attempt))
        if ran.outcome == "done":
            return Finish(claim, "done", self._clock(), None)
        if ran.outcome == "discarded":
            return Finish(claim, "discarded", self._clock(), Dead(ran.error), ran.error)
        return self._failed(claim, handler.policy, ran.outcome, ran.error, after=ran.after, cause=ran.cause)

    def attempt_surely(self, claim: Claim) -> Finish:
        """Run one job as `attempt` does, and also catch an exception that is thrown in from outside after the handler.

        Celery's soft time limit raises in the process wherever it is at that moment, the end of the handler included.
        """
        try:
            return self.attempt(claim)
        except BaseException as error:  # noqa: BLE001 - it may arrive anywhere, after the handler as well
            return self._cut_off(claim, error)

    def _failed(
        self,
        claim: Claim,
        policy: Policy,
        outcome: str,
        error: str,
        *,
        after: timedelta | None = None,
        cause: BaseException | None = None,
    ) -> Finish:
        now = self._clock()
        then = decide(policy, spent=claim.spent, now=now, chance=random.random(), after=after)
        return Finish(claim, outcome, now, then, error, cause)

    def _wind_up(self, grace: timedelta) -> None:
        deadline = time.monotonic() + grace.total_seconds()
        try:
            self._put_back(self._crew.take_back())
            while self._running and time.monotonic() < deadline:
                self._collect(POLL)
                self._look_after_threads()
                self._record()
                self._keep_alive()
            if self._running:
                claims = list(self._running.values())
                jobs.release(self._engine, claims, worker=self.id, now=self._clock())
        except StoreError as error:
            # Nothing is lost: the leases end by themselves, and the jobs are due again.
            signals.worker_troubled.send(self, error=error)

    def _put_back(self, unbegun: Sequence[Claim]) -> None:
        if unbegun:
            jobs.put_back(self._engine, unbegun, worker=self.id, now=self._clock())
        for claim in unbegun:
            self._crew.forget(claim)


def _drift_of(row: sa.Row[Any]) -> list[dict[str, str]]:
    try:
        return SOURCES[row.source].drift(event_of(row))
    except Exception as error:  # noqa: BLE001 - an event that our own check fails on must not hold up all others
        return [{"path": "", "problem": f"could not be checked: {type(error).__name__}"}]
