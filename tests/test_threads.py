"""A thread beside a block: it is there while the block runs, and ends with it."""

import threading

import pytest

from receiver import threads
from receiver.threads import beside
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
