"""A payload as steps that a template draws one after the other: nothing recurses, and all of it is bounded."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from receiver import humanize
from receiver.sources import wire
from receiver.web.payload import json_path

MAX_DEPTH = 100
MAX_NODES = 5_000
MAX_CHARACTERS = 100_000
LONG_TEXT = 300
SHOWN_OF_LONG_TEXT = 200
_LONGEST_TEXT = 20_000
_LONG_KEY = 100
_OPEN_DEPTH = 4
_OPEN_COUNT = 40
_TIME_KEY = re.compile(r"(.*_at|[a-z]+At|timestamp|created|updated|uploaded)", re.ASCII)
# Seconds and milliseconds since 1970 that lie between 2001 and 2096; other numbers are hardly times.
_SECONDS = range(10**9, 4 * 10**9)
_MILLISECONDS = range(10**12, 4 * 10**12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is drawn next: a value (`leaf`), the head of a list or object (`open`), its end, or what is not drawn.

    `key` is None in front of what stands alone; `path` is None where it would be too long to be of use.
    """

    kind: Literal["open", "leaf", "close", "left_out"]
    key: str | int | None = None
    path: str | None = None
    text: str = ""
    rest: str = ""
    is_open: bool = False
    is_text: bool = False
    url: str | None = None
    at: datetime | None = None


@dataclass(slots=True)
class _Budget:
    nodes: int = MAX_NODES
    characters: int = MAX_CHARACTERS

    def is_spent(self) -> bool:
        return self.nodes <= 0 or self.characters <= 0


@dataclass(slots=True)
class _Level:
    """The values of one list or object that are still to be drawn."""

    path: str | None
    left: Iterator[tuple[str | int | None, Any]]
    depth: int = field(default=0)


def steps(payload: object) -> Iterator[Step]:
    """Give a payload as the steps of its drawing; what is too deep or too much is counted and left out."""
    budget = _Budget()
    top = _children(payload) if _holds_more(payload) else [(None, payload)]
    levels = [_Level("", iter(top))]
    while levels:
        level = levels[-1]
        following = next(level.left, None)
        if following is None or budget.is_spent():
            if following is not None:
                yield _left_out(1 + sum(1 for _ in level.left))
            levels.pop()
            if levels:
                yield Step(kind="close")
            continue
        key, value = following
        path = json_path.below(level.path, key) if key is not None else None
        budget.nodes -= 1
        if not _holds_more(value) or level.depth + 1 >= MAX_DEPTH:
            yield _spent(budget, _leaf(key, path, value))
            continue
        yield _head(key, path, value, level.depth)
        levels.append(_Level(path, iter(_children(value)), level.depth + 1))


def _children(value: object) -> Iterable[tuple[str | int | None, Any]]:
    return value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()


def _holds_more(value: object) -> bool:
    return isinstance(value, dict | list) and bool(value)


def _spent(budget: _Budget, step: Step) -> Step:
    budget.characters -= len(step.text) + len(step.rest) + len(str(step.key))
    return step


def _head(key: str | int | None, path: str | None, value: Any, depth: int) -> Step:
    count = humanize.count(len(value), "key" if isinstance(value, dict) else "item")
    is_open = depth < _OPEN_DEPTH and len(value) <= _OPEN_COUNT
    return Step(kind="open", key=_shown_key(key), path=path, text=count, is_open=is_open)


def _leaf(key: str | int | None, path: str | None, value: object) -> Step:
    shown = _shown_key(key)
    if isinstance(value, str):
        return _text_leaf(shown, path, value)
    if _holds_more(value):
        return Step(kind="left_out", key=shown, text=f"{humanize.count(_levels(value), 'level')} deeper")
    at = _time_of_number(key, value)
    return Step(kind="leaf", key=shown, path=path, text=json.dumps(value), at=at)


def _text_leaf(key: str | int | None, path: str | None, text: str) -> Step:
    first, rest = (text, "") if len(text) <= LONG_TEXT else (text[:SHOWN_OF_LONG_TEXT], text[SHOWN_OF_LONG_TEXT:])
    cut = rest[:_LONGEST_TEXT]
    if len(cut) < len(rest):
        cut = f"{cut}… {len(rest) - len(cut):,} characters more: see Raw"
    url = text if is_link(text) else None
    at = wire.rfc3339(text) or (_time_of_number(key, int(text)) if _is_number(text) else None)
    return Step(kind="leaf", key=key, path=path, text=first, rest=cut, is_text=True, url=url, at=at)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) in (10, 13)


def _shown_key(key: str | int | None) -> str | int | None:
    return f"{key[:_LONG_KEY]}…" if isinstance(key, str) and len(key) > _LONG_KEY else key


def _left_out(count: int) -> Step:
    return Step(kind="left_out", text=f"{humanize.count(count, 'more item')}")


def _levels(value: object) -> int:
    """Say how deep a value is, without going down into it by calls: the stack is smaller than a payload may be."""
    level, depth = [value], 0
    while level:
        depth += 1
        level = [child for one in level for _, child in _children(one) if isinstance(child, dict | list)]
    return depth


def _time_of_number(key: str | int | None, value: object) -> datetime | None:
    if not isinstance(key, str) or not _TIME_KEY.fullmatch(key) or isinstance(value, bool):
        return None
    if not isinstance(value, int | float):
        return None
    seconds = value / 1000 if int(value) in _MILLISECONDS else value
    return datetime.fromtimestamp(seconds, UTC) if int(seconds) in _SECONDS else None


def is_link(text: str) -> bool:
    """Say whether a text is an address that a browser may be sent to: of the web, whole, and all of it to be seen."""
    if not text.startswith(("http://", "https://")) or " " in text or not text.isprintable() or len(text) > 2000:
        return False
    try:
        return bool(urlsplit(text).hostname)
    except ValueError:
        return False
