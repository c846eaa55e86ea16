"""When a job is tried again and when it stops."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import Retry
from receiver.jobs.retry import LONGEST_WAIT, Again, Dead, Policy, decide, decide_lost

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
MIDDLE = 0.5  # the chance at which jitter moves nothing


def test_the_default_is_ten_attempts_over_about_a_day() -> None:
    policy = Policy()
    waits = [policy.wait(attempt, chance=MIDDLE) for attempt in range(1, policy.attempts)]
    assert waits[:3] == [timedelta(seconds=10), timedelta(seconds=30), timedelta(seconds=90)]
    assert timedelta(hours=20) < sum(waits, timedelta()) < timedelta(hours=30)


def test_each_wait_is_longer_than_the_one_before_until_the_longest() -> None:
    waits = [Policy().wait(attempt, chance=MIDDLE) for attempt in range(1, 30)]
    assert waits == sorted(waits)
    assert waits[-1] == timedelta(hours=18)


@given(attempt=st.integers(1, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_jitter_stays_within_a_fifth_either_way(attempt: int, chance: float) -> None:
    plain = Policy().wait(attempt, chance=MIDDLE)
    assert 0.8 * plain <= Policy().wait(attempt, chance=chance) <= 1.2 * plain


@pytest.mark.parametrize(("chance", "factor"), [(0, 0.8), (0.25, 0.9), (0.75, 1.1), (1, 1.2)])
@pytest.mark.parametrize("attempt", [1, 2, 9, 10_000])
def test_chance_moves_a_wait_by_a_fifth_either_way(attempt: int, chance: float, factor: float) -> None:
    plain = Policy().wait(attempt, chance=MIDDLE)
    assert Policy().wait(attempt, chance=chance) == pytest.approx(factor * plain, abs=timedelta(milliseconds=1))


def test_chance_moves_what_is_decided_too() -> None:
    early, late = (decide(Policy(), spent=1, now=NOW, chance=chance) for chance in (0, 1))
    assert (early, late) == (Again(NOW + timedelta(seconds=8)), Again(NOW + timedelta(seconds=12)))
    early, late = (decide_lost(Policy(), spent=2, now=NOW, chance=chance) for chance in (0, 1))
    assert (early, late) == (Again(NOW + timedelta(seconds=24)), Again(NOW + timedelta(seconds=36)))


def test_a_failed_attempt_is_followed_by_another_after_the_wait() -> None:
    assert decide(Policy(), spent=1, now=NOW, chance=MIDDLE) == Again(NOW + timedelta(seconds=10))


def test_the_last_attempt_is_followed_by_none() -> None:
    assert isinstance(decide(Policy(attempts=3), spent=3, now=NOW, chance=MIDDLE), Dead)


def test_a_handler_chooses_its_own_wait() -> None:
    wish = timedelta(minutes=7)
    assert decide(Policy(), spent=4, now=NOW, chance=MIDDLE, after=wish) == Again(NOW + wish)


def test_a_handlers_own_wait_does_not_give_it_more_attempts() -> None:
    assert isinstance(decide(Policy(attempts=2), spent=2, now=NOW, chance=MIDDLE, after=timedelta(0)), Dead)


def test_a_wait_beyond_all_reason_is_cut() -> None:
    assert decide(Policy(), spent=1, now=NOW, chance=MIDDLE, after=timedelta.max) == Again(NOW + LONGEST_WAIT)


def test_a_negative_wait_is_none() -> None:
    assert Retry(after=timedelta(seconds=-5)).after == timedelta(0)


def test_a_wait_that_is_no_timedelta_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="timedelta, not int"):
        Retry(after=30)  # type: ignore[arg-type]


def test_a_job_lost_once_is_repeated_at_once() -> None:
    assert decide_lost(Policy(), spent=1, now=NOW, chance=MIDDLE) == Again(NOW)


def test_a_job_with_two_attempts_is_repeated_at_once_and_one_with_a_single_attempt_never() -> None:
    assert decide_lost(Policy(attempts=2), spent=1, now=NOW, chance=MIDDLE) == Again(NOW)
    assert isinstance(decide_lost(Policy(attempts=1), spent=1, now=NOW, chance=MIDDLE), Dead)


def test_a_job_lost_again_waits_as_failures_do() -> None:
    assert decide_lost(Policy(), spent=2, now=NOW, chance=MIDDLE) == Again(NOW + timedelta(seconds=30))


def test_a_job_that_kills_every_worker_ends() -> None:
    assert isinstance(decide_lost(Policy(attempts=4), spent=4, now=NOW, chance=MIDDLE), Dead)
