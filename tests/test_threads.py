"""A thread beside a block: it is there while the block runs, and ends with it."""

import threading

import pytest

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
