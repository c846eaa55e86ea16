"""A payload as the steps of its drawing."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.web.payload import json_path, tree
from receiver.web.payload.tree import Step, steps

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=10,
)


def leaves(payload: object) -> dict[str | None, Step]:
    return {step.path: step for step in steps(payload) if step.kind == "leaf"}


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_paths_are_as_people_paste_them() -> None:
    payload = {"source": {"name": "a"}, "entries": [{"id": 1}], "night watch": {"x-y": 2}, "blå": 3}
    assert list(leaves(payload)) == ["source.name", "entries[0].id", '["night watch"]["x-y"]', "blå"]


def test_a_path_shows_what_is_invisible_as_its_number() -> None:
    assert json_path.below("", "a\u202eb") == r'["a\u202eb"]'


def test_a_path_that_is_too_long_is_none_and_so_is_what_stands_below() -> None:
    assert json_path.below("", "x" * 501) is None
    assert json_path.below(None, "a") is None


@given(ANY_JSON)
def test_whatever_is_opened_is_closed_and_every_scalar_is_drawn(payload: object) -> None:
    drawn = list(steps(payload))
    depth = 0
    for step in drawn:
        depth += {"open": 1, "close": -1}.get(step.kind, 0)
        assert depth >= 0
    assert depth == 0


def test_ten_thousand_nested_arrays_are_drawn_to_the_hundredth() -> None:
    drawn = list(steps(nested(10_000)))
    assert sum(step.kind == "open" for step in drawn) == tree.MAX_DEPTH - 1
    assert [step.text for step in drawn if step.kind == "left_out"] == ["9900 levels deeper"]


def test_what_is_too_much_is_counted_and_left_out() -> None:
    drawn = list(steps({"many": list(range(20_000)), "after": 1}))
    assert sum(step.kind == "leaf" for step in drawn) < tree.MAX_NODES
    assert [step.text for step in drawn if step.kind == "left_out"] == ["15001 more items", "1 more item"]


def test_a_key_that_is_very_long_does_not_make_every_path_below_as_long() -> None:
    drawn = list(steps({"k" * 500_000: list(range(3000))}))
    assert sum(len(step.path or "") + len(str(step.key)) for step in drawn) < 100_000


def test_a_megabyte_of_text_is_folded_and_cut() -> None:
    (step,) = steps({"line": "x" * 1_000_000})
    assert len(step.text) == tree.SHOWN_OF_LONG_TEXT
    assert len(step.rest) < tree.MAX_CHARACTERS
    assert step.rest.endswith("characters more: see Raw")


def test_a_text_of_some_lines_is_not_folded() -> None:
    (step,) = steps({"a": "x" * tree.LONG_TEXT})
    assert (len(step.text), step.rest) == (tree.LONG_TEXT, "")


@pytest.mark.parametrize("text", ["https://a.example/b?c=d", "http://[::1]:8000/", "https://bücher.example"])
def test_an_address_of_the_web_is_a_link(text: str) -> None:
    assert leaves({"a": text})["a"].url == text


@pytest.mark.parametrize(
    "text",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "data:text/html,<script>",
        "//evil.example",
        "https:",
        "https://",
        "https://a b",
        "https://a.example/\u202egnp.exe",
        "https://a\nb",
        "https://[bad",
        "file:///etc/passwd",
        " https://a.example",
        "HTTP://A.EXAMPLE",
        "https://a.example/" + "x" * 3000,
    ],
)
def test_nothing_else_is_a_link(text: str) -> None:
    assert leaves({"a": text})["a"].url is None


def test_times_are_known() -> None:
    at = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
    payload = {"created_at": "2026-05-04T05:00:00-07:00", "timestamp": 1777896000, "uploaded": 1777896000000.0}
    assert {step.at for step in leaves(payload).values()} == {at}
    assert leaves({"timestamp": "1777896000"})["timestamp"].at == at


@pytest.mark.parametrize("value", [12, True, "12", "2026", 10**30, None, "1777896000x", 1e300, [], {}])
def test_other_values_are_no_times(value: object) -> None:
    assert leaves({"timestamp": value})["timestamp"].at is None


def test_numbers_and_words_are_written_as_json() -> None:
    payload: dict[str, Any] = {"a": None, "b": True, "c": 1.5, "d": [], "e": {}}
    assert [step.text for step in leaves(payload).values()] == [json.dumps(value) for value in payload.values()]
