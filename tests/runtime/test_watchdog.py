"""What ends a process that does not move, or has lost its files. It is never wound up in the process of the tests."""

import subprocess
import sys
from datetime import timedelta
from typing import Any, cast

import pytest

from config import ROOT
from receiver.errors import WorkerError
from receiver.jobs.celery_tasks import Keeper
from receiver.runtime.watchdog import Watchdog
from tests.waiting import PATIENCE_SECONDS, until

STUCK = """
import threading
from datetime import timedelta
from receiver.runtime.watchdog import Watchdog

def wait_for_itself():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()

dog = Watchdog(timedelta(seconds=1))
dog.pat()
wait_for_itself()
"""
CLOSED = """
import os
from datetime import timedelta
from receiver.errors import WorkerError
from receiver.runtime.watchdog import Watchdog, end_process

dog = Watchdog(timedelta(0))
dog.pat()
os.closerange(3, 100)
try:
    dog.pat()
except WorkerError:
    pass
os.pipe()  # which gets the same numbers
try:
    dog.pat()
except WorkerError as error:
    end_process(error)
"""


def end_of(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )


def test_what_waits_for_itself_is_ended_with_the_stack_of_every_thread() -> None:
    ended = end_of(STUCK)
    assert ended.returncode == 1
    assert "Timeout (0:00:01)!" in ended.stderr
    assert "in wait_for_itself" in ended.stderr


def test_a_process_whose_files_were_closed_is_ended_with_the_reason() -> None:
    ended = end_of(CLOSED)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: something here closed files that are not its own")


def test_without_a_limit_only_the_files_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faulthandler.dump_traceback_later", lambda *_, **__: pytest.fail("it was wound up"))
    Watchdog(timedelta(0)).pat()


def test_it_is_wound_up_ten_times_within_the_limit_and_not_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    wound: list[float] = []
    monkeypatch.setattr("faulthandler.dump_traceback_later", lambda seconds, **_: wound.append(seconds))
    now = 100.0
    monkeypatch.setattr("receiver.runtime.watchdog.time.monotonic", lambda: now)
    dog = Watchdog(timedelta(seconds=60))
    for step in range(21):
        now = 100.0 + step
        dog.pat()
    assert wound == [60.0] * 4


class Dog:
    """Counts how often it is patted, and bites in the end."""

    pause = timedelta(milliseconds=1)

    def __init__(self) -> None:
        self.pats = 0

    def pat(self) -> None:
        self.pats += 1
        if self.pats > 3:
            raise WorkerError("closed")


def test_a_process_of_celerys_pats_it_from_the_thread_that_keeps_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    def end(error: WorkerError) -> None:
        ended.append(str(error))
        raise SystemExit

    monkeypatch.setattr("receiver.jobs.celery_tasks.end_process", end)
    monkeypatch.setattr("threading.excepthook", lambda _told: None)
    dog = Dog()
    keeper = Keeper(lambda _claims: None, every=timedelta(minutes=1), watchdog=cast(Any, dog))
    with keeper.keeping([]):
        until(lambda: ended, "the process is ended")
    assert (ended, dog.pats) == (["closed"], 4)
