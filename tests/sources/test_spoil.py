"""Every fault is refused for the reason that it says, whatever the body."""

from datetime import timedelta

import pytest

from receiver.errors import NotFoundError
from receiver.events import Delivery, Headers, Refused, Verified
from receiver.sources import SOURCES, samples
from receiver.sources.spoil import faults_of, spoil
from tests.installation import KEYS, Clock

AGE, SKEW = timedelta(minutes=10), timedelta(seconds=60)
BODIES = [
    b'{"trigger":"A","action":"A","url":"a\\/b"}',
    b"",
    b"no JSON",
    b'{"a": "\xc3\xa9"}',
    b"[" * 2000,
    b'"\\ud800"',
]


def verdict(source: str, body: bytes, lines: samples.Lines) -> Verified | Refused:
    came = Delivery(source=source, body=body, headers=Headers(lines), received_at=Clock()())
    return SOURCES[source].verify(came, KEYS[source], max_age=AGE, max_skew=SKEW)


@pytest.mark.parametrize(("source", "fault"), [(source, fault) for source in SOURCES for fault in faults_of(source)])
def test_a_fault_is_refused_for_its_reason(source: str, fault: str) -> None:
    for body in BODIES:
        spoilt, lines = spoil(source, body, KEYS[source], fault, at=Clock()(), max_age=AGE, max_skew=SKEW)
        refused = verdict(source, spoilt, lines)
        assert isinstance(refused, Refused)
        assert refused.reason == faults_of(source)[fault].reason


@pytest.mark.parametrize("source", SOURCES)
def test_any_bytes_can_be_signed_right(source: str) -> None:
    for body in BODIES:
        lines = samples.signed(source, body, KEYS[source], at=Clock()())
        assert isinstance(verdict(source, body, lines), Verified)


def test_what_is_no_fault_of_a_source_is_refused() -> None:
    for fault in ("version", "nonsense"):
        with pytest.raises(NotFoundError):
            spoil("filestack", b"{}", KEYS["filestack"], fault, at=Clock()(), max_age=AGE, max_skew=SKEW)


@pytest.mark.parametrize(
    ("source", "name"), [(source, name) for source in SOURCES for name in (*samples.names(source), "x.new")]
)
def test_a_renewed_payload_is_another_event_of_the_same_type(source: str, name: str) -> None:
    payload = samples.sample(source, name, at=Clock()(), number=1)
    one, other = (
        SOURCES[source].parse(
            Delivery(source=source, body=samples.encode(source, told), headers=Headers(), received_at=Clock()())
        )
        for told in (payload, samples.renewed(source, payload))
    )
    assert one.identity != other.identity
    assert one.type == other.type


@pytest.mark.parametrize("source", SOURCES)
def test_a_payload_without_an_id_is_left_as_it_is(source: str) -> None:
    assert samples.renewed(source, {"a": 1}) == {"a": 1}
