"""What a signed body can cost is bounded, whatever it holds: compared with plain JSON of the same body, in one run."""

import gc
import json
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.errors import UnreadableError
from receiver.events import Delivery, Headers, Reason
from receiver.inbox import diagnosis
from receiver.sources import box, filestack, wire
from receiver.sources.schemas import MAX_CHECKED

MEGABYTE = 1_000_000
HEAD = '{"trigger":"FILE.UPLOADED","id":"7","webhook":{"id":"1"},"any":'


def body_of(value: str, *, size: int = MEGABYTE, around: str = "[]", last: str = "null") -> bytes:
    """Give a body that repeats a value until it is so long."""
    count = (size - len(HEAD) - len(last) - 4) // (len(value) + 1)
    return f"{HEAD}{around[0]}{','.join([value] * count + [last])}{around[1]}}}".encode()


BODIES: dict[str, bytes] = {
    "lists 97 deep": body_of("[" * 95 + "]" * 95),
    "objects 97 deep": body_of('{"a":' * 95 + "1" + "}" * 95),
    "the largest floats": body_of("1.7976931348623157e308"),
    "short large floats": body_of("1.797e308"),
    "long integers": body_of("9" * 4_000),
    "empty objects": body_of("{}"),
    "empty lists": body_of("[]"),
    "empty texts beside lists": body_of('"",[[]]'),
    "repeated keys": body_of('"a":1', around="{}", last='"a":2'),
    "escapes": body_of('"' + "\\u00e9" * 1_000 + '"'),
    "a lone surrogate after large floats": body_of("1.797e308", last='"\\ud800"'),
    "a lone surrogate after deep lists": body_of("[" * 95 + "]" * 95, last='"\\ud800"'),
    "a number out of range at the end": body_of("1.797e308", last="1e999"),
    "not JSON at the end": body_of("[" * 95 + "]" * 95, last="nothing"),
}


def delivery_of(body: bytes, source: str = "box", headers: Headers | None = None) -> Delivery:
    return Delivery(source=source, body=body, headers=headers or Headers(), received_at=datetime.now(UTC))


def cost(work: Callable[[], object]) -> float:
    """Give the processor's time for something, in the middle of five; it may find the body unreadable."""
    took = []
    for _ in range(5):
        began = time.process_time()
        with suppress(UnreadableError, ValueError):
            work()
        took.append(time.process_time() - began)
    return statistics.median(took)


@pytest.mark.parametrize("name", BODIES)
def test_reading_a_body_costs_little_more_than_json_by_itself(name: str) -> None:
    body = BODIES[name]
    # Without the collector, whose share would hide any other.
    gc.disable()
    try:
        plain = cost(lambda: json.loads(body))
    finally:
        gc.enable()
    assert cost(lambda: box.parse(delivery_of(body))) < 8 * plain + 0.02


def odd_status() -> bytes:
    return b'{"uuid":"a","status":' + body_of("[" * 95 + "]" * 95)[len(HEAD) :]


def test_an_identity_of_an_odd_status_is_made_without_writing_it_out() -> None:
    event = filestack.parse(delivery_of(odd_status(), "filestack"))
    assert wire.digest_of(event.body) in event.identity


def test_the_collector_is_on_again_after_a_large_body() -> None:
    for body in (BODIES["empty lists"], BODIES["not JSON at the end"]):
        cost(lambda body=body: box.parse(delivery_of(body)))  # type: ignore[misc]
        assert gc.isenabled()


@pytest.mark.parametrize("extra", [0, 1])
def test_a_payload_that_is_too_large_to_be_checked_is_accepted_and_says_so(extra: int) -> None:
    # Six values stand around them.
    values = ",".join(["0"] * (MAX_CHECKED - 5 + extra))
    event = box.parse(delivery_of(f"{HEAD}[{values}]}}".encode()))
    problems = [one["problem"] for one in box.drift(event)]
    assert any(problem.startswith("Too large to be checked") for problem in problems) == bool(extra)


def test_of_an_unknown_trigger_that_is_too_large_both_is_said() -> None:
    event = box.parse(delivery_of(BODIES["empty objects"].replace(b"FILE.UPLOADED", b"FILE.UNHEARD")))
    assert [one["path"] for one in box.drift(event)] == ["trigger", "payload"]


def test_no_large_body_is_compared_with_its_schema_value_by_value() -> None:
    for body in (BODIES["lists 97 deep"], BODIES["empty objects"]):
        event = box.parse(delivery_of(body))
        assert [one["path"] for one in box.drift(event)] == ["payload"]


@pytest.mark.parametrize("value", ["[" * 95 + "]" * 95, "{}"])
def test_a_body_of_many_lists_is_not_written_anew_in_every_way_there_is(value: str) -> None:
    def tries(body: bytes) -> int:
        tried: list[None] = []
        headers = Headers(box.sign(body, {"primary": "another"}, at=datetime.now(UTC)))
        keys = {"box": {"primary": "a", "secondary": "b"}}
        pause = lambda: tried.append(None)  # noqa: E731
        diagnosis.diagnose(delivery_of(body, headers=headers), keys, Reason.SIGNATURE_MISMATCH, pause=pause)
        return len(tried)

    small, many = body_of(value, size=1_000), body_of(value, size=200_000)
    assert tries(many) < tries(small) / 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
odd_bodies = st.sampled_from(
    [
        b'{"a":1e999}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":"\\ud800"}',
        b'{"a":1,"a":2}',
        b'{"a":01}',
        b"[]",
        b'{"a":"\x01"}',
        b'{"a":"\xff"}',
        b"\xef\xbb\xbf{}",
        b'{"a":' + b"[" * 99 + b"]" * 99 + b"}",
        b'{"a":' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"a":"]]]][[[["}',
        b'{"a":"\\"[[[["}',
        b'{"a":' + b"9" * 5_000 + b"}",
        b'{"a":1.5e3,"b":-0,"c":1E400}',
        b"{}x",
        b"",
    ]
)


@settings(max_examples=200, deadline=None)
@given(body=odd_bodies | json_values.map(lambda value: json.dumps({"a": value}).encode()) | st.binary(max_size=20))
def test_a_long_body_is_read_as_a_short_one_is(body: bytes) -> None:
    def read(given: bytes) -> object:
        try:
            return wire.read_object(given)
        except UnreadableError as error:
            return "Nested" in str(error.errors) or type(error)

    assert repr(read(body)) == repr(read(body + b" " * wire.MAX_FAST_BYTES))
