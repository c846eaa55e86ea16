"""What both wire formats share: which bodies are JSON objects, which texts are times, what makes an identity."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import UnreadableError
from receiver.sources import SOURCES, Source, wire


def nested(levels: int) -> bytes:
    return b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1)


def problem_of(body: bytes) -> str:
    with pytest.raises(UnreadableError) as caught:
        wire.read_object(body)
    (problem,) = caught.value.errors["body"]
    return problem


def test_every_source_knows_its_own_name() -> None:
    sources: dict[str, Source] = dict(SOURCES)
    assert {name: source.NAME for name, source in sources.items()} == {"box": "box", "filestack": "filestack"}


def test_an_object_is_read() -> None:
    assert wire.read_object('{"a":[1,2.5,"é",null,true]}'.encode()) == {"a": [1, 2.5, "é", None, True]}


@pytest.mark.parametrize("body", [b"[]", b"1", b'"text"', b"null", b"true"])
def test_json_that_is_no_object_is_refused(body: bytes) -> None:
    assert problem_of(body) == "Not a JSON object."


def test_an_empty_body_is_called_empty() -> None:
    assert problem_of(b"") == "Empty."


@pytest.mark.parametrize(
    "body", [b" ", b"{", b"{'a':1}", b'{"a":1,}', b"{} {}", b'{"a":01}', b'{"a":"\n"}', b"\xef\xbb\xbf{}", b"{}\x00"]
)
def test_what_is_not_json_is_told_with_its_place(body: bytes) -> None:
    assert problem_of(body).startswith("Not JSON: ")
    assert "character" in problem_of(body)


@pytest.mark.parametrize("body", [b'{"a":"\xff"}', "{}".encode("utf-16"), b'{"a":"\xed\xa0\x80"}'])
def test_what_is_not_utf8_is_told(body: bytes) -> None:
    assert problem_of(body) == "Not UTF-8."


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000])
def test_numbers_that_json_readers_do_not_share_are_refused(number: str) -> None:
    assert "number" in problem_of(f'{{"a":{number}}}'.encode())


@pytest.mark.parametrize("body", [nested(101), nested(5_000), b'{"a":' + b"[" * 200_000, b"[" * 200_000])
def test_a_body_nested_too_deep_is_refused(body: bytes) -> None:
    assert "Nested deeper" in problem_of(body)


def test_a_body_nested_a_hundred_levels_is_read() -> None:
    assert wire.read_object(nested(wire.MAX_DEPTH))


def test_a_wide_body_is_not_a_deep_one() -> None:
    assert len(wire.read_object(b'{"a":[' + b"{}," * 5_000 + b"{}]}")["a"]) == 5_001


def test_what_is_deep_is_found_wherever_it_lies() -> None:
    deep = b"[" * 100 + b"]" * 100
    assert wire.MAX_DEPTH == 100
    for body in (b'{"a":1,"b":%b}', b'{"a":[],"b":[0,{},%b]}'):
        assert "Nested deeper" in problem_of(body % deep)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("1970-01-01T00:00:00Z", False),
        ("1970-01-01T00:00:01Z", True),
        ("2199-12-31T23:59:59Z", True),
        ("2200-01-01T00:00:00Z", False),
    ],
)
def test_what_happened_lies_between_1970_and_2200(text: str, is_one: bool) -> None:
    told = wire.rfc3339(text)
    assert told is not None
    assert wire.when_it_happened(told) == (told if is_one else None)


def test_no_problem_repeats_what_came() -> None:
    assert "hush" not in problem_of(b'{"hush": hush}')


@pytest.mark.parametrize(
    "text", ["2026-05-04T12:00:00Z", "2026-05-04T05:00:00-07:00", "2026-05-04T12:00:00.000000999+00:00"]
)
def test_a_time_with_an_offset_is_read_as_utc(text: str) -> None:
    assert wire.rfc3339(text) == datetime(2026, 5, 4, 12, tzinfo=UTC)


@given(st.datetimes(timezones=st.just(timezone(timedelta(hours=-7)))))
def test_any_time_that_we_write_is_read_back_unless_it_leaves_the_calendar(moment: datetime) -> None:
    read = wire.rfc3339(moment.isoformat())
    assert read == moment or (read is None and moment.year == 9999)


@given(st.text() | st.integers() | st.none() | st.floats())
def test_times_are_read_or_none(value: object) -> None:
    assert all(read is None or read.tzinfo is UTC for read in (wire.rfc3339(value), wire.unix_time(value)))


@given(
    st.lists(st.text() | st.integers() | st.none(), max_size=3),
    st.lists(st.text() | st.integers() | st.none(), max_size=3),
)
def test_two_identities_are_one_only_for_the_same_parts(one: list[object], other: list[object]) -> None:
    assert (wire.identity(one) == wire.identity(other)) == (one == other)


def test_a_text_and_a_number_are_two_identities() -> None:
    assert wire.identity(["a", 1]) != wire.identity(["a", "1"])
