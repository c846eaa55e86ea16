"""What differs between two payloads, or two sets of headers, path by path; the order of an object's keys is nothing."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from receiver.web.payload import json_path

MAX_ROWS = 2_000
_SHOWN_CHARACTERS = 2_000
_AROUND = 200

Kind = Literal["added", "removed", "changed", "same"]


@dataclass(frozen=True, slots=True)
class Part:
    """A value as text, cut where the two differ: what both begin with, what differs, what both end with."""

    before: str
    differs: str
    after: str


@dataclass(frozen=True, slots=True)
class Row:
    """One path and what stands there on either side; None where there is nothing."""

    kind: Kind
    path: str
    old: Part | None
    new: Part | None


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows in the order of the payload, as runs of what is the same and what is not; and whether that is all."""

    runs: Sequence[tuple[bool, Sequence[Row]]]
    is_whole: bool

    def count(self, kind: Kind) -> int:
        return sum(row.kind == kind for _, rows in self.runs for row in rows)


class _Nothing:
    """Stands where one side has no value: None is a value of JSON."""


_NOTHING = _Nothing()


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> Difference:
    """Compare two payloads, value by value."""
    return _collected(_rows(old, new))


def compare_headers(old: Sequence[Sequence[str]], new: Sequence[Sequence[str]]) -> Difference:
    """Compare two lists of header lines by name, in any spelling."""
    return _collected(_rows(_by_name(old), _by_name(new)))


def _by_name(lines: Sequence[Sequence[str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in lines:
        spelled = name.title()
        found[spelled] = f"{found[spelled]}, {value}" if spelled in found else value
    return found


def _collected(rows: Iterator[Row]) -> Difference:
    kept = [row for row, _ in zip(rows, range(MAX_ROWS), strict=False)]
    is_whole = len(kept) < MAX_ROWS or next(rows, None) is None
    return Difference([(same, list(run)) for same, run in groupby(kept, lambda row: row.kind == "same")], is_whole)


def _rows(old: object, new: object) -> Iterator[Row]:
    """Walk two values side by side, by a stack of our own."""
    waiting: list[tuple[str | None, Any, Any]] = [("", old, new)]
    while waiting:
        path, one, other = waiting.pop()
        children = _shared_children(one, other)
        if children is None or path is None:
            yield _row(path, one, other)
        else:
            waiting += [(json_path.below(path, key), *pair) for key, *pair in reversed(children)]


def _shared_children(one: object, other: object) -> list[tuple[str | int, Any, Any]] | None:
    """Give the values of two objects by key, or of two lists by place; None where the two cannot be laid side by side.

    Two empty ones have nothing to lay side by side.
    """
    if not one and not other:
        return None
    if isinstance(one, dict) and isinstance(other, dict):
        keys = list(dict.fromkeys([*other, *one]))
        return [(key, one.get(key, _NOTHING), other.get(key, _NOTHING)) for key in keys]
    if isinstance(one, list) and isinstance(other, list):
        places = range(max(len(one), len(other)))
        return [(place, _item(one, place), _item(other, place)) for place in places]
    return None


def _item(values: list[Any], place: int) -> Any:
    return values[place] if place < len(values) else _NOTHING


def _row(path: str | None, one: object, other: object) -> Row:
    shown = path if path is not None else "(a path too long to be shown)"
    if other is _NOTHING:
        return Row("removed", shown, whole(one), None)
    if one is _NOTHING:
        return Row("added", shown, None, whole(other))
    if type(one) is type(other) and one == other:
        return Row("same", shown, whole(one), whole(other))
    return Row("changed", shown, *_parts(_text(one), _text(other)))


def whole(value: object) -> Part:
    """Give a value that differs nowhere, or everywhere; of a long one the beginning."""
    return Part("", _begin(_text(value), _SHOWN_CHARACTERS), "")


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2 if isinstance(value, dict | list) else None)


def _parts(old: str, new: str) -> tuple[Part, Part]:
    start = _shared(old, new)
    end = _shared(old[start:][::-1], new[start:][::-1])
    return _part(old, start, end), _part(new, start, end)


def _shared(one: str, other: str) -> int:
    """Count the letters that two texts begin with alike."""
    shorter = min(len(one), len(other))
    return next((place for place in range(shorter) if one[place] != other[place]), shorter)


def _part(text: str, start: int, end: int) -> Part:
    stop = len(text) - end
    return Part(_end(text[:start], _AROUND), _begin(text[start:stop], _SHOWN_CHARACTERS), _begin(text[stop:], _AROUND))


def _begin(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


def _end(text: str, length: int) -> str:
    return text if len(text) <= length else f"…{text[-length:]}"
