"""Strict fields for what providers send, and the comparison of a payload with a schema made of them: drift."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields

from receiver.sources.wire import rfc3339, uncollected

MAX_DRIFT = 50
# A payload of more values than this is not compared with its schema: that may take 40 µs for each, and routing waits.
# What the providers are known to send has hundreds at the most.
MAX_CHECKED = 5_000
_MAX_LENGTH = 200


def find_drift(payload: object, body: bytes, schema: Schema) -> list[dict[str, str]]:
    """List where a payload differs from a schema, and the keys that its body holds twice; at most MAX_DRIFT entries.

    Of one that is too large to be checked, that is the one entry.
    """
    if _holds_more_than(payload, MAX_CHECKED):
        return [drift_entry(["payload"], f"Too large to be checked: it holds more than {MAX_CHECKED:,} values.")]
    messages = schema.validate(payload) if isinstance(payload, dict) else {"_schema": ["Not an object."]}
    entries = [*islice(_flatten(messages), MAX_DRIFT), *islice(_repeated_keys(body), MAX_DRIFT)]
    return sorted(entries, key=itemgetter("path"))[:MAX_DRIFT]


def _holds_more_than(payload: object, limit: int) -> bool:
    """Say whether there are more values in a payload, without counting any beyond that."""
    stack, count = [payload], 0
    while stack and count <= limit:
        value = stack.pop()
        if isinstance(value, dict | list):
            count += len(value)
            if count <= limit:
                stack += value.values() if isinstance(value, dict) else value
    return count > limit


def drift_entry(path: Sequence[object], problem: str) -> dict[str, str]:
    """Give one entry, fit to be stored and shown: what does not show is escaped, what is long is cut."""
    return {"path": _printable(".".join(map(str, path))), "problem": _printable(problem)}


def _printable(text: str) -> str:
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: _MAX_LENGTH + 1])
    return shown if len(shown) <= _MAX_LENGTH else shown[: _MAX_LENGTH - 1] + "…"


def _flatten(messages: Mapping[Any, Any]) -> Iterator[dict[str, str]]:
    """Walk marshmallow's nested messages; it is as deep as the schema, never as deep as the payload."""
    stack: list[tuple[tuple[object, ...], Any]] = [((), messages)]
    while stack:
        path, node = stack.pop()
        if isinstance(node, Mapping):
            children = [((*path, key) if key != "_schema" else path, child) for key, child in node.items()]
            stack += reversed(children)
        else:
            yield drift_entry(path or ("payload",), " ".join(map(str, node)))


class _Repeating(dict[str, Any]):
    """A JSON object that remembers which of its keys came more than once."""

    repeated: tuple[str, ...] = ()


def _remember_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = _Repeating(pairs)
    if len(found) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        found.repeated = tuple(key for key, count in counts.items() if count > 1)
    return found


_REMEMBERING_DECODER = json.JSONDecoder(object_pairs_hook=_remember_repeated)


def _repeated_keys(body: bytes) -> Iterator[dict[str, str]]:
    """Find keys that come twice in one object: readers do not agree on which of the two counts."""
    try:
        with uncollected():
            payload = _REMEMBERING_DECODER.decode(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return
    stack: list[tuple[tuple[object, ...], Any]] = [((), payload)]
    while stack:
        path, node = stack.pop()
        if isinstance(node, _Repeating):
            for key in node.repeated:
                yield drift_entry((*path, key), "The key comes more than once; the last one counts.")
            stack += [((*path, key), child) for key, child in node.items()]
        elif isinstance(node, list):
            stack += [((*path, index), child) for index, child in enumerate(node)]


class Strict(Schema):
    """A schema in which an unknown field is drift."""

    class Meta:
        unknown = RAISE


class Whole(fields.Integer):
    """A JSON number without a fraction: neither text, nor true, nor 1.0 stands for one."""

    def _validated(self, value: Any) -> int:
        if type(value) is not int:
            raise self.make_error("invalid")
        return value


class Flag(fields.Boolean):
    """true or false: neither 1 nor "true" stands for it."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Time(fields.String):
    """A date and time as RFC 3339 writes it, with its offset."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        if rfc3339(value) is None:
            raise ValidationError("Not an RFC 3339 date and time with an offset.")
        return str(value)


class ObjectOrEmptyList(fields.Field[Any]):
    """An object; or `[]`, which is how PHP writes an empty one."""

    def __init__(self, schema: type[Schema], *, allow_none: bool = False) -> None:
        super().__init__(allow_none=allow_none)
        self._object = fields.Nested(schema)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        return value if value == [] else self._object.deserialize(value, attr, data)
