"""The account of the fault suite would notice what a fault has lost, doubled or left open."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from bench.faults import account
from bench.faults.account import Fate

OVER = datetime(2026, 5, 4, 12, tzinfo=UTC)
OURS = "bench.faults.handlers.note"
BEFORE, AFTER = OVER - timedelta(seconds=1), OVER + timedelta(seconds=1)


def job(state: str = "done", attempt: int = 1, reason: str | None = None) -> Any:
    return SimpleNamespace(id=7, event_id="E", state=state, attempt=attempt, reason=reason)


def attempts(*outcomes: str, started_at: datetime = BEFORE) -> list[Any]:
    return [
        SimpleNamespace(number=number, outcome=outcome, started_at=started_at)
        for number, outcome in enumerate(outcomes, 1)
    ]


def told(fates: dict[str, Fate], *runs: tuple[str, int]) -> list[str]:
    return list(account.faults_of({"E": b"sent"}, fates, runs=runs, over=OVER, handler="bench.faults."))


def one(found: Any, history: list[Any], *, body: bytes = b"sent", handler: str = OURS) -> dict[str, Fate]:
    return {"E": Fate(body, {handler: (found, history)})}


def test_an_event_that_is_there_and_handled_once_is_in_order() -> None:
    assert told(one(job(), attempts("done")), ("E", 1), ("not promised", 1), ("not promised", 1)) == []


def test_an_attempt_that_was_lost_in_the_fault_and_repeated_is_in_order() -> None:
    assert told(one(job(attempt=2), attempts("lost", "done")), ("E", 1), ("E", 2)) == []


def test_a_job_that_was_lost_before_its_handler_began_is_in_order() -> None:
    assert told(one(job(attempt=2), attempts("lost", "done")), ("E", 2)) == []


def test_a_dead_job_with_a_reason_is_in_order() -> None:
    assert told(one(job("dead", reason="all attempts are used up"), attempts("failed")), ("E", 1)) == []


@pytest.mark.parametrize(
    ("fates", "runs", "words"),
    [
        (dict, [], "is not there"),
        (lambda: one(job(), attempts("done"), body=b"other"), [("E", 1)], "another body"),
        (lambda: one(job(), attempts("done"), handler="handlers.log.log_event"), [], "no handler of ours"),
        (lambda: one(job("waiting", attempt=0), []), [], "is waiting"),
        (lambda: one(job("dead"), attempts("failed")), [("E", 1)], "is dead"),
        (lambda: one(job(attempt=2), attempts("done")), [("E", 1)], "1 are known"),
        (lambda: one(job(attempt=2), attempts("done", "done")), [("E", 1), ("E", 2)], "after ['done', 'done']"),
        (lambda: one(job(), attempts("done")), [("E", 1), ("E", 1)], "ran 2 times"),
        (lambda: one(job(), attempts("done")), [("E", 1), ("E", 2)], "knows nothing of"),
        (lambda: one(job(), attempts("done")), [], "never ran"),
        (lambda: one(job(attempt=2), attempts("lost", "done", started_at=AFTER)), [("E", 2)], "after the fault was"),
    ],
)
def test_what_is_out_of_order_is_noticed(
    fates: Callable[[], dict[str, Fate]], runs: list[tuple[str, int]], words: str
) -> None:
    found = told(fates(), *runs)
    assert [words in line for line in found].count(True) == 1, found
