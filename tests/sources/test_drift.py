"""Drift: what differs from the schema that we know is noted, and whatever comes, nothing is raised."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.events import Delivery, Event, Headers
from receiver.sources import SOURCES, samples
from receiver.sources.filestack.schemas import UNKNOWN_ACTION
from receiver.sources.schemas import MAX_DRIFT, find_drift

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SAMPLES = [(source, name) for source in SOURCES for name in samples.names(source)]
OPEN = {"NO_ACTIVE_SESSION"}

Change = Callable[[dict[str, Any]], object]


def drift_of_body(source: str, body: bytes) -> list[dict[str, str]]:
    module = SOURCES[source]
    return module.drift(module.parse(Delivery(source=source, body=body, headers=Headers(), received_at=NOW)))


def drift(source: str, name: str, change: Change = lambda payload: None) -> list[dict[str, str]]:
    payload = samples.sample(source, name, at=NOW, number=1)
    change(payload)
    return drift_of_body(source, samples.encode(source, payload))


@pytest.mark.parametrize(("source", "name"), SAMPLES)
def test_a_sample_does_not_drift(source: str, name: str) -> None:
    assert drift(source, name) == []


@pytest.mark.parametrize(("source", "name"), [one for one in SAMPLES if one[1] not in OPEN])
def test_a_new_field_beside_the_others_drifts(source: str, name: str) -> None:
    found = drift(source, name, lambda payload: payload.update(signal_lamp="green"))
    assert found == [{"path": "signal_lamp", "problem": "Unknown field."}]


@pytest.mark.parametrize(
    ("source", "name", "where"),
    [
        ("box", "FILE.UPLOADED", "source"),
        ("box", "FILE.TRASHED", "source"),
        ("box", "FOLDER.CREATED", "source"),
        ("box", "COMMENT.CREATED", "source"),
        ("box", "FILE.RENAMED", "additional_info"),
        ("box", "FILE.UPLOADED", "created_by"),
        ("filestack", "fp.upload", "text"),
        ("filestack", "fp.conversion", "text"),
        ("filestack", "fs.workflow", "text"),
    ],
)
def test_a_new_field_inside_drifts_with_its_path(source: str, name: str, where: str) -> None:
    found = drift(source, name, lambda payload: payload[where].update(lamp=1))
    assert found == [{"path": f"{where}.lamp", "problem": "Unknown field."}]


def test_a_new_field_inside_a_list_drifts_with_its_place() -> None:
    found = drift(
        "box", "FILE.MOVED", lambda payload: payload["source"]["path_collection"]["entries"][1].update(lamp=1)
    )
    assert found == [{"path": "source.path_collection.entries.1.lamp", "problem": "Unknown field."}]


@pytest.mark.parametrize(
    ("source", "name", "field"), [("box", "TRAIN.ARRIVED", "trigger"), ("filestack", "fp.lamp", "action")]
)
def test_a_new_name_drifts_once_and_its_content_is_let_pass(source: str, name: str, field: str) -> None:
    found = drift(source, name, lambda payload: payload.update({"source" if source == "box" else "text": [1]}))
    assert found == [{"path": field, "problem": f"Unknown {field}: only the envelope was checked."}]


def test_the_envelope_of_a_new_name_is_checked() -> None:
    found = drift("box", "TRAIN.ARRIVED", lambda payload: payload.update(id=5, lamp=1))
    assert [entry["path"] for entry in found] == ["trigger", "id", "lamp"]


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("FILE.UPLOADED", "source.size", "2048"),
        ("FILE.UPLOADED", "source.size", True),
        ("FILE.UPLOADED", "source.size", 1.0),
        ("FILE.UPLOADED", "source.id", 5),
        ("FILE.UPLOADED", "source.name", None),
        ("FILE.UPLOADED", "source.modified_at", "2026-05-04T12:00:00"),
        ("FILE.UPLOADED", "source.type", "folder"),
        ("FILE.UPLOADED", "source", []),
        ("FILE.UPLOADED", "additional_info", [1]),
        ("FILE.UPLOADED", "additional_info", None),
        ("FILE.UPLOADED", "webhook", "7"),
        ("FILE.UPLOADED", "created_at", "today"),
        ("COMMENT.CREATED", "source.is_reply_comment", 0),
        ("SHARED_LINK.CREATED", "source.is_password_enabled", "false"),
    ],
)
def test_a_box_value_of_another_type_drifts(name: str, path: str, value: object) -> None:
    assert [entry["path"] for entry in drift("box", name, _put(path, value))] == [path]


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("fp.upload", "id", "7"),
        ("fp.upload", "timestamp", "1777896000"),
        ("fp.upload", "text.size", "51200"),
        ("fp.upload", "text.size", False),
        ("fp.upload", "text", []),
        ("fp.overwrite", "text.isWriteable", 1),
        ("fs.workflow", "text.results", []),
        ("fs.workflow", "text.createdAt", "today"),
        ("transcode", "timestamp", "today"),
        ("transcode", "status", 1),
    ],
)
def test_a_filestack_value_of_another_type_drifts(name: str, path: str, value: object) -> None:
    assert [entry["path"] for entry in drift("filestack", name, _put(path, value))] == [path]


@pytest.mark.parametrize("path", ["created_by", "source.shared_link", "source.parent", "source.etag"])
def test_a_null_that_box_is_known_to_send_does_not_drift(path: str) -> None:
    assert drift("box", "FILE.UPLOADED", _put(path, None)) == []


@pytest.mark.parametrize("field", ["type", "created_by", "additional_info"])
def test_a_field_that_box_may_leave_out_does_not_drift(field: str) -> None:
    assert drift("box", "FILE.UPLOADED", lambda payload: payload.pop(field)) == []


@pytest.mark.parametrize("field", ["id", "created_at", "webhook", "source"])
def test_a_field_that_box_always_sends_drifts_when_it_is_missing(field: str) -> None:
    (entry,) = drift("box", "FILE.UPLOADED", lambda payload: payload.pop(field))
    assert entry == {"path": field, "problem": "Missing data for required field."}


def test_an_upload_without_a_timestamp_does_not_drift() -> None:
    assert drift("filestack", "fp.upload", lambda payload: payload.pop("timestamp")) == []


def test_an_upload_to_a_linked_drive_has_no_container_and_does_not_drift() -> None:
    assert (
        drift(
            "filestack", "fp.upload", lambda payload: [payload["text"].pop(k) for k in ("container", "key", "status")]
        )
        == []
    )


def test_the_action_that_people_call_conversion_does_not_drift() -> None:
    assert drift("filestack", "fp.converse", _put("action", "fp.conversion")) == []


def test_a_key_that_comes_twice_drifts() -> None:
    body = b'{"id":7,"action":"fp.delete","text":{"url":"a","url":"b"}}'
    (entry,) = drift_of_body("filestack", body)
    assert entry["path"] == "text.url"
    assert "more than once" in entry["problem"]


def test_a_key_that_comes_twice_is_named_alone_and_found_in_lists_too() -> None:
    body = b'{"a":[1,{"b":1,"c":2,"b":3}],"d":4}'
    found = [entry["path"] for entry in find_drift({}, body, UNKNOWN_ACTION) if "more than once" in entry["problem"]]
    assert found == ["a.1.b"]


def test_a_payload_that_is_no_object_drifts_as_a_whole() -> None:
    assert find_drift([], b"[]", UNKNOWN_ACTION) == [{"path": "payload", "problem": "Not an object."}]


@pytest.mark.parametrize(("source", "field"), [("box", "trigger"), ("filestack", "action")])
def test_a_name_that_nobody_knows_is_drift_beside_what_else_is_odd(source: str, field: str) -> None:
    body = json.dumps({field: "TRAIN.ARRIVED", "id": "7"}).encode()[:-1] + b', "x": 1, "x": 2}'
    found = {entry["path"]: entry["problem"] for entry in drift_of_body(source, body)}
    assert found[field] == f"Unknown {field}: only the envelope was checked."
    assert found["x"]
    assert len(found) > 2


@pytest.mark.parametrize(("source", "name"), [("box", "FILE.UPLOADED"), ("filestack", "fp.delete")])
def test_an_event_of_either_source_that_has_no_name_is_checked_by_its_type(source: str, name: str) -> None:
    payload = samples.sample(source, name, at=NOW, number=1) | {"lamp": 1}
    event = Event(type=f"{source}:{name}", payload=payload)
    assert [entry["path"] for entry in SOURCES[source].drift(event)] == ["lamp"]


def test_an_event_made_without_a_body_or_a_name_is_checked_all_the_same() -> None:
    event = Event(type="filestack:fp.delete", payload={"id": 7, "action": "fp.delete", "text": {"url": "a", "lamp": 1}})
    assert [entry["path"] for entry in SOURCES["filestack"].drift(event)] == ["text.lamp"]


def test_no_problem_repeats_a_value() -> None:
    assert "hush" not in repr(drift("box", "FILE.UPLOADED", _put("source.type", "hush")))


def test_there_are_never_too_many_entries() -> None:
    found = drift("box", "TRAIN.ARRIVED", lambda payload: payload.update({f"lamp {n}": n for n in range(500)}))
    assert len(found) == MAX_DRIFT
    assert found[0]["path"] == "trigger"


@pytest.mark.parametrize("key", ["\x00", "\ud800", "\u202e", "\n", "x" * 9_999, "\ud800" * 9_999, "_schema", "a.b", ""])
def test_a_path_can_always_be_stored_and_shown(key: str) -> None:
    payload = samples.sample("box", "FILE.UPLOADED", at=NOW, number=1) | {key: 1}
    (entry,) = drift_of_body("box", json.dumps(payload).encode())
    assert entry["path"].isprintable()
    assert len(entry["path"]) <= 200


def _put(path: str, value: object) -> Change:
    *parents, last = path.split(".")

    def change(payload: dict[str, Any]) -> None:
        for name in parents:
            payload = payload[name]
        payload[last] = value

    return change


def _deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"source": value, "text": [value]}
    return value


@pytest.mark.parametrize("payload", [[], None, "text", {1: 2}, {None: None}, _deep(5_000)])
@pytest.mark.parametrize("type_", ["box:FILE.UPLOADED", "box:", "filestack:fp.upload", "filestack:transcode"])
def test_a_payload_that_no_body_gives_does_not_raise(type_: str, payload: Any) -> None:
    assert SOURCES[type_.partition(":")[0]].drift(Event(type=type_, payload=payload, body=b"[" * 100_000))


FIELDS = [
    "type",
    "id",
    "created_at",
    "trigger",
    "webhook",
    "source",
    "created_by",
    "action",
    "timestamp",
    "text",
    "uuid",
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(
    one=st.sampled_from(SAMPLES),
    payload=st.dictionaries(st.sampled_from(FIELDS) | st.text(), json_values),
    body=st.binary(max_size=20),
)
def test_no_payload_makes_drift_raise(one: tuple[str, str], payload: dict[str, Any], body: bytes) -> None:
    source, name = one
    found = SOURCES[source].drift(Event(type=f"{source}:{name}", name=name, payload=payload, body=body))
    assert all(set(entry) == {"path", "problem"} for entry in found)
    assert len(found) <= MAX_DRIFT
