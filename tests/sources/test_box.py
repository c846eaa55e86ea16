"""Box: which deliveries verify, why others are refused, and which event a verified one tells of."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.errors import UnreadableError
from receiver.events import Delivery, Event, Headers, Reason, Refused, Verified
from receiver.sources import box, samples

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
KEYS = {"primary": "key one of the tests", "secondary": "key two of the tests"}
MAX_AGE = timedelta(minutes=10)
MAX_SKEW = timedelta(seconds=60)
BODY = samples.encode("box", samples.sample("box", "FILE.UPLOADED", at=NOW, number=1))
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "box.json").read_text(encoding="utf-8"))


def delivery(body: bytes = BODY, *, keys: Mapping[str, str] = KEYS, age: int = 0, **changed: str | None) -> Delivery:
    """A signed delivery; `changed` sets headers by their name in snake case, and None takes one away."""
    headers = dict(box.sign(body, keys, at=NOW - timedelta(seconds=age)))
    for name, value in changed.items():
        headers.pop(name.replace("_", "-").upper(), None)
        if value is not None:
            headers[name.replace("_", "-").upper()] = value
    return Delivery(source="box", body=body, headers=Headers(headers.items()), received_at=NOW)


def verify(one: Delivery, keys: Mapping[str, str] = KEYS) -> Verified | Refused:
    return box.verify(one, keys, max_age=MAX_AGE, max_skew=MAX_SKEW)


def refusal(one: Delivery, keys: Mapping[str, str] = KEYS) -> Refused:
    verdict = verify(one, keys)
    assert isinstance(verdict, Refused)
    return verdict


def parse(payload: object) -> Event:
    return box.parse(Delivery(source="box", body=json.dumps(payload).encode(), headers=Headers(), received_at=NOW))


def errors_of(body: bytes) -> dict[str, list[str]]:
    with pytest.raises(UnreadableError) as caught:
        box.parse(Delivery(source="box", body=body, headers=Headers(), received_at=NOW))
    return caught.value.errors


# Verifying


@pytest.mark.parametrize("slot", ["primary", "secondary"])
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["from"])[:12])
def test_a_published_signature_verifies(vector: dict[str, Any], slot: str) -> None:
    lines = {
        "box-delivery-timestamp": vector["timestamp"],
        "box-signature-version": "1",
        "box-signature-algorithm": "HmacSHA256",
        f"box-signature-{slot}": vector["signatures"][slot],
    }
    received_at = datetime.fromisoformat(vector["timestamp"]).astimezone(UTC) + timedelta(minutes=5)
    one = Delivery(source="box", body=vector["body"].encode(), headers=Headers(lines.items()), received_at=received_at)
    assert verify(one, vector["keys"]) == Verified(slot)


def test_both_signatures_verify_by_the_primary_key() -> None:
    assert verify(delivery()) == Verified("primary")


def test_the_secondary_key_is_enough_while_the_primary_is_being_changed() -> None:
    assert verify(delivery(), {**KEYS, "primary": "the new one"}) == Verified("secondary")


def test_the_secondary_key_is_enough_where_it_is_the_only_one_set() -> None:
    assert verify(delivery(), {"secondary": KEYS["secondary"]}) == Verified("secondary")


def test_a_malformed_signature_does_not_spoil_the_other() -> None:
    assert verify(delivery(box_signature_primary="ÿ")) == Verified("secondary")


def test_a_key_does_not_verify_the_header_of_the_other_slot() -> None:
    swapped = {"primary": KEYS["secondary"], "secondary": KEYS["primary"]}
    assert refusal(delivery(), swapped).reason is Reason.SIGNATURE_MISMATCH


def test_header_names_are_found_in_any_spelling() -> None:
    one = delivery()
    title = Headers((name.title(), value) for name, value in one.headers.pairs)
    assert verify(replace(one, headers=title)) == Verified("primary")


def test_a_body_that_is_not_utf8_verifies_by_its_bytes() -> None:
    assert verify(delivery(b"\xff\x00\xfe")) == Verified("primary")


def test_one_changed_byte_is_a_mismatch() -> None:
    one = delivery()
    assert refusal(replace(one, body=samples.tampered(one.body))).reason is Reason.SIGNATURE_MISMATCH


def test_a_body_written_out_again_is_a_mismatch() -> None:
    one = delivery()
    rewritten = json.dumps(json.loads(one.body), ensure_ascii=False, separators=(",", ":")).encode()
    assert refusal(replace(one, body=rewritten)).reason is Reason.SIGNATURE_MISMATCH


@pytest.mark.parametrize("keys", [{}, {"primary": ""}, {"primary": "", "secondary": ""}])
def test_without_a_key_nothing_verifies(keys: dict[str, str]) -> None:
    refused = refusal(delivery(), keys)
    assert refused.reason is Reason.SIGNATURE_MISMATCH
    assert "BOX_PRIMARY_KEY" in refused.detail


def test_an_empty_key_verifies_nothing_even_when_it_signed() -> None:
    signature = box._signature("", BODY + NOW.isoformat().encode()).decode()
    one = delivery(box_signature_primary=signature, box_delivery_timestamp=NOW.isoformat())
    assert refusal(one, {"primary": ""}).reason is Reason.SIGNATURE_MISMATCH


def test_a_plain_request_has_no_signature() -> None:
    one = Delivery(source="box", body=BODY, headers=Headers([("Host", "signal.example")]), received_at=NOW)
    refused = refusal(one)
    assert refused.reason is Reason.SIGNATURE_MISSING
    assert "BOX-SIGNATURE-PRIMARY" in refused.detail


def test_an_unsigned_delivery_says_which_headers_did_come() -> None:
    refused = refusal(delivery(box_signature_primary=None, box_signature_secondary=None))
    assert refused.reason is Reason.SIGNATURE_MISSING
    assert "came BOX-SIGNATURE-VERSION, BOX-SIGNATURE-ALGORITHM, BOX-DELIVERY-TIMESTAMP" in refused.detail


@pytest.mark.parametrize("value", ["x", "=" * 44, "é" * 44, "A" * 10_000, "A" * 43 + "=\n", "\ud800" * 44, "\x00"])
def test_what_cannot_be_a_signature_is_malformed(value: str) -> None:
    one = delivery(box_signature_primary=value, box_signature_secondary=None)
    assert refusal(one).reason is Reason.SIGNATURE_MALFORMED


def test_a_signature_that_could_be_one_is_a_mismatch_whatever_stands_in_the_other_header() -> None:
    wrong = delivery(keys={"secondary": "another key"}, box_signature_primary="x")
    assert refusal(wrong).reason is Reason.SIGNATURE_MISMATCH


def test_a_mismatch_names_every_key_that_is_not_set() -> None:
    assert "Not set: BOX_PRIMARY_KEY, BOX_SECONDARY_KEY." in refusal(delivery(), {}).detail
    assert "Not set: BOX_SECONDARY_KEY." in refusal(delivery(), {"primary": "another"}).detail
    assert "Not set" not in refusal(delivery(), {"primary": "another", "secondary": "another"}).detail


def test_a_prefix_before_the_signature_is_pointed_out() -> None:
    refused = refusal(delivery(box_signature_primary="sha256=" + "0" * 64, box_signature_secondary=None))
    assert '"sha256="' in refused.detail


@pytest.mark.parametrize("value", [None, "", "2", "1.0", "\u0661"])
def test_another_version_is_unsupported(value: str | None) -> None:
    assert refusal(delivery(box_signature_version=value)).reason is Reason.VERSION_UNSUPPORTED


@pytest.mark.parametrize("value", [None, "", "HmacSHA1", "hmacsha256", "none"])
def test_another_algorithm_is_unsupported(value: str | None) -> None:
    assert refusal(delivery(box_signature_algorithm=value)).reason is Reason.ALGORITHM_UNSUPPORTED


def test_a_missing_timestamp_is_told() -> None:
    assert refusal(delivery(box_delivery_timestamp=None)).reason is Reason.TIMESTAMP_MISSING


@pytest.mark.parametrize(
    "value",
    [
        "yesterday",
        "2026-05-04",
        "2026-05-04T12:00:00",
        "2026-05-04 12:00:00Z",
        "2026-05-04T12:00:00+0000",
        "2026-05-04T12:00:60Z",
        "2026-05-04T12:00:00+24:00",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "\uff12026-05-04T12:00:00Z",
        "1777896000",
        "2026-05-04T12:00:00Z\x00",
        "\ud800",
        "9" * 10_000,
    ],
)
def test_a_timestamp_that_is_not_rfc3339_with_an_offset_is_malformed(value: str) -> None:
    assert refusal(delivery(box_delivery_timestamp=value)).reason is Reason.TIMESTAMP_MALFORMED


@pytest.mark.parametrize("age", [0, 599, 600, -1, -60])
def test_a_delivery_of_ten_minutes_or_a_minute_ahead_is_accepted(age: int) -> None:
    assert verify(delivery(age=age)) == Verified("primary")


def test_the_age_is_counted_in_whole_seconds_as_the_sdk_does() -> None:
    one = delivery(age=600)
    assert verify(replace(one, received_at=NOW + timedelta(milliseconds=900))) == Verified("primary")


def test_a_delivery_older_than_ten_minutes_is_stale() -> None:
    refused = refusal(delivery(age=601))
    assert refused.reason is Reason.TIMESTAMP_STALE
    assert "601 s" in refused.detail
    assert "600 s" in refused.detail


def test_a_delivery_more_than_a_minute_ahead_is_from_the_future() -> None:
    refused = refusal(delivery(age=-61))
    assert refused.reason is Reason.TIMESTAMP_IN_FUTURE
    assert "61 s" in refused.detail


def test_an_offset_is_taken_into_account() -> None:
    one = delivery()
    pacific = box.sign(BODY, KEYS, at=NOW.astimezone(timezone(timedelta(hours=-7))))
    assert verify(replace(one, headers=Headers(pacific))) == Verified("primary")


def test_a_forged_delivery_is_a_mismatch_however_old() -> None:
    assert refusal(delivery(keys={"primary": "forged"}, age=6000)).reason is Reason.SIGNATURE_MISMATCH


@pytest.mark.parametrize("name", box._HEADERS)
def test_two_values_of_one_header_are_a_conflict(name: str) -> None:
    one = delivery()
    twice = Headers([*one.headers.pairs, (name.lower(), "another")])
    refused = refusal(replace(one, headers=twice))
    assert refused.reason is Reason.HEADER_CONFLICT
    assert name in refused.detail


def test_two_values_joined_by_the_server_are_a_conflict() -> None:
    one = delivery()
    joined = f"{one.headers['box-signature-primary']},forged"
    assert refusal(delivery(box_signature_primary=joined)).reason is Reason.HEADER_CONFLICT


def test_a_header_sent_twice_with_one_value_is_no_conflict() -> None:
    one = delivery()
    assert verify(replace(one, headers=Headers(one.headers.pairs * 2))) == Verified("primary")


@pytest.mark.parametrize("age", [0, 601, -61])
def test_no_refusal_tells_a_key_or_a_signature(age: int) -> None:
    one = delivery(age=age)
    for refused in (verify(one, {"primary": "wrong"}), verify(one), verify(delivery(box_signature_version="2"))):
        told = repr(refused)
        assert not any(secret in told for secret in (*KEYS.values(), one.headers["box-signature-primary"]))


# Parsing


def test_a_trigger_that_nobody_knows_becomes_a_type() -> None:
    event = parse({"trigger": "TRAIN.ARRIVED", "id": "1"})
    assert (event.type, event.name, event.source) == ("box:TRAIN.ARRIVED", "TRAIN.ARRIVED", "box")


def test_an_event_keeps_what_came() -> None:
    one = delivery()
    event = box.parse(one)
    assert (event.body, event.headers, event.received_at) == (one.body, one.headers, NOW)
    assert event.payload == json.loads(one.body)
    assert event.id == ""


def test_the_time_of_the_event_is_utc() -> None:
    event = parse({"trigger": "A", "created_at": "2026-05-04T05:00:00-07:00"})
    assert event.occurred_at == NOW
    assert event.occurred_at.tzinfo is UTC


@pytest.mark.parametrize("created_at", [None, 5, "soon", "2026-05-04T05:00:00", [], "0001-01-01T00:00:00+09:00"])
def test_a_time_that_cannot_be_read_is_none(created_at: object) -> None:
    assert parse({"trigger": "A", "created_at": created_at}).occurred_at is None


@pytest.mark.parametrize("created_at", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_time_that_nothing_happened_at_is_none_and_stays_in_the_payload(created_at: str) -> None:
    event = parse({"trigger": "A", "created_at": created_at})
    assert (event.occurred_at, event.payload["created_at"]) == (None, created_at)


def test_a_retry_has_the_identity_of_the_first_delivery() -> None:
    first, retry = delivery(), delivery(age=60)
    assert first.headers["box-delivery-id"] != retry.headers["box-delivery-id"]
    assert box.parse(first).identity == box.parse(retry).identity


def test_two_webhooks_have_two_identities() -> None:
    one = parse({"trigger": "A", "id": "1", "webhook": {"id": "8"}})
    other = parse({"trigger": "A", "id": "1", "webhook": {"id": "9"}})
    assert one.identity == '["8","1"]'
    assert other.identity == '["9","1"]'


@pytest.mark.parametrize("event_id", [None, "", 0, 1.5, True, [], {}])
def test_without_a_usable_id_the_body_is_the_identity(event_id: object) -> None:
    event = parse({"trigger": "A", "id": event_id})
    assert event.identity == hashlib.sha256(event.body).hexdigest()


@pytest.mark.parametrize("webhook", [None, "8", [], {"id": []}, {}])
def test_a_webhook_of_any_shape_is_tolerated(webhook: object) -> None:
    assert parse({"trigger": "A", "id": "1", "webhook": webhook}).identity == '[null,"1"]'


@pytest.mark.parametrize("event_id", ["x" * 300, "é" * 100, "\ud800" * 60, "\x00" * 60])
def test_a_long_identity_is_hashed(event_id: str) -> None:
    identity = parse({"trigger": "A", "id": event_id}).identity
    assert len(identity) == 64
    assert identity.isascii()


@pytest.mark.parametrize("payload", [{}, {"trigger": None}, {"trigger": 5}, {"trigger": ["A"]}, {"trigger": {}}])
def test_a_body_without_a_trigger_names_the_field(payload: dict[str, Any]) -> None:
    assert list(errors_of(json.dumps(payload).encode())) == ["trigger"]


@pytest.mark.parametrize("trigger", ["", " ", "FILE UPLOADED", "A\n", "\x00", "\x7f", "\ud800", "a\u202eb", "A" * 201])
def test_a_trigger_that_does_not_show_is_unreadable(trigger: str) -> None:
    assert list(errors_of(json.dumps({"trigger": trigger}).encode())) == ["trigger"]


def test_a_body_that_is_no_json_object_names_the_body() -> None:
    assert list(errors_of(b"[]")) == ["body"]


# Signing


def test_only_the_slots_that_have_a_key_are_signed() -> None:
    names = [name for name, _ in box.sign(b"{}", {"primary": "", "secondary": "key"}, at=NOW)]
    assert "BOX-SIGNATURE-SECONDARY" in names
    assert "BOX-SIGNATURE-PRIMARY" not in names


def test_a_delivery_id_can_be_given() -> None:
    assert ("BOX-DELIVERY-ID", "seven") in box.sign(b"{}", KEYS, at=NOW, delivery_id="seven")


# Whatever comes

junk = st.text(max_size=60) | st.sampled_from(["", "1", "HmacSHA256", "A" * 43 + "=", "2026-05-04T12:00:00Z", "," * 50])


@settings(max_examples=300, deadline=None)
@given(
    body=st.binary(max_size=50),
    lines=st.lists(st.tuples(st.sampled_from([*box._HEADERS, "X-Any"]), junk), max_size=9),
    keys=st.dictionaries(st.sampled_from(["primary", "secondary", "third"]), st.text(max_size=9)),
)
def test_no_headers_make_verify_raise_or_agree(body: bytes, lines: list[tuple[str, str]], keys: dict[str, str]) -> None:
    one = Delivery(source="box", body=body, headers=Headers(lines), received_at=NOW)
    assert isinstance(verify(one, keys), Refused)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
payloads = st.fixed_dictionaries(
    {},
    optional={
        "trigger": st.sampled_from(sorted(box.KNOWN)) | json_values,
        "id": json_values,
        "webhook": json_values,
        "created_at": json_values,
    },
)


def _bodies(write: Callable[[object], str]) -> st.SearchStrategy[bytes]:
    return (payloads | json_values).map(lambda value: write(value).encode("utf-8", "surrogatepass"))


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=50) | _bodies(json.dumps) | _bodies(lambda value: json.dumps(value, ensure_ascii=False)))
def test_no_body_makes_parse_raise_anything_but_unreadable(body: bytes) -> None:
    try:
        event = box.parse(Delivery(source="box", body=body, headers=Headers(), received_at=NOW))
    except UnreadableError:
        return
    assert event.identity.isascii()
    assert 0 < len(event.identity) <= 200
