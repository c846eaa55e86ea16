"""What an event is about, as far as its payload says: the name of a file or folder, what a comment says, and a size."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

MOST_CHARACTERS = 200
# What people named comes before what machines did. A workflow has a `jobid`, a dialog of the picker its type.
_NAMES = (("filename", "name", "message"), ("url",), ("jobid", "dialogType"))

Payload = Mapping[str, Any]


class About(NamedTuple):
    """A name, "" where the payload has none, and how many bytes the file is long."""

    name: str
    size: int | None = None


def about(payload: Payload) -> About:
    """Give what an event of Box or Filestack is about.

    Box tells of a `source`, which may be on an `item`; Filestack of a `text`, and after transcoding of `data`.
    """
    things = [part for key in ("source", "text", "data") for part in _parts(payload, key)]
    for keys in _NAMES:
        for thing in things:
            if name := _name(thing, keys):
                return About(name, _size(thing))
    return About(_name_of_kind(_part(payload, "source") or {}))


def _parts(payload: Payload, key: str) -> Iterator[Payload]:
    """Give a part with what its link says, what it is on, and the first file that it was made of."""
    thing = _part(payload, key)
    if thing is not None:
        yield {**thing, **(_part(thing, "link") or {})}
        yield _part(thing, "item") or {}
        sources = thing.get("sources")
        yield {"url": sources[0]} if isinstance(sources, list) and sources else {}


def _part(payload: Payload, key: str) -> Payload | None:
    found = payload.get(key)
    return found if isinstance(found, dict) else None


def _name(thing: Payload, keys: Sequence[str]) -> str:
    for key in keys:
        value = thing.get(key)
        if isinstance(value, str) and value.strip():
            # Of an address its end: the whole of it is in the payload.
            return (value.rstrip("/").rpartition("/")[2] if key == "url" else value)[:MOST_CHARACTERS]
    return ""


def _name_of_kind(thing: Payload) -> str:
    """Give `file 1234`, for what is told as type and id only."""
    kind, number = thing.get("type"), thing.get("id")
    if not isinstance(number, str | int) or isinstance(number, bool) or not str(number):
        return ""
    return f"{kind if isinstance(kind, str) else 'id'} {number}"[:MOST_CHARACTERS]


def _size(thing: Payload) -> int | None:
    size = thing.get("size")
    return size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None
