"""A thread beside a block, which is there while the block runs and ends with it; and one that loads what takes long."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from receiver.runtime import threads
from receiver.runtime.threads import beside
from tests.waiting import PATIENCE_SECONDS


def test_what_runs_beside_a_block_ends_with_it_whatever_ends_the_block() -> None:
    told: list[str] = []

    def run(stop: threading.Event) -> None:
        told.append(threading.current_thread().name)
        assert stop.wait(PATIENCE_SECONDS)
        told.append("ended")

    with pytest.raises(KeyError), beside(run, name="some"):
        raise KeyError
    assert told == ["some", "ended"]


def test_what_raises_is_told_of_and_called_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "PAUSE_SECONDS", 0)
    told: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(args.exc_type.__name__))
    goes_on, errors = threading.Event(), [KeyError(), SystemExit()]

    def run(stop: threading.Event) -> None:
        if errors:
            raise errors.pop()
        goes_on.set()
        stop.wait(PATIENCE_SECONDS)

    with threads.beside(run, name="some"):
        assert goes_on.wait(PATIENCE_SECONDS)
    assert told == ["SystemExit", "KeyError"]


LOADING = """
import gevent.monkey
gevent.monkey.patch_all()
import sys, gevent
from receiver.runtime import threads

turns = sys.turns = []

def tick():
    while True:
        turns.append(1)
        gevent.sleep(0)

gevent.spawn(tick)
threads.load("takes_long", "takes_long")
import takes_long
print(takes_long.turns_seen >= 3)
try:
    threads.load("not_there")
except ModuleNotFoundError as error:
    print(error)
"""
TAKES_LONG = """
import sys
for _ in range(10**8):
    turns_seen = len(sys.turns)
    if turns_seen >= 3:
        break
"""


def test_with_gevent_others_run_while_a_module_is_loaded(tmp_path: Path) -> None:
    """The module computes until others had three turns: without that it would compute for seconds."""
    (tmp_path / "takes_long.py").write_text(TAKES_LONG)
    path = f"{tmp_path}:{Path(__file__).resolve().parents[2]}"
    done = subprocess.run(
        [sys.executable, "-c", LOADING],
        env=os.environ | {"PYTHONPATH": path},
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.stdout == "True\nNo module named 'not_there'\n", done.stderr


def test_without_gevent_a_module_is_loaded_where_it_is_asked_for() -> None:
    threads.load("colorsys")
    assert "colorsys" in sys.modules
