"""The loop that routes events and runs due jobs: every handler by itself, under a lease, in a pool of threads."""

import queue
import random
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from ulid_transform import ulid_now

from receiver import db, jobs, signals
from receiver.errors import Discard, Retry, StoreError
from receiver.events import Event, Headers
from receiver.jobs import Claim, Finish, Routing
from receiver.registry import Registry
from receiver.retry import Dead, Policy, decide
from receiver.routing import Handler, Router, unfinished
from receiver.sources import SOURCES, wire

ROUTE_AT_ONCE = 200
CLAIM_AT_MOST = 200
POLL = timedelta(milliseconds=25)
GATHER = timedelta(milliseconds=3)
PAUSE_IN_TROUBLE = timedelta(seconds=1)
LOOK_AROUND = timedelta(seconds=10)  # how often is looked whether other workers live whose jobs are left to them
MOMENT = timedelta(seconds=1)  # how long a job may be kept from other workers before a thread here begins it


def utc_now() -> datetime:
    return datetime.now(UTC)


class Worker:
    """Routes and runs until told to stop; any number of them share one database.

    `lease` is how long the jobs of a worker that was killed wait before they are brought back; while a handler runs,
    its lease is renewed, however long it takes. `clock` gives the time, aware and in UTC.
    """

    def __init__(
        self,
        engine: sa.Engine,
        router: Router,
        *,
        threads: int = 8,
        lease: timedelta = timedelta(seconds=30),
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.id = ulid_now()
        self._engine = engine
        self._router = router
        self._registry = Registry(router)
        self._threads = threads
        self._lease = lease
        self._clock = clock
        # By attempt as well: a job that was lost, or replayed, may be held again while it still runs here.
        self._running: dict[tuple[int, int], Claim] = {}
        self._renew_at = clock()
        self._claimed_at = clock()
        self._begun: queue.SimpleQueue[Claim | None] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[Finish | None] = queue.SimpleQueue()
        self._unwritten: list[Finish] = []
        self._pace = 0

    def run(self, stop: threading.Event, *, grace: timedelta = timedelta(seconds=20)) -> None:
        """Work until `stop` is set; then wait `grace` for what runs, and give the rest back."""
        self._start_threads()
        with db.doorbell(self._engine, self.wake):
            while not stop.is_set():
                self._turn_and_rest(stop)
        self._wind_up(grace)

    def wake(self) -> None:
        """End a rest at once; a signal handler may call this, and has to.

        In CPython 3.11 a `SimpleQueue.get` with a time limit waits for ever where a signal came across its end.
        """
        self._ended.put(None)

    def _turn_and_rest(self, stop: threading.Event) -> None:
        try:
            busy = self.turn()
        except StoreError as error:
            signals.worker_troubled.send(self, error=error)
            stop.wait(PAUSE_IN_TROUBLE.total_seconds())
        else:
            if self._running or not busy:
                self._collect(POLL)

    def drain(self) -> None:
        """Work until nothing is due: what a test or a script wants. Handlers run one at a time, in this thread."""
        self._threads = 1
        while self.turn() or not self._begun.empty():
            while not self._begun.empty():
                claim = self._begun.get()
                if claim is not None:
                    self._ended.put(self.attempt(claim))

    def turn(self) -> bool:
        """Write what ended, keep leases, route what came, begin what is due; says whether there was anything."""
        busy = self._record() > 0
        self._let_go()
        self._keep_leases()
        due = jobs.look(self._engine, self._clock(), elsewhere=self._registry.elsewhere)
        if due.unrouted:
            busy |= self._route() > 0
        if due.lost:
            busy |= self._recover() > 0
        if due.waiting or due.unrouted or due.lost:
            busy |= self._begin() > 0
        self._registry.refresh(self._engine, self._clock(), every=LOOK_AROUND)
        return busy

    def _start_threads(self) -> None:
        # Daemons: a handler that hangs for ever must not keep the process from stopping.
        for number in range(self._threads):
            threading.Thread(target=self._serve, name=f"handler-{number}", daemon=True).start()

    def _serve(self) -> None:
        while (claim := self._begun.get()) is not None:
            self._ended.put(self.attempt(claim))

    def _collect(self, patience: timedelta) -> None:
        """Wait for an attempt to end, but no longer than `patience`, and gather those that end right after it.

        The doorbell ends the wait too: events came.
        """
        wait, deadline = patience.total_seconds(), None
        with suppress(queue.Empty):
            while (finish := self._ended.get(timeout=wait)) is not None:
                self._unwritten.append(finish)
                if len(self._unwritten) >= len(self._running):
                    return
                deadline = deadline or time.monotonic() + GATHER.total_seconds()
                wait = max(0.0, deadline - time.monotonic())

    def _record(self) -> int:
        while not self._ended.empty():
            if (finish := self._ended.get()) is not None:
                self._unwritten.append(finish)
        self._pace = len(self._unwritten)
        if not self._unwritten:
            return 0
        kept = jobs.finish(self._engine, self._unwritten, worker=self.id)
        ended, self._unwritten = self._unwritten, []
        for one, was_kept in zip(ended, kept, strict=True):
            self._running.pop(_key(one.claim), None)
            self._tell(one, kept=was_kept)
        return len(ended)

    def _keep_leases(self) -> None:
        now = self._clock()
        # Of a clock that was set back, the next time may be far off: it is renewed at once.
        if timedelta() < self._renew_at - now <= self._lease / 3:
            return
        if self._running:
            jobs.renew(self._engine, list(self._running.values()), worker=self.id, until=now + self._lease)
        self._renew_at = now + self._lease / 3

    def _let_go(self) -> None:
        """Give back what no thread has begun for a moment: what runs here may hang, and another worker be idle."""
        # A clock that was set back must not keep anything either.
        if self._begun.empty() or abs(self._clock() - self._claimed_at) < MOMENT:
            return
        unbegun = self._unbegun()
        try:
            self._put_back(unbegun)
        except StoreError:
            for claim in unbegun:
                self._begun.put(claim)
            raise

    def _route(self) -> int:
        rows = jobs.unrouted(self._engine, ROUTE_AT_ONCE)
        routings = []
        for row in rows:
            routings.append(self._decide_route(row))
            self._keep_leases()  # where payloads are huge, their drift takes a while
        counts = jobs.route(self._engine, routings, self._clock(), self._registry) if routings else []
        for row, routing, count in zip(rows, routings, counts, strict=True):
            signals.event_routed.send(self, event_id=row.id, type=row.type, handlers=count, drift=len(routing.drift))
        return len(routings)

    def _decide_route(self, row: sa.Row[Any]) -> Routing:
        handlers = [handler.name for handler in self._router.handlers_for(row.type, row.name)]
        # A module that does not import may hold handlers that want this: a job in its name waits until it does.
        handlers.extend(self._router.broken)
        return Routing(row.id, handlers, _drift_of(row), row.type, row.name)

    def _recover(self) -> int:
        losses = jobs.recover(self._engine, now=self._clock(), chance=random.random(), policy_of=self._policy_of)
        for loss in losses:
            self._tell_lost(loss)
        return len(losses)

    def _policy_of(self, handler: str) -> Policy:
        found = self._router.find(handler)
        if found is not None:
            return found.policy
        attempts = self._registry.known.attempts_of(handler)
        return Policy() if attempts is None else Policy(attempts=attempts)

    def _begin(self) -> int:
        # Beyond what the threads run, as many as ended lately: quick handlers get large batches.
        free = min(self._threads + self._pace, CLAIM_AT_MOST) - len(self._running)
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
        )
        for claim in taken.claims:
            self._running[_key(claim)] = claim
            self._begun.put(claim)
        return len(taken.claims) + len(taken.given_back)

    def write(self, finishes: Sequence[Finish], *, patience: timedelta) -> None:
        """Write how attempts ended, at once; where the database is away, try for so long, then StoreError."""
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
            self._tell(one, kept=was_kept)

    def attempt(self, claim: Claim) -> Finish:
        """Run one job once, whatever its handler does, and say how it went and what becomes of it."""
        handler = self._router.find(claim.handler)
        if handler is None:  # it was disconnected since: nobody claims what is not loaded here
            return self._failed(claim, Policy(), "failed", f"no handler is named {claim.handler}")
        ran = run(handler, lambda: event_of(claim.event, attempt=claim.attempt))
        if ran.outcome == "done":
            return Finish(claim, "done", self._clock(), None)
        if ran.outcome == "discarded":
            return Finish(claim, "discarded", self._clock(), Dead(jobs.storable(ran.error)), ran.error)
        return self._failed(claim, handler.policy, ran.outcome, ran.error, after=ran.after, cause=ran.cause)

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

    def _tell(self, one: Finish, *, kept: bool) -> None:
        told: dict[str, Any] = {
            "job_id": one.claim.job_id,
            "event_id": one.claim.event.id,
            "type": one.claim.event.type,
            "handler": one.claim.handler,
            "attempt": one.claim.attempt,
            "outcome": one.outcome if kept else "outlived",
            "error": one.error,
            "cause": one.cause,
        }
        milliseconds = (one.finished_at - one.claim.started_at) / timedelta(milliseconds=1)
        signals.attempt_finished.send(self, milliseconds=milliseconds, **told)
        if kept and isinstance(one.then, Dead):
            signals.job_buried.send(self, **told)

    def _tell_lost(self, loss: jobs.Loss) -> None:
        told: dict[str, Any] = {
            "job_id": loss.job_id,
            "event_id": loss.event_id,
            "type": loss.type,
            "handler": loss.handler,
            "attempt": loss.attempt,
            "outcome": "lost",
            "error": None,
            "cause": None,
        }
        signals.attempt_finished.send(self, milliseconds=None, **told)
        if isinstance(loss.then, Dead):
            signals.job_buried.send(self, **told)

    def _wind_up(self, grace: timedelta) -> None:
        deadline = time.monotonic() + grace.total_seconds()
        try:
            self._put_back(self._unbegun())
            while self._running and time.monotonic() < deadline:
                self._collect(POLL)
                self._record()
                self._keep_leases()
            if self._running:
                claims = list(self._running.values())
                jobs.release(self._engine, claims, worker=self.id, now=self._clock())
        except StoreError as error:
            # Nothing is lost by it: the leases end by themselves, and the jobs come back.
            signals.worker_troubled.send(self, error=error)

    def _unbegun(self) -> list[Claim]:
        """Take the claims that no thread has begun off the threads' queue."""
        unbegun = []
        with suppress(queue.Empty):
            while (claim := self._begun.get_nowait()) is not None:
                unbegun.append(claim)
        return unbegun

    def _put_back(self, unbegun: Sequence[Claim]) -> None:
        if unbegun:
            jobs.put_back(self._engine, unbegun, worker=self.id, now=self._clock())
        for claim in unbegun:
            del self._running[_key(claim)]


