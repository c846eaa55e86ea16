"""What differs between two payloads, and the page that shows it."""

from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from receiver.inbox.rows import Inbox
from receiver.web.payload import diff
from receiver.web.payload.diff import Difference, Row
from tests.installation import Clock, arrive
from tests.web.test_tree import ANY_JSON

OBJECTS = st.dictionaries(st.text(), ANY_JSON, max_size=4)


def rows(difference: Difference) -> list[Row]:
    return [row for _, run in difference.runs for row in run]


def kinds(old: dict[str, Any], new: dict[str, Any]) -> dict[str, str]:
    return {row.path: row.kind for row in rows(diff.compare(old, new))}


def test_what_is_added_removed_changed_and_the_same_is_told_by_path() -> None:
    old = {"id": 1, "source": {"name": "a", "size": 3}, "tags": ["x", "y"], "gone": True}
    new = {"id": 2, "source": {"name": "a", "size": 3, "sha1": "f"}, "tags": ["x"], "more": {"a": 1}}
    assert kinds(old, new) == {
        "id": "changed",
        "source.name": "same",
        "source.size": "same",
        "source.sha1": "added",
        "tags[0]": "same",
        "tags[1]": "removed",
        "more": "added",
        "gone": "removed",
    }


def test_the_order_of_keys_is_nothing() -> None:
    assert set(kinds({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}).values()) == {"same"}


def test_json_tells_true_from_one_and_null_from_nothing() -> None:
    assert kinds({"a": True, "b": None}, {"a": 1}) == {"a": "changed", "b": "removed"}


def test_another_kind_of_value_is_one_change() -> None:
    assert kinds({"a": {"b": 1}}, {"a": [1]}) == {"a": "changed"}


def test_a_change_is_cut_to_what_differs() -> None:
    (row,) = rows(diff.compare({"a": "report-1.pdf"}, {"a": "report-22.pdf"}))
    assert row.old == diff.Part('"report-', "1", '.pdf"')
    assert row.new == diff.Part('"report-', "22", '.pdf"')


def test_a_change_far_into_a_long_text_is_seen() -> None:
    (row,) = rows(diff.compare({"a": "x" * 100_000 + "1"}, {"a": "x" * 100_000 + "2"}))
    assert row.old is not None
    assert row.old.differs == "1"
    assert len(row.old.before) < 1000


@given(OBJECTS)
def test_a_payload_differs_from_itself_nowhere(payload: dict[str, Any]) -> None:
    assert all(row.kind == "same" for row in rows(diff.compare(payload, payload)))


@given(OBJECTS, OBJECTS)
def test_the_other_way_round_added_is_removed(one: dict[str, Any], other: dict[str, Any]) -> None:
    there, back = diff.compare(one, other), diff.compare(other, one)
    assert there.count("added") == back.count("removed")
    assert there.count("changed") == back.count("changed")


def test_what_is_too_much_is_left_out_and_said() -> None:
    assert diff.compare({"a": list(range(diff.MAX_ROWS))}, {"a": [1]}).is_whole
    difference = diff.compare({"a": list(range(5000))}, {"a": [1]})
    assert not difference.is_whole
    assert len(rows(difference)) == diff.MAX_ROWS


def test_headers_are_compared_by_name_in_any_spelling() -> None:
    difference = diff.compare_headers([["x-a", "1"], ["X-B", "2"]], [["X-A", "1"], ["X-B", "3"], ["X-B", "4"]])
    assert {row.path: row.kind for row in rows(difference)} == {'["X-A"]': "same", '["X-B"]': "changed"}


def test_an_event_is_compared_with_the_one_of_its_type_before(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    first = arrive(inbox, clock, number=1)
    arrive(inbox, clock, name="FILE.TRASHED", number=2)
    clock.pass_by(minutes=5)
    newest = arrive(inbox, clock, number=3)
    page = client.get(f"/events/{newest}/diff").text
    assert f'href="/events/{first}"' in page
    assert "5 min before" in page
    assert "source.name" in page
    assert "the same" in page


def test_any_two_events_can_be_compared(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    first = arrive(inbox, clock, number=1)
    clock.pass_by(seconds=30)
    other = arrive(inbox, clock, "filestack", "fp.upload", number=2)
    for one, another in ((first, other), (other, first)):
        page = client.get(f"/events/{one}/diff?with={another}").text
        assert f'href="/events/{another}"' in page
        assert "30 s before" in page or "30 s after" in page


def test_the_first_of_its_type_has_none_before(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    only = arrive(inbox, clock)
    page = client.get(f"/events/{only}/diff").text
    assert "no event of this type before this one" in page


def test_an_event_that_is_not_there_is_a_404(app: Flask, client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    only = arrive(inbox, clock)
    assert client.get(f"/events/{only}/diff?with=01AAAAAAAAAAAAAAAAAAAAAAAA").status_code == 404
    assert client.get(f"/events/{only}/diff?with=%00").status_code == 404


def test_htmx_gets_the_comparison_alone(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    only = arrive(inbox, clock)
    page = client.get(f"/events/{only}/diff", headers={"HX-Request": "true", "HX-Target": "detail"}).text
    assert "<html" not in page
    assert page.startswith("<title>")
