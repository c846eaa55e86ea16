"""What is measured: a web group with its port and, where it keeps anything, its database and its worker."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil
import sqlalchemy as sa

from bench.deliveries import KEYS, Deliveries
from bench.driver import Load, Run, drive
from bench.verify import Verdict, verify
from receiver.storage import db
from receiver.storage.tables import attempts, is_unrouted, jobs

ROOT = Path(__file__).resolve().parent.parent
WEB = "gunicorn --config config/gunicorn.py"
API_TOKEN = "token-of-the-bench"  # noqa: S105 - opens nothing else
LOGIN = {"Authorization": f"Bearer {API_TOKEN}"}  # opens the pages as well, in production too
PATIENCE_SECONDS = 40
FEWEST_LEFT = 1000
WARM_UP = 500


class BenchError(Exception):
    """The benchmark cannot go on; the message says what is in its way."""


def until(condition: Callable[[], object], what: str, *, seconds: float = PATIENCE_SECONDS, nap: float = 0.05) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"not in {seconds:.0f} s: {what}")
        time.sleep(nap)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def family(pid: int) -> list[psutil.Process]:
    top = psutil.Process(pid)
    return [top, *top.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    """Give the user and system time of a process and all below it, as /proc/PID/stat has it."""
    times = [one.cpu_times() for one in family(pid)]
    return float(sum(one.user + one.system for one in times))


def megabytes(pid: int) -> float:
    """Give the resident memory of a process and all below it; what they share is counted for each."""
    return float(sum(one.memory_info().rss for one in family(pid))) / 2**20


def connections(pid: int) -> int:
    """Give how many connections a process and all below it have open to somebody."""
    return sum(bool(found.raddr) for one in family(pid) for found in one.net_connections("tcp"))


@dataclass(frozen=True, slots=True)
class Got:
    """What a page was answered with, and how long that took from connecting to its last byte."""

    status: int
    body: bytes
    milliseconds: float


class Site:
    """One side: its processes run in a folder of their own, each in a process group of its own, and end with it."""

    def __init__(self, name: str, folder: Path, driver: Path, deliveries: Deliveries) -> None:
        self.name = name
        self.folder = folder
        self.port = free_port()
        self.answers = folder / "answers.txt"
        self.first = 0
        self.driver = driver
        self._deliveries = deliveries
        self.web = 0
        self._started: list[subprocess.Popen[bytes]] = []
        self.environ = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
            "ENV": "production",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "SECRET_KEY": "secret-key-of-the-bench",
            "ADMIN_PASSWORD": "password-of-the-bench",
            "API_TOKEN": API_TOKEN,
            "BOX_PRIMARY_KEY": KEYS["primary"],
            "BOX_SECONDARY_KEY": KEYS["secondary"],
            "BOX_MAX_AGE_SECONDS": "86400",
            "WEB_CONCURRENCY": "2",
            "LOG_FORMAT": "json",
            "LOG_LEVEL": "info",
        }
        folder.mkdir(parents=True)
        self.answers.touch()

    def start(self, line: str, log: str) -> int:
        with (self.folder / log).open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - the lines are ours
                line.split(), cwd=ROOT, env=self.environ, stdout=output, stderr=output, start_new_session=True
            )
        self._started.append(process)
        return process.pid

    def wait_serving(self) -> None:
        """Wait until the web group answers."""
        until(lambda: self._answers() or self._started[-1].poll() is not None, f"{self.name} answers")
        if self._started[-1].poll() is not None:
            raise BenchError(f"{self.name} did not start: {(self.folder / 'web.log').read_text()[-2000:]}")

    def _answers(self) -> bool:
        return self._status() != 0

    def _status(self) -> int:
        """Give what GET /healthz is answered; 0 for nothing."""
        try:
            return self.get("/healthz").status
        except OSError:
            return 0

    def get(self, path: str) -> Got:
        """Ask for a page as somebody who may see it, over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        began = time.perf_counter()
        try:
            connection.request("GET", path, headers=LOGIN)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        return Got(answer.status, body, (time.perf_counter() - began) * 1000)

    def warm_up(self) -> None:
        """Send the first requests, which import and connect."""
        self.drive(Load(connections=32, seconds=0.5, count=WARM_UP))

    def drive(self, load: Load) -> Run:
        """Send the deliveries that this side has not had yet."""
        if len(self._deliveries) - self.first < FEWEST_LEFT:
            raise BenchError(f"{self.name} has had all {len(self._deliveries)} deliveries: --deliveries makes more")
        path = self._deliveries.path
        run = drive(self.driver, port=self.port, requests=path, answers=self.answers, load=load, first=self.first)
        self.first = self._following(run)
        return run

    def _following(self, run: Run) -> int:
        return 0  # nothing is kept: the same deliveries do again

    def tell_to_stop(self) -> None:
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGCONT)
                os.killpg(process.pid, signal.SIGTERM)

    def stop(self) -> None:
        for process in self._started:
            self.end(process.pid)

    def end(self, pid: int) -> None:
        """End a process with all that it started; one that does not listen is killed."""
        process = next(one for one in self._started if one.pid == pid)
        if process.poll() is None:
            os.killpg(pid, signal.SIGTERM)
        try:
            process.wait(35)
        except subprocess.TimeoutExpired:
            os.killpg(pid, signal.SIGKILL)
            process.wait(10)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class Empty(Site):
    """The empty view behind the same gunicorn, with its own kind of process."""

    def open(self) -> None:
        self.web = self.start("gunicorn --config bench/empty_gunicorn.py bench.empty:app", "web.log")


class Signalbox(Site):
    """Signalbox over a database of its own; keeps count of which deliveries it has had."""

    def __init__(self, name: str, folder: Path, driver: Path, deliveries: Deliveries, *, url: str) -> None:
        super().__init__(name, folder, driver, deliveries)
        self.notes = folder / "notes.txt"
        self.environ |= {"DATABASE_URL": url, "BENCH_NOTES": str(self.notes)}
        self.engine = db.open_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        db.upgrade(self.engine)

    def open(self) -> None:
        self.web = self.start(f"{WEB} wsgi:app", "web.log")

    def work(self, mode: str) -> int:
        """Start the worker with the bench's handler of this name, and give its process id."""
        return self.start(f"python -m bench.worker {mode}", "worker.log")

    def wait_drained(self, *, seconds: float) -> None:
        until(self._is_drained, f"the worker of {self.name} is through", seconds=seconds, nap=0.3)

    def _is_drained(self) -> bool:
        is_open = sa.exists().where(jobs.c.due_at.is_not(None), jobs.c.state.in_(["waiting", "running"]))
        with self.engine.connect() as connection:
            return not any(connection.execute(sa.select(sa.exists().where(is_unrouted), is_open)).one())

    def jobs_per_second(self, since: datetime) -> float:
        """Give how many jobs were done for each second from the first's start to the last's end."""
        wanted = sa.select(
            sa.func.count(), sa.func.min(attempts.c.started_at), sa.func.max(attempts.c.finished_at)
        ).where(attempts.c.started_at >= since)
        with self.engine.connect() as connection:
            count, began, ended = connection.execute(wanted).one()
        return float(count / (ended - began).total_seconds())

    def verify(self, *, handled: bool) -> Verdict:
        return verify(self.answers, self._deliveries, self.engine, self.notes if handled else None)

    def _following(self, run: Run) -> int:
        return run.next

    def stop(self) -> None:
        super().stop()
        self.engine.dispose()
