"""Charts: well-formed whatever they are made of, and in proportion."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.web.stats.charts import Line, Panel, Strip, Times, draw, range_bar, rate_bar, took

BEGAN = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
HOSTILE = ["</text><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a\u202eb\u0007c", "&amp;", ""]


def times(count: int, step: timedelta = timedelta(minutes=1)) -> Times:
    return Times([BEGAN + number * step for number in range(count)], step)


def plain(number: float) -> str:
    return f"{number:g}"


def strips(values: Sequence[float], *, name: str = "box", limit: float | None = None) -> ElementTree.Element:
    strip = Strip(name, values, plain, limit=limit)
    return read(draw(times(len(values)), [strip], label="A title", said=[plain(value) for value in values]))


def lines(*values: Sequence[float | None]) -> ElementTree.Element:
    panel = Panel("box", [Line(f"p{number}", each) for number, each in enumerate(values)], took)
    return read(draw(times(len(values[0])), [panel], label="A title", said=[""] * len(values[0])))


def read(drawing: str) -> ElementTree.Element:
    """Read it as XML, which forgives nothing."""
    return ElementTree.fromstring(str(drawing))


def heights(drawing: ElementTree.Element, kind: str = "plain") -> list[float]:
    path = next((one for one in drawing.iter("path") if one.get("class") == f"bars {kind}"), None)
    return [] if path is None else [float(tall) for tall in re.findall(r"v-([\d.]+)h", path.get("d") or "")]


def texts(drawing: ElementTree.Element, kind: str) -> list[str]:
    return [one.text or "" for one in drawing.iter("text") if one.get("class") == kind]


def test_columns_are_as_high_as_their_numbers() -> None:
    assert heights(strips([10, 5, 0, 2.5])) == [43, 21.5, 10.8]


def test_the_highest_number_is_written_as_the_scale() -> None:
    assert texts(strips([10, 5]), "note") == ["up to 10"]


def test_a_small_number_beside_a_large_one_is_still_seen() -> None:
    assert heights(strips([1_000_000, 1])) == [43, 2]


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_any_number_of_steps_is_drawn(count: int) -> None:
    assert len(heights(strips([1.0] * count))) == count
    assert read(draw(times(count), [Panel("box", [Line("p50", [1.0] * count)], took)], label="", said=[""] * count))


def test_nothing_but_noughts_is_a_line_at_the_bottom() -> None:
    drawing = strips([0, 0, 0])
    assert heights(drawing) == []
    assert texts(drawing, "note") == [""]


def test_what_is_above_the_limit_is_drawn_as_trouble() -> None:
    drawing = strips([30, 90, 20], limit=60)
    assert (len(heights(drawing)), len(heights(drawing, "over"))) == (2, 1)
    assert texts(drawing, "unit limit-name") == ["alarm: 60"]


def test_a_limit_that_nothing_reaches_is_the_top_of_the_scale() -> None:
    assert heights(strips([30], limit=60)) == [21.5]


def test_every_step_says_its_numbers_to_a_pointer() -> None:
    assert [one.text for one in strips([1, 2]).iter("title")] == ["1", "2"]


def test_a_chart_has_its_title_for_who_does_not_see_it() -> None:
    drawing = strips([1])
    assert (drawing.get("role"), drawing.get("aria-label")) == ("img", "A title")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_text(name: str) -> None:
    drawing = strips([1], name=name)
    assert {one.tag for one in drawing.iter()} <= {"svg", "g", "use", "text", "line", "path", "rect", "title"}
    shown = texts(drawing, "name")[0]
    assert shown.isprintable()
    assert shown == name or "U+" in shown


@given(st.text(max_size=50), st.lists(st.floats(min_value=0, max_value=1e12), max_size=20))
def test_whatever_is_drawn_is_well_formed(name: str, values: list[float]) -> None:
    assert strips(values, name=name).tag == "svg"


@given(st.lists(st.none() | st.floats(min_value=0.001, max_value=1e9), min_size=1, max_size=20))
def test_lines_stay_inside_their_panel(values: list[float | None]) -> None:
    for path in lines(values).iter("path"):
        assert all(0 <= float(y) <= 84 for y in re.findall(r"[ML][\d.]+ ([-\d.]+)", path.get("d") or ""))


def test_a_line_has_a_gap_where_there_is_no_number_and_a_dot_where_one_stands_alone() -> None:
    paths = [one.get("d") or "" for one in lines([1.0, 2.0, None, 3.0, None]).iter("path")]
    assert re.sub(r"[\d.]+ [\d.]+", "", paths[0]) == "MLM"
    assert re.sub(r"[\d.]+ [\d.]+", "", paths[1]) == "Mh0"


def test_the_names_of_lines_that_end_at_one_place_do_not_lie_over_each_other() -> None:
    ends = [float(one.get("y") or 0) for one in lines([5.0], [5.0], [5.0]).iter("text") if one.get("class") == "end"]
    assert len(ends) == 3
    assert min(abs(one - other) for one in ends for other in ends if one != other) >= 12


def test_hours_are_written_where_they_are() -> None:
    found = list(times(60).ticks())
    assert [said for _, said in found] == ["12:15", "12:30", "12:45"]
    assert found[1][0] == pytest.approx(0.508, abs=0.001)


@pytest.mark.parametrize(
    ("count", "step", "said"),
    [
        (72, timedelta(minutes=5), ["13:00", "14:00"]),
        (72, timedelta(minutes=20), ["16:00", "20:00"]),
        (84, timedelta(hours=2), ["Tue 05", "Wed 06"]),
    ],
)
def test_longer_windows_are_written_in_longer_steps(count: int, step: timedelta, said: list[str]) -> None:
    assert [one for _, one in times(count, step).ticks()][:2] == said


def test_a_bar_shows_the_shares_of_its_outcomes() -> None:
    shown = [(one.get("class"), one.get("width")) for one in read(rate_bar(50, 30, 20)).iter("rect")]
    assert shown == [("done", "50.0%"), ("waiting", "30.0%"), ("dead", "20.0%")]


def test_one_failure_in_a_million_is_seen() -> None:
    assert [one.get("width") for one in read(rate_bar(999_999, 0, 1)).iter("rect")][1] == "2%"


def test_times_of_handlers_stand_on_one_scale() -> None:
    (circle,) = read(range_bar(10, 100, of=[1, 10, 100, 1000])).iter("circle")
    assert circle.get("cx") == "33.3%"
    assert range_bar(None, None, of=[None]) == ""


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [(0.1, "0.1 ms"), (2.14, "2.1 ms"), (14.3, "14 ms"), (999, "999 ms"), (1234, "1.2 s"), (90_000, "90 s")],
)
def test_times_are_written_with_two_digits_or_so(milliseconds: float, said: str) -> None:
    assert took(milliseconds) == said
