"""Filestack: which deliveries verify, why others are refused, and which event a verified one tells of."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.errors import UnreadableError
from receiver.events import Delivery, Event, Headers, Reason, Refused, Verified
from receiver.sources import filestack, samples

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
KEYS = {"secret 1": "secret one of the tests", "secret 2": "secret two of the tests"}
DAY = timedelta(hours=24)
MAX_SKEW = timedelta(seconds=60)
BODY = samples.encode("filestack", samples.sample("filestack", "fp.upload", at=NOW, number=1))
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "filestack.json").read_text(encoding="utf-8"))


def delivery(body: bytes = BODY, *, keys: Mapping[str, str] = KEYS, age: int = 0, **changed: str | None) -> Delivery:
    """A signed delivery; `signature` and `timestamp` set those headers, and None takes one away."""
    headers: dict[str, str | None] = dict(filestack.sign(body, keys, at=NOW - timedelta(seconds=age)))
    headers |= {f"FS-{name.title()}": value for name, value in changed.items()}
    lines = [(name, value) for name, value in headers.items() if value is not None]
    return Delivery(source="filestack", body=body, headers=Headers(lines), received_at=NOW)


def verify(one: Delivery, keys: Mapping[str, str] = KEYS) -> Verified | Refused:
    return filestack.verify(one, keys, max_age=DAY, max_skew=MAX_SKEW)


def refusal(one: Delivery, keys: Mapping[str, str] = KEYS) -> Refused:
    verdict = verify(one, keys)
    assert isinstance(verdict, Refused)
    return verdict


def parse(payload: object) -> Event:
    body = json.dumps(payload).encode()
    return filestack.parse(Delivery(source="filestack", body=body, headers=Headers(), received_at=NOW))


def errors_of(body: bytes) -> dict[str, list[str]]:
    with pytest.raises(UnreadableError) as caught:
        filestack.parse(Delivery(source="filestack", body=body, headers=Headers(), received_at=NOW))
    return caught.value.errors


# Verifying


def test_a_mismatch_says_which_secret_to_look_at() -> None:
    detail = refusal(delivery(keys={"secret 1": "another"})).detail
    assert "FILESTACK_SECRETS" in detail
    assert "Is it the secret of this webhook (not of the app)" in detail


def test_an_event_keeps_what_came() -> None:
    one = delivery()
    event = filestack.parse(one)
    assert (event.body, event.headers, event.received_at) == (one.body, one.headers, NOW)
    assert event.payload == json.loads(one.body)
    assert event.id == ""


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["from"])[:12])
def test_a_signature_made_by_another_program_verifies(vector: dict[str, str]) -> None:
    headers = Headers([("FS-Signature", vector["signature"]), ("FS-Timestamp", vector["timestamp"])])
    received_at = datetime.fromtimestamp(int(vector["timestamp"]), UTC)
    one = Delivery(source="filestack", body=vector["body"].encode(), headers=headers, received_at=received_at)
    assert verify(one, {"secret 1": vector["secret"]}) == Verified("secret 1")


def test_any_of_the_secrets_verifies() -> None:
    assert verify(delivery(keys={"": KEYS["secret 2"]})) == Verified("secret 2")


def test_the_first_secret_signs() -> None:
    assert verify(delivery()) == Verified("secret 1")


def test_header_names_are_found_in_any_spelling() -> None:
    one = delivery()
    lower = Headers((name.lower(), value) for name, value in one.headers.pairs)
    assert verify(replace(one, headers=lower)) == Verified("secret 1")


def test_a_body_that_is_not_utf8_verifies_by_its_bytes() -> None:
    assert verify(delivery(b"\xff\x00\xfe")) == Verified("secret 1")


def test_one_changed_byte_is_a_mismatch() -> None:
    one = delivery()
    assert refusal(replace(one, body=samples.tampered(one.body))).reason is Reason.SIGNATURE_MISMATCH


def test_another_timestamp_is_a_mismatch() -> None:
    assert refusal(delivery(timestamp=str(int(NOW.timestamp()) - 1))).reason is Reason.SIGNATURE_MISMATCH


@pytest.mark.parametrize("keys", [{}, {"secret 1": ""}])
def test_without_a_secret_nothing_verifies(keys: dict[str, str]) -> None:
    refused = refusal(delivery(), keys)
    assert refused.reason is Reason.SIGNATURE_MISMATCH
    assert "FILESTACK_SECRETS" in refused.detail


def test_an_empty_secret_verifies_nothing_even_when_it_signed() -> None:
    timestamp = str(int(NOW.timestamp()))
    signature = filestack._signature("", f"{timestamp}.".encode() + BODY).decode()
    one = delivery(signature=signature, timestamp=timestamp)
    assert refusal(one, {"secret 1": ""}).reason is Reason.SIGNATURE_MISMATCH


@pytest.mark.parametrize("value", [None, ""])
def test_an_unsigned_delivery_says_which_headers_did_come(value: str | None) -> None:
    refused = refusal(delivery(signature=value))
    assert refused.reason is Reason.SIGNATURE_MISSING
    assert "came FS-Timestamp" in refused.detail


def test_a_plain_request_has_no_signature() -> None:
    assert refusal(delivery(signature=None, timestamp=None)).reason is Reason.SIGNATURE_MISSING


@pytest.mark.parametrize("value", ["x", "A" * 64, "é" * 64, "0" * 10_000, "0" * 64 + "\n", "\ud800" * 64, "\x00"])
def test_what_cannot_be_a_signature_is_malformed(value: str) -> None:
    assert refusal(delivery(signature=value)).reason is Reason.SIGNATURE_MALFORMED


def test_a_prefix_before_the_signature_is_pointed_out() -> None:
    refused = refusal(delivery(signature="sha256=" + "0" * 64))
    assert refused.reason is Reason.SIGNATURE_MALFORMED
    assert '"sha256="' in refused.detail


def test_a_missing_timestamp_is_told() -> None:
    assert refusal(delivery(timestamp=None)).reason is Reason.TIMESTAMP_MISSING


@pytest.mark.parametrize(
    "value",
    [
        "soon",
        "-5",
        "+5",
        "5.0",
        "1e9",
        "\uff11777896000",
        "1_777",
        "2026-05-04T12:00:00Z",
        "9" * 12,
        "9" * 9999,
        "\ud800",
    ],
)
def test_a_timestamp_that_is_not_plain_digits_of_a_real_time_is_malformed(value: str) -> None:
    assert refusal(delivery(timestamp=value)).reason is Reason.TIMESTAMP_MALFORMED


@pytest.mark.parametrize("age", [0, 86_399, 86_400, -60])
def test_a_delivery_of_a_day_or_a_minute_ahead_is_accepted(age: int) -> None:
    assert verify(delivery(age=age)) == Verified("secret 1")


def test_a_delivery_older_than_a_day_is_stale() -> None:
    assert refusal(delivery(age=86_401)).reason is Reason.TIMESTAMP_STALE


def test_a_delivery_more_than_a_minute_ahead_is_from_the_future() -> None:
    assert refusal(delivery(age=-61)).reason is Reason.TIMESTAMP_IN_FUTURE


@pytest.mark.parametrize("name", ["FS-Signature", "fs-timestamp"])
def test_two_values_of_one_header_are_a_conflict(name: str) -> None:
    one = delivery()
    assert refusal(replace(one, headers=Headers([*one.headers.pairs, (name, "0")]))).reason is Reason.HEADER_CONFLICT


@pytest.mark.parametrize("age", [0, 86_401, -61])
def test_no_refusal_tells_a_secret_or_a_signature(age: int) -> None:
    one = delivery(age=age)
    for verdict in (verify(one, {"secret 1": "wrong"}), verify(one), verify(delivery(signature="0" * 64))):
        assert not any(secret in repr(verdict) for secret in (*KEYS.values(), one.headers["fs-signature"]))


# Parsing


def test_an_action_that_nobody_knows_becomes_a_type() -> None:
    event = parse({"action": "fp.signal", "id": 7})
    assert (event.type, event.name, event.identity) == ("filestack:fp.signal", "fp.signal", '["fp.signal",7]')


@pytest.mark.parametrize("name", ["fp.converse", "fp.conversion"])
def test_a_conversion_has_one_type_and_keeps_its_name(name: str) -> None:
    event = parse({"action": name, "id": 7})
    assert (event.type, event.name) == ("filestack:fp.conversion", name)


def test_an_upload_told_twice_on_its_way_is_two_events() -> None:
    on_its_way = parse({"action": "fp.upload", "id": 7, "text": {"status": "InTransit"}})
    there = parse({"action": "fp.upload", "id": 7, "text": {"status": "Stored"}})
    assert on_its_way.identity == '["fp.upload",7,"InTransit"]'
    assert there.identity == '["fp.upload",7,"Stored"]'


def test_the_transcoding_callback_is_read_without_an_action() -> None:
    event = parse({"uuid": "abc", "status": "completed", "timestamp": "1777896000"})
    assert (event.type, event.name) == ("filestack:transcode", "transcode")
    assert event.occurred_at == NOW


def callback(**told: object) -> Event:
    return parse({"uuid": "abc", "status": "completed", "timestamp": "1777896000"} | told)


def test_a_transcoding_told_pending_and_then_completed_is_two_events() -> None:
    assert callback(status="pending").identity == '["transcode","abc","pending",1777896000]'
    assert callback(status="completed").identity == '["transcode","abc","completed",1777896000]'


def test_a_transcoding_told_again_with_a_later_timestamp_is_another_event() -> None:
    assert callback().identity != callback(timestamp="1777896001").identity


def test_a_transcoding_told_again_with_the_same_body_is_the_same_event() -> None:
    assert callback().identity == callback().identity


def test_a_timestamp_of_a_transcoding_is_the_same_as_text_and_as_a_number() -> None:
    assert callback(timestamp="1777896000").identity == callback(timestamp=1777896000).identity


@pytest.mark.parametrize("timestamp", [None, "", "today", 1.5, True, [], {}, 10**400])
def test_where_a_transcoding_has_no_readable_timestamp_its_body_tells_it_from_others(timestamp: object) -> None:
    first, second = (callback(timestamp=timestamp, message=message) for message in ("Done", "Done again"))
    assert first.identity != second.identity
    assert first.identity == callback(timestamp=timestamp, message="Done").identity


def test_a_transcoding_without_a_timestamp_is_told_from_others_by_its_body() -> None:
    first, second = (parse({"uuid": "abc", "status": "completed", "data": {"url": url}}) for url in ("a", "b"))
    assert first.identity != second.identity


@pytest.mark.parametrize("status", [None, 5, [], {"code": "completed"}, "x" * 1000])
def test_a_transcoding_status_of_any_shape_is_tolerated_and_told_from_others(status: object) -> None:
    assert callback(status=status).identity != callback(status="pending").identity
    assert len(callback(status=status).identity) <= 200


def test_no_action_has_the_identity_of_a_transcoding() -> None:
    told = {"id": "abc", "text": {"status": "completed"}, "timestamp": "1777896000"}
    assert parse({"action": "transcode", **told}).identity != callback().identity


@pytest.mark.parametrize("payload", [{}, {"uuid": ""}, {"uuid": 5}, {"id": 7, "text": {}}])
def test_a_body_without_an_action_names_the_field(payload: dict[str, Any]) -> None:
    assert errors_of(json.dumps(payload).encode()) == {"action": ["Missing data for required field."]}


@pytest.mark.parametrize("action", [None, 5, [], "", "fp upload", "\x00", "\ud800", "a" * 201])
def test_an_action_that_is_no_word_is_unreadable_even_beside_a_uuid(action: object) -> None:
    assert list(errors_of(json.dumps({"action": action, "uuid": "abc"}).encode())) == ["action"]


@pytest.mark.parametrize("event_id", [None, "", 0, 1.5, True, [], {}])
def test_without_a_usable_id_the_body_is_the_identity(event_id: object) -> None:
    event = parse({"action": "fp.delete", "id": event_id})
    assert event.identity == hashlib.sha256(event.body).hexdigest()


def test_a_status_that_is_no_text_tells_two_events_apart_all_the_same() -> None:
    first, second = (parse({"action": "fp.upload", "id": 7, "text": {"status": status}}) for status in (1, {"n": 1}))
    third = parse({"action": "fp.upload", "id": 7, "text": {"status": {"n": 2}}})
    assert first.identity == '["fp.upload",7,1]'
    assert len({first.identity, second.identity, third.identity}) == 3


@pytest.mark.parametrize("text", [None, [], "text", {"status": None}, {"status": ""}])
def test_a_text_of_any_shape_is_tolerated(text: object) -> None:
    assert parse({"action": "fp.upload", "id": 7, "text": text}).identity == '["fp.upload",7]'


@pytest.mark.parametrize("timestamp", [1777896000, "1777896000"])
def test_the_time_of_the_event_is_utc(timestamp: object) -> None:
    assert parse({"action": "fp.delete", "timestamp": timestamp}).occurred_at == NOW


@pytest.mark.parametrize("timestamp", [None, True, 1.5, "soon", 10**15, -(10**15), 10**400, []])
def test_a_time_that_cannot_be_read_is_none(timestamp: object) -> None:
    assert parse({"action": "fp.delete", "timestamp": timestamp}).occurred_at is None


@pytest.mark.parametrize("timestamp", [0, -62135596800, 253402300799])
def test_a_time_that_nothing_happened_at_is_none_and_stays_in_the_payload(timestamp: int) -> None:
    event = parse({"action": "fp.delete", "timestamp": timestamp})
    assert (event.occurred_at, event.payload["timestamp"]) == (None, timestamp)


# Whatever comes

junk = st.text(max_size=70) | st.sampled_from(["", "0" * 64, "1777896000", ",", "9" * 12])


@settings(max_examples=300, deadline=None)
@given(
    body=st.binary(max_size=50),
    lines=st.lists(st.tuples(st.sampled_from(["FS-Signature", "fs-timestamp", "X-Any"]), junk), max_size=5),
    keys=st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
)
def test_no_headers_make_verify_raise_or_agree(body: bytes, lines: list[tuple[str, str]], keys: dict[str, str]) -> None:
    one = Delivery(source="filestack", body=body, headers=Headers(lines), received_at=NOW)
    assert isinstance(verify(one, keys), Refused)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
payloads = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(["action", "uuid", "id", "text", "status", "timestamp"], json_values)
)


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=50) | (payloads | json_values).map(lambda value: json.dumps(value).encode()))
def test_no_body_makes_parse_raise_anything_but_unreadable(body: bytes) -> None:
    try:
        event = filestack.parse(Delivery(source="filestack", body=body, headers=Headers(), received_at=NOW))
    except UnreadableError:
        return
    assert 0 < len(event.identity) <= 200
