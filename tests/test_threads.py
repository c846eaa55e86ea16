"""A thread beside a block: it is there while the block runs, and ends with it."""

import threading

import pytest

from receiver.threads import beside


def test_what_runs_beside_a_block_ends_with_it_whatever_ends_the_block() -> None:
    told: list[str] = []

    def run(stop: threading.Event) -> None:
        told.append(threading.current_thread().name)
        assert stop.wait(60)
        told.append("ended")

    with pytest.raises(KeyError), beside(run, name="some"):
        raise KeyError
    assert told == ["some", "ended"]
