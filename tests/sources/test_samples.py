"""Samples: the deliveries made of them are those that the sources themselves would send."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import NotFoundError
from receiver.events import Delivery, Headers, Refused, Verified
from receiver.sources import SOURCES, samples

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
KEYS = {"box": {"primary": "one", "secondary": "two"}, "filestack": {"secret 1": "one", "secret 2": "two"}}
SAMPLES = [(source, name) for source in SOURCES for name in samples.names(source)]


def delivery(source: str, body: bytes, lines: list[tuple[str, str]]) -> Delivery:
    return Delivery(source=source, body=body, headers=Headers(lines), received_at=NOW)


def verify(one: Delivery) -> Verified | Refused:
    return SOURCES[one.source].verify(
        one, KEYS[one.source], max_age=timedelta(minutes=10), max_skew=timedelta(seconds=60)
    )


@pytest.mark.parametrize(("source", "name"), [*SAMPLES, ("box", "TRAIN.ARRIVED"), ("filestack", "fp.lamp")])
def test_a_forged_delivery_verifies_and_tells_of_its_name(source: str, name: str) -> None:
    one = delivery(source, *samples.forge(source, name, KEYS[source], at=NOW))
    event = SOURCES[source].parse(one)
    assert isinstance(verify(one), Verified)
    assert event.name == name
    assert event.identity.startswith("[")


@pytest.mark.parametrize(("source", "name"), SAMPLES)
def test_a_tampered_delivery_differs_in_one_byte_and_is_refused_but_readable(source: str, name: str) -> None:
    body, lines = samples.forge(source, name, KEYS[source], at=NOW, number=1)
    spoilt = samples.tampered(body)
    assert sum(one != other for one, other in zip(body, spoilt, strict=True)) == 1
    assert isinstance(verify(delivery(source, spoilt, lines)), Refused)
    assert SOURCES[source].parse(delivery(source, spoilt, lines)).name


@given(st.binary(max_size=30) | st.sampled_from([b"{}", b"", b"[true]", b'{"a":"\xc3\xa9"}', b'{"a":""}']))
def test_any_body_can_be_tampered_with(body: bytes) -> None:
    assert samples.tampered(body) != body


@pytest.mark.parametrize(("source", "name"), SAMPLES)
def test_each_number_is_another_event_and_the_same_number_the_same(source: str, name: str) -> None:
    def identity(number: int) -> str:
        one = delivery(source, *samples.forge(source, name, KEYS[source], at=NOW, number=number))
        return SOURCES[source].parse(one).identity

    assert identity(1) == identity(1)
    assert identity(1) != identity(2)


def test_without_a_number_every_call_is_another_event() -> None:
    bodies = {samples.forge("box", "FILE.UPLOADED", KEYS["box"], at=NOW)[0] for _ in range(5)}
    assert len(bodies) == 5


def test_a_retry_by_box_is_the_same_body_under_another_delivery_id() -> None:
    payload = samples.sample("box", "FILE.UPLOADED", at=NOW, number=1)
    first, first_lines = samples.forge("box", payload, KEYS["box"], at=NOW)
    retry, retry_lines = samples.forge("box", payload, KEYS["box"], at=NOW + timedelta(minutes=1))
    assert first == retry
    assert dict(first_lines)["BOX-DELIVERY-ID"] != dict(retry_lines)["BOX-DELIVERY-ID"]


def test_box_writes_json_as_php_does() -> None:
    body = samples.encode("box", {"name": "é/🚂", "list": []})
    assert body == rb'{"name":"\u00e9\/\ud83d\ude82","list":[]}'


def test_a_slash_after_a_backslash_survives_the_wire() -> None:
    assert json.loads(samples.encode("box", {"name": "\\/"})) == {"name": "\\/"}


def test_filestack_writes_compact_utf8() -> None:
    assert samples.encode("filestack", {"name": "é/", "list": []}) == '{"name":"é/","list":[]}'.encode()


def test_times_at_box_carry_the_offset_of_california() -> None:
    body, lines = samples.forge("box", "FILE.UPLOADED", KEYS["box"], at=NOW, number=1)
    assert json.loads(body)["created_at"] == "2026-05-04T05:00:00-07:00"
    assert dict(lines)["BOX-DELIVERY-TIMESTAMP"] == "2026-05-04T05:00:00-07:00"


def test_a_conversion_is_sent_as_filestack_spells_it() -> None:
    assert samples.sample("filestack", "fp.conversion", at=NOW, number=1)["action"] == "fp.converse"


def test_the_body_is_announced_as_json() -> None:
    _, lines = samples.forge("filestack", "fp.upload", KEYS["filestack"], at=NOW)
    assert ("Content-Type", "application/json") in lines


def test_a_source_that_is_not_simulated_is_named() -> None:
    with pytest.raises(NotFoundError, match="dropbox"):
        samples.names("dropbox")
