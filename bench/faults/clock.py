"""A clock that is set back and forth while jobs run: no process can be given another clock, so this runs in ours."""

import queue
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench.deliveries import KEYS
from bench.faults import account
from bench.faults.installation import Shape
from bench.faults.servers import Postgres
from bench.sites import until
from receiver import Event
from receiver.events import Delivery, Headers, Verified
from receiver.inbox.rows import Inbox
from receiver.jobs.celery_tasks import Dispatcher, Runner
from receiver.jobs.routing import Router
from receiver.jobs.worker import Worker
from receiver.settings import resolve_database_url
from receiver.sources import SOURCES, samples
from receiver.storage import db
from receiver.storage.tables import events, is_unrouted, jobs

HOUR = timedelta(hours=1)
JUMPS = 12
BETWEEN_SECONDS = 0.5
LEASE = timedelta(seconds=5)


class JumpingClock:
    def __init__(self) -> None:
        self.offset = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.offset


class Carrier:
    """A broker in this process: what is sent is run by the next thread that is free."""

    def __init__(self) -> None:
        self.messages: queue.SimpleQueue[dict[int, int]] = queue.SimpleQueue()

    @contextmanager
    def producer_or_acquire(self) -> Iterator[None]:
        yield

    def send_task(self, _name: str, arguments: Any, **_how: Any) -> None:
        self.messages.put(dict(arguments[0]))

    def serve(self, runner: Runner) -> None:
        while True:
            runner.run(self.messages.get())


def play(shape: Shape, folder: Path, rng: random.Random, *, rate: float) -> tuple[Mapping[str, bytes], list[str], int]:
    """Give what was promised, what is wrong with it, and how many attempts were lost."""
    clock, runs, router = JumpingClock(), [], Router()

    def note(event: Event) -> None:
        runs.append((event.id, event.attempt))
        time.sleep(0.005)

    router.on("*")(note)
    folder.mkdir()
    with ExitStack() as stack:
        engine = _open(shape, folder, stack)
        stack.enter_context(_working(shape, engine, router, clock))
        promised = _publish(engine, clock, rng, rate)
        clock.offset = 3 * HOUR  # so that nothing waits for an hour that was and will be
        until(lambda: not _count_open(engine), "every event is handled", seconds=60)
        fates = account.read(engine, list(promised))
    over = datetime.now(UTC) + timedelta(days=1)
    wrong = list(account.faults_of(promised, fates, runs=runs, over=over, handler=__name__))
    return promised, wrong, account.lost_attempts(fates.values())


def _open(shape: Shape, folder: Path, stack: ExitStack) -> sa.Engine:
    url = f"sqlite:///{folder}/signalbox.db"
    if shape.is_postgres:
        server = Postgres(folder / "postgres")
        stack.callback(server.close)
        url = server.url
    engine = db.open_engine(resolve_database_url(url))
    stack.callback(engine.dispose)
    db.upgrade(engine)
    return engine


@contextmanager
def _working(shape: Shape, engine: sa.Engine, router: Router, clock: JumpingClock) -> Iterator[None]:
    stop = threading.Event()
    if shape.has_celery:
        carrier = Carrier()
        workers: list[Worker] = [Dispatcher(engine, router, carrier, lease=LEASE, clock=clock)]
        for _ in range(2):
            runner = Runner(engine, router, lease=LEASE, clock=clock)
            threading.Thread(target=carrier.serve, args=(runner,), daemon=True).start()
    else:
        workers = [Worker(engine, router, threads=2, lease=LEASE, clock=clock) for _ in range(2)]
    threads = [threading.Thread(target=worker.run, args=(stop,), daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for worker, thread in zip(workers, threads, strict=True):
        worker.wake()
        thread.join(30)


def _publish(engine: sa.Engine, clock: JumpingClock, rng: random.Random, rate: float) -> dict[str, bytes]:
    """Keep events at a steady rate while the clock is set an hour forth, an hour back, and right again."""
    inbox = Inbox(engine, rejected_max_count=100, rejected_max_bytes=2**20)
    promised = {}
    for jump in range(JUMPS):
        clock.offset = rng.choice([HOUR, -HOUR, timedelta(0)])
        for number in range(int(rate * BETWEEN_SECONDS)):
            at = clock()
            body, headers = samples.forge("box", "FILE.UPLOADED", KEYS, at=at, number=jump * 10_000 + number)
            delivery = Delivery(source="box", body=body, headers=Headers(headers), received_at=at)
            kept = inbox.accept(delivery, SOURCES["box"].parse(delivery), Verified("primary"))
            promised[kept.event_id] = body
            time.sleep(1 / rate)
    return promised


def _count_open(engine: sa.Engine) -> int:
    undone = sa.select(sa.func.count()).select_from(jobs).where(jobs.c.state.in_(["waiting", "running"]))
    unrouted = sa.select(sa.func.count()).select_from(events).where(is_unrouted)
    with engine.connect() as connection:
        return int(connection.execute(undone).scalar_one() + connection.execute(unrouted).scalar_one())
