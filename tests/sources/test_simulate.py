"""The simulated retry storm keeps count of every event."""

import pytest

from bench.simulate import SCHEDULES, Load, simulate, span


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_with_room_to_spare_every_event_of_an_outage_is_kept(schedule: str) -> None:
    storm = simulate(Load(rate=10, outage=600, answers=200, jobs=200, schedule=schedule))
    assert storm.given_up == 0
    assert storm.kept == storm.happened


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_without_room_the_provider_gives_up_and_the_count_says_so(schedule: str) -> None:
    storm = simulate(Load(rate=10, outage=600, answers=5, jobs=10, schedule=schedule))
    assert storm.given_up > 0
    assert storm.kept < storm.happened


def test_the_queue_is_what_came_faster_than_jobs_run() -> None:
    storm = simulate(Load(rate=10, outage=100, answers=1000, jobs=20, schedule="filestack-1"))
    assert storm.peak_queue == pytest.approx(0.0, abs=1)
    storm = simulate(Load(rate=10, outage=900, answers=1000, jobs=15, schedule="filestack-1"))
    assert storm.peak_queue > 0
    assert storm.empty_after is not None
    assert storm.calm_after is not None
    assert storm.empty_after >= storm.calm_after


def test_no_outage_is_no_storm() -> None:
    storm = simulate(Load(rate=10, outage=0, answers=10, jobs=10))
    assert (storm.refused, storm.peak_queue, storm.empty_after) == (0, 0.0, 0)


def test_spans_are_said_in_the_units_that_matter() -> None:
    assert [span(59), span(3725), span(None)] == ["0 min 59 s", "1 h 02 min", "not in two days"]
