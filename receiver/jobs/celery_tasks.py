"""Run jobs through Celery: the worker hands jobs to a broker, and Celery's processes run them.

The database alone knows what is due. Start the processes with `celery -A wsgi.celery worker`.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from importlib import metadata
from typing import Any

import sqlalchemy as sa
from packaging.requirements import Requirement

from receiver.errors import SettingsError, StoreError, WorkerError

try:
    import celery
    from kombu.exceptions import OperationalError
    from kombu.transport import TRANSPORT_ALIASES
except ModuleNotFoundError as error:
    raise SettingsError(
        {"CELERY_BROKER_URL": ["needs Celery, which is not installed. Run: pip install 'signalbox[celery]'"]}
    ) from error

from receiver.jobs import dispatch
from receiver.jobs import store as jobs
from receiver.jobs.dispatch import Handed
from receiver.jobs.loaded import Registry
from receiver.jobs.routing import Router
from receiver.jobs.store import Claim
from receiver.jobs.worker import LOOK_AROUND, Worker, utc_now
from receiver.observe.logs import log
from receiver.runtime.watchdog import Watchdog, end_process

TASK = "signalbox.run"
QUEUE = "signalbox"
LEAST_HANDED = 64
MOST_HANDED = 2000
LOOK_SECONDS = 0.05
HANDED_AHEAD_SECONDS = 2.0
LEAST_MESSAGES = 8
MOST_IN_A_MESSAGE = 32
MESSAGE_SECONDS = 0.1
MOMENT_SECONDS = 0.02
MERCY = timedelta(seconds=10)


def require_driver(broker_url: str) -> None:
    """Raise SettingsError, with the command to run, if the packages for this kind of broker are not installed."""
    for address in broker_url.split(";"):
        scheme = address.partition("://")[0]
        extra = TRANSPORT_ALIASES.get(scheme, "").partition(":")[0].rpartition(".")[2].lower()
        if missing := sorted(_missing_of(extra)):
            brings = f"pip install 'kombu[{extra}]'"
            said = f"names a broker of {scheme}://, for which {' and '.join(missing)} must be installed: {brings}"
            raise SettingsError({"CELERY_BROKER_URL": [said]})


def _missing_of(extra: str) -> Iterator[str]:
    """Yield the packages that an extra of kombu needs and that are not installed; many transports need none."""
    for one in map(Requirement, metadata.requires("kombu") or ()):
        if one.marker is not None and one.marker.evaluate({"extra": extra}) and not one.marker.evaluate({"extra": ""}):
            try:
                metadata.distribution(one.name)
            except metadata.PackageNotFoundError:
                yield one.name


def make_celery(broker_url: str) -> celery.Celery:
    """Return the Celery application: it carries the ids of jobs and stores no results.

    What a broker loses comes back by itself: the database makes the job due again.
    """
    app = celery.Celery("signalbox", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_acks_late=True,
        task_default_queue=QUEUE,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        # With task_publish_retry (on by default) Celery would block here and try for a while itself: docs.celeryq.dev,
        # "Calling Tasks", "Message Sending Retry". An error at once is better: the dispatcher tries again by itself,
        # and routes events meanwhile.
        task_publish_retry=False,
        broker_transport_options={
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0,
            "socket_connect_timeout": 5,
            "socket_timeout": 30,
        },
    )
    return app


class Dispatcher(Worker):
    """A worker that routes events as every worker does, and hands due jobs to the broker instead of running them.

    It keeps about two seconds' worth of jobs with the broker: little is lost with a broker, and it is soon due again.
    """

    def __init__(self, engine: sa.Engine, router: Router, app: celery.Celery, **how: Any) -> None:
        super().__init__(engine, router, **how)
        self._app = app
        self._lines = [_Line(name, wanted) for name, wanted in _queues(router).items()]

    def _start_threads(self) -> None:
        return

    def _has_room(self) -> bool:
        return True  # there is room as soon as Celery has taken jobs, and no bell rings for that

    def _begin(self) -> int:
        self._registry.refresh(self._engine, self._clock(), every=LOOK_AROUND)
        return sum(self._hand_over(line) for line in self._lines)

    def _hand_over(self, line: "_Line") -> int:
        now = self._clock()
        line.look(lambda handed: dispatch.untaken(self._engine, handed), now)
        if line.free <= 0:
            return 0
        until = now + 2 * self._lease
        handed = dispatch.hand_over(
            self._engine, limit=line.free, now=now, until=until, of=line.wanted, registry=self._registry
        )
        line.add(handed, until)
        self._send(line, handed)
        return len(handed)

    def _send(self, line: "_Line", handed: Sequence[Handed]) -> None:
        """Send jobs as messages; StoreError, with the rest due again at once, if the broker refuses one."""
        sent = 0
        try:
            with self._app.producer_or_acquire() as producer:
                for message, limits in self._messages(line, handed):
                    jobs_of_it = [(one.job_id, one.attempt) for one in message]
                    self._app.send_task(TASK, (jobs_of_it,), queue=line.name, producer=producer, **limits)
                    sent += len(message)
        except (OperationalError, OSError) as error:
            line.drop(handed[sent:])
            dispatch.bring_back(self._engine, handed[sent:], self._clock())
            raise StoreError(f"the broker did not take jobs: {type(error).__name__}: {error}") from error

    def _messages(
        self, line: "_Line", handed: Sequence[Handed]
    ) -> Iterator[tuple[Sequence[Handed], Mapping[str, float]]]:
        """Yield the jobs of each message with its time limits; a job with a time limit has a message of its own."""
        together = min(line.at_once, -(-len(handed) // LEAST_MESSAGES))
        at = 0
        while at < len(handed):
            limits = self._limits(handed[at])
            end = at + 1
            while not limits and end < min(at + together, len(handed)) and not self._limits(handed[end]):
                end += 1
            yield handed[at:end], limits
            at = end

    def _limits(self, one: Handed) -> Mapping[str, float]:
        handler = self._router.find(one.handler)
        if handler is None or handler.time_limit is None:
            return {}
        seconds = handler.time_limit.total_seconds()
        return {"soft_time_limit": seconds, "time_limit": seconds + MERCY.total_seconds()}


class _Line:
    """The jobs of one queue that are with the broker."""

    def __init__(self, name: str, wanted: sa.ColumnElement[bool]) -> None:
        self.name = name
        self.wanted = wanted
        self._handed: dict[int, tuple[Handed, datetime]] = {}
        self._pace = 0.0
        self._looked_at = time.monotonic()

    @property
    def free(self) -> int:
        window = max(LEAST_HANDED, min(MOST_HANDED, int(self._pace * HANDED_AHEAD_SECONDS)))
        return window - len(self._handed)

    @property
    def at_once(self) -> int:
        """How many jobs a message carries: as many as Celery lately took within MESSAGE_SECONDS."""
        return max(1, min(MOST_IN_A_MESSAGE, int(self._pace * MESSAGE_SECONDS)))

    def add(self, handed: Sequence[Handed], until: datetime) -> None:
        self._handed |= {one.job_id: (one, until) for one in handed}

    def drop(self, handed: Sequence[Handed]) -> None:
        for one in handed:
            self._handed.pop(one.job_id, None)

    def look(self, untaken: Callable[[list[Handed]], set[int]], now: datetime) -> None:
        """Forget jobs that were taken since the last look or are due again, and measure how quickly they are taken."""
        passed = time.monotonic() - self._looked_at
        if not self._handed or passed < LOOK_SECONDS:
            return
        left = untaken([one for one, _until in self._handed.values()])
        self._pace = (self._pace + (len(self._handed) - len(left)) / passed) / 2
        # Jobs that the broker has lost must not fill the window for ever.
        self._handed = {
            job_id: (one, until) for job_id, (one, until) in self._handed.items() if job_id in left and until > now
        }
        self._looked_at = time.monotonic()


def asked_queues(router: Router) -> dict[str, list[str]]:
    """Return the queues that handlers ask for besides the default one, each with the names of its handlers."""
    asked: dict[str, list[str]] = {}
    for handler in router.handlers():
        if handler.queue not in (None, QUEUE):
            asked.setdefault(handler.queue, []).append(handler.name)
    return asked


def _queues(router: Router) -> dict[str, sa.ColumnElement[bool]]:
    """Return for each queue the condition that selects its jobs; the default queue takes all others."""
    asked = asked_queues(router)
    apart = [name for names in asked.values() for name in names]
    usual = dispatch.of_no_handler(apart) if apart else sa.true()
    return {QUEUE: usual} | {queue: dispatch.of_handlers(names) for queue, names in asked.items()}


class Runner:
    """Runs jobs in a Celery process, each under a lease that is renewed while it runs."""

    def __init__(
        self,
        engine: sa.Engine,
        router: Router,
        *,
        lease: timedelta = timedelta(seconds=30),
        clock: Callable[[], datetime] = utc_now,
        watchdog: Watchdog | None = None,
    ) -> None:
        self._engine = engine
        self._lease = lease
        self._clock = clock
        self._worker = Worker(engine, router, lease=lease, clock=clock)
        self._registry = Registry(router)
        self._warned: set[str] = set()
        self._keeper = Keeper(self._renew, every=lease / 3, watchdog=watchdog)

    def run(self, handed: Mapping[int, int]) -> None:
        """Run jobs one after the other, except those whose message is late or was delivered twice.

        Results are written at most MOMENT_SECONDS after a job ends. StoreError if the database stays away for a lease.
        """
        worker = self._worker.id
        taken = dispatch.take_own(
            self._engine, handed, registry=self._registry, worker=worker, now=self._clock(), lease=self._lease
        )
        self._tell(taken.given_back)
        claims = taken.claims
        with self._keeper.keeping(claims):
            unwritten, began = [], time.monotonic()
            for claim in claims:
                unwritten.append(self._worker.attempt_surely(claim))
                if claim is claims[-1] or time.monotonic() - began > MOMENT_SECONDS:
                    self._worker.write(unwritten, patience=self._lease)
                    unwritten, began = [], time.monotonic()

    def _tell(self, given_back: Sequence[str]) -> None:
        """Log each handler that this process has not loaded, once: nothing else would report it."""
        for handler in sorted({*given_back} - self._warned):
            fix = "start Celery's workers with the HANDLERS of the worker"
            log.warning("worker", handler=handler, state="not loaded in this process of Celery's", mend=fix)
            self._warned.add(handler)

    def _renew(self, claims: list[Claim]) -> None:
        jobs.renew(self._engine, claims, worker=self._worker.id, until=self._clock() + self._lease)


class Keeper:
    """Renews the leases of the jobs that run in this process, from one thread that starts with the first job.

    A thread that has ended is replaced with the next job. The thread also pats the watchdog, for as long as the process
    lives: it cannot while a handler holds the GIL, and that is what the watchdog is for.
    """

    def __init__(
        self, renew: Callable[[list[Claim]], None], *, every: timedelta, watchdog: Watchdog | None = None
    ) -> None:
        self._renew = renew
        self._every = every
        self._watchdog = watchdog
        self._running: dict[tuple[int, int], Claim] = {}
        self._thread: threading.Thread | None = None

    @contextmanager
    def keeping(self, claims: Sequence[Claim]) -> Iterator[None]:
        """Renew the leases of these jobs while the block runs."""
        # The key includes the attempt: a lost job may run in another thread here while its first run still goes on.
        self._running |= {(claim.job_id, claim.attempt): claim for claim in claims}
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._keep, name="leases", daemon=True)
            self._thread.start()
        try:
            yield
        finally:
            for claim in claims:
                del self._running[claim.job_id, claim.attempt]

    def _keep(self) -> None:
        pause = self._every if self._watchdog is None else min(self._every, self._watchdog.pause)
        renewed_at = time.monotonic()
        while True:
            self._pat()
            time.sleep(pause.total_seconds())
            running = list(self._running.values())
            if running and time.monotonic() - renewed_at >= self._every.total_seconds() * 0.9:
                renewed_at = time.monotonic()
                # The database is away: the lease may end meanwhile, and the next turn finds out.
                with suppress(StoreError):
                    self._renew(running)

    def _pat(self) -> None:
        if self._watchdog is not None:
            try:
                self._watchdog.pat()
            except WorkerError as error:
                end_process(error)


def serve(app: celery.Celery, begin: Callable[[], Runner]) -> None:
    """Register the one task of the application; `begin` makes the runner, once in each process that runs jobs.

    Handlers are imported before Celery's pool forks, so that a module that does not import is reported once. The task
    is registered on this application alone (`shared=False`): by default Celery adds a task to every application of the
    process.
    """
    runner: list[Runner] = []

    def run(handed: Sequence[tuple[int, int]]) -> None:
        if not runner:
            runner.append(begin())
        runner[0].run(dict(handed))

    app.task(name=TASK, ignore_result=True, shared=False)(run)
