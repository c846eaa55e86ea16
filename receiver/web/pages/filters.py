"""What the address of a list asks for, what is wrong with it in a sentence beside the field, and addresses like it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlencode

import sqlalchemy as sa

from receiver import humanize
from receiver.errors import NotFoundError, PatternError
from receiver.sources import SOURCES
from receiver.storage import search
from receiver.storage.search import Filters
from receiver.storage.tables import events, quarantined, rejected

Kind = Literal["events", "rejected", "quarantine"]

ROOTS: Mapping[Kind, str] = {"events": "/", "rejected": "/rejected", "quarantine": "/quarantine"}
TABLES: Mapping[Kind, sa.Table] = {"events": events, "rejected": rejected, "quarantine": quarantined}
OF_ALL = ("source", "since", "until", "q")
OF_EVENTS = ("source", "type", "state", "since", "until", "q")
SPANS = ("15m", "1h", "24h", "7d")


@dataclass(frozen=True, slots=True)
class Asked:
    """What an address asks of the list of a kind: as it was given, as filters, and field by field what is wrong."""

    kind: Kind
    given: Mapping[str, str]
    filters: Filters = search.NO_FILTERS
    cursor: str | None = None
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def query(self) -> str:
        """The filters as the end of an address; "" where there are none."""
        return f"?{urlencode(self.given)}" if self.given else ""

    @property
    def is_unclear(self) -> bool:
        """Whether a filter makes no sense: what the others let through is not what was asked for, and is not listed."""
        return bool(self.problems.keys() - {"cursor"})

    def address(self, **changed: str | None) -> str:
        """Give the address of this list with other filters; None takes one away."""
        query = {name: value for name, value in {**self.given, **changed}.items() if value}
        return ROOTS[self.kind] + (f"?{urlencode(query)}" if query else "")

    def of(self, kind: Kind) -> "Asked":
        """Give the same filters for the list of another kind, as far as it has them."""
        return Asked(kind, {name: value for name, value in self.given.items() if name in _fields(kind)})


def read(args: Mapping[str, str], kind: Kind, now: datetime) -> Asked:
    """Read the filters of an address; those that make no sense are left out and explained."""
    asked = Asked(kind, {name: args[name].strip() for name in _fields(kind) if args.get(name, "").strip()})
    wanted: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, text in asked.given.items():
        try:
            wanted[name] = _value(name, text, now)
        except Unclear as unclear:
            problems[name] = str(unclear)
    problems |= {name: _of_events_only(name) for name in OF_EVENTS if name not in _fields(kind) and args.get(name)}
    problems |= upside_down(wanted)
    cursor = args.get("cursor") or None
    try:
        search.place_of(cursor)
    except NotFoundError:
        cursor, problems["cursor"] = None, "No list led to this address: here is the newest instead."
    return replace(asked, filters=Filters(**wanted), cursor=cursor, problems=problems)


class Unclear(ValueError):
    """A filter makes no sense, and this sentence says why."""


def upside_down(wanted: Mapping[str, Any]) -> dict[str, str]:
    """Explain a time that ends before it begins: nothing can have been received then."""
    since, until = wanted.get("since"), wanted.get("until")
    return (
        {"until": "This is not after since: nothing can have come then."} if since and until and until <= since else {}
    )


def _fields(kind: Kind) -> tuple[str, ...]:
    return OF_EVENTS if kind == "events" else OF_ALL


def _of_events_only(name: str) -> str:
    return f"Only events have a {name}. Filter these by source, by time or by words."


def _value(name: str, text: str, now: datetime) -> str | datetime:
    if name in ("since", "until"):
        return read_time(text, now)
    if name == "source" and text not in SOURCES:
        raise Unclear(f"There is no such source. The sources are {' and '.join(SOURCES)}.")
    if name == "state" and text not in search.STATES:
        raise Unclear(f"There is no such state. The states are {', '.join(search.STATES)}.")
    if name == "type":
        _check_pattern(text)
    return text


def read_time(text: str, now: datetime) -> datetime:
    """Read a time as people write it; Unclear says how."""
    try:
        return humanize.read_time(text, now)
    except (ValueError, OverflowError):
        raise Unclear("Write 15m, 2h or 3d for so long ago, or a time in UTC such as 2026-05-04T12:00.") from None


def _check_pattern(text: str) -> None:
    try:
        search.check_pattern(text)
    except PatternError:
        raise Unclear("Write a type with its source: box:FILE.UPLOADED, box:FILE.*, filestack:* or *.") from None