def _key(claim: Claim) -> tuple[int, int]:
    return claim.job_id, claim.attempt


@dataclass(frozen=True, slots=True)
class Ran:
    """How one run of a handler ended: `done`, `failed`, `retry` or `discarded`, and with which words."""

    outcome: str
    error: str = ""
    after: timedelta | None = None
    cause: BaseException | None = None


def run(handler: Handler, event: Callable[[], Event]) -> Ran:
    """Run a handler for the event that is made for it, whatever either does, and say how that went."""
    try:
        trouble = unfinished(handler.function(event()))
    except BaseException as error:  # noqa: BLE001 - a handler may raise anything, SystemExit too
        return _meant_by(error)
    return Ran("failed", trouble) if trouble else Ran("done")


def _meant_by(error: BaseException) -> Ran:
    try:
        match error:
            case Discard():
                return Ran("discarded", str(error))
            case Retry():
                return Ran("retry", str(error), after=error.after + timedelta())
            case _:
                return Ran("failed", _traceback_of(error), cause=error)
    except BaseException as worse:  # noqa: BLE001 - a Retry or a Discard of a handler's own may be broken itself
        return Ran("failed", _traceback_of(worse), cause=worse)


def event_of(row: sa.Row[Any], *, attempt: int = 1) -> Event:
    """Give the event of a row; every handler gets a payload of its own, free to change."""
    return Event(
        type=row.type,
        payload=wire.read_object(row.body),
        id=row.id,
        name=row.name,
        identity=row.identity,
        body=row.body,
        headers=Headers.from_bytes(row.headers),
        received_at=row.received_at,
        occurred_at=row.occurred_at,
        attempt=attempt,
    )


def _drift_of(row: sa.Row[Any]) -> list[dict[str, str]]:
    try:
        return SOURCES[row.source].drift(event_of(row))
    except Exception as error:  # noqa: BLE001 - an event that our own check trips over must not hold up all others
        return [{"path": "", "problem": f"could not be checked: {type(error).__name__}"}]


def _traceback_of(error: BaseException) -> str:
    """Give the traceback from the handler on, without our own frame above it."""
    above = error.__traceback__
    return "".join(traceback.format_exception(type(error), error, above.tb_next if above else None))
