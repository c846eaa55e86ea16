"""Times as people say them."""

from datetime import UTC, datetime, timedelta

import pytest

from receiver import humanize

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (timedelta(), "0 ms"),
        (timedelta(milliseconds=40), "40 ms"),
        (timedelta(seconds=119), "119 s"),
        (timedelta(seconds=120), "2 min"),
        (timedelta(minutes=119, seconds=59), "119 min"),
        (timedelta(hours=2), "2 h"),
        (timedelta(hours=48), "2 days"),
        (timedelta(seconds=-25), "25 s"),
        (timedelta(minutes=5), "5 min"),
        (timedelta(hours=3), "3 h"),
        (timedelta(days=30), "30 days"),
    ],
)
def test_a_span_is_said_in_one_unit(length: timedelta, said: str) -> None:
    assert humanize.span(length) == said


def test_a_time_is_said_from_now() -> None:
    said = [humanize.ago(NOW - timedelta(seconds=seconds), NOW) for seconds in (0, 30, -30)]
    assert said == ["just now", "30 s ago", "in 30 s"]


def test_ordinals_end_as_they_should() -> None:
    numbers = (1, 2, 3, 4, 11, 12, 13, 21, 102, 111)
    assert [humanize.ordinal(number) for number in numbers] == (
        ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th"]
    )


def test_times_are_shown_in_utc() -> None:
    assert humanize.full(humanize.parse("2026-05-04T14:00:00.5+02:00")) == "2026-05-04 12:00:00 UTC"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("15m", datetime(2026, 5, 4, 11, 45, tzinfo=UTC)),
        ("7d", datetime(2026, 4, 27, 12, tzinfo=UTC)),
        ("2026-05-04", datetime(2026, 5, 4, tzinfo=UTC)),
        ("2026-05-04T12:00", datetime(2026, 5, 4, 12, tzinfo=UTC)),
        ("2026-05-04T12:00+02:00", datetime(2026, 5, 4, 10, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_as_people_write_it(text: str, wanted: datetime) -> None:
    assert humanize.read_time(text, datetime(2026, 5, 4, 12, tzinfo=UTC)) == wanted


@pytest.mark.parametrize("text", ["", "m", "15", "-1h", "1y", "yesterday", "999999w", "2026-13-01"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        humanize.read_time(text, datetime(2026, 5, 4, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    ("off", "age", "lasting"),
    [
        (timedelta(minutes=-8), "8 min", "for 8 min"),
        (timedelta(milliseconds=300), "0 ms", "for 0 ms"),
        (timedelta(minutes=118), "in 118 min", "begun 118 min ahead of this clock (signalbox doctor compares them)"),
    ],
)
def test_what_another_clock_wrote_may_lie_ahead(off: timedelta, age: str, lasting: str) -> None:
    assert (humanize.age(NOW + off, NOW), humanize.lasting(NOW + off, NOW)) == (age, lasting)


def test_how_long_something_took_is_unknown_where_the_clock_was_set_back() -> None:
    assert humanize.took(NOW, NOW + timedelta(seconds=5)) == "5 s"
    assert humanize.took(NOW, NOW - timedelta(seconds=5)) == "an unknown time, as the clock was set back"


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (datetime(2026, 5, 4, 12, 0, tzinfo=UTC), "2026-05-04T12:00:00Z"),
        (datetime(2026, 5, 4, 12, 0, 0, 250_000, tzinfo=UTC), "2026-05-04T12:00:00.250000Z"),
    ],
)
def test_a_time_in_json_is_iso_and_is_parsed_to_the_same_time(at: datetime, text: str) -> None:
    assert humanize.iso(at) == text
    assert humanize.parse(text) == at


def test_no_time_is_no_text() -> None:
    assert humanize.iso(None) is None
