"""The lines of the lists: what each says of an event, a rejected or a quarantined delivery, and how it is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import current_app

from receiver import humanize
from receiver.errors import UnreadableError
from receiver.observe.records import EventRecord, Standing
from receiver.sources import profile_of, summary, wire

MARKS_SHOWN = 6
LONGEST_READ = 64 * 1024
# What needs somebody comes first.
_JOB_STATES = ("dead", "running", "waiting", "done", "discarded")

REASONS: Mapping[str, str] = {
    "signature_missing": "It came without a signature",
    "signature_malformed": "Its signature cannot be one",
    "signature_mismatch": "Not signed with our keys",
    "timestamp_missing": "It does not say when it was signed",
    "timestamp_malformed": "It says when it was signed, but not readably",
    "timestamp_stale": "It was signed too long ago",
    "timestamp_in_future": "It was signed ahead of our clock",
    "version_unsupported": "Its signature is of a version that we do not know",
    "algorithm_unsupported": "Its signature is made in a way that we do not know",
    "header_conflict": "One of its headers came twice, with different values",
    "body_too_long": "Its body is longer than MAX_BODY_BYTES",
    "cut_off": "Its body did not arrive whole",
    "compressed": "Its body is compressed",
    "source_off": "No key is set for this source",
    "no_such_source": "Sent to an address that is no source's",
    "method_not_allowed": "Not a POST",
    "redirected": "Sent to an address that is redirected",
    "not_understood": "It could not be read as a request",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One event as the list shows it."""

    place: int
    id: str
    source: str
    type: str
    received_at: datetime
    verified_by: str
    about: summary.About
    state: str
    deliveries: int
    drift: int
    job_counts: Mapping[str, int]

    @property
    def short_source(self) -> str:
        return short(self.source)

    @property
    def name(self) -> str:
        return self.type.partition(":")[2]

    @property
    def marks(self) -> list[tuple[str, int]]:
        """The marks of the jobs: one each with a 0, or, where there are many, one a state with its number."""
        counted = [(state, self.job_counts[state]) for state in _JOB_STATES if state in self.job_counts]
        if sum(count for _, count in counted) > MARKS_SHOWN:
            return counted
        return [(state, 0) for state, count in counted for _ in range(count)]

    @property
    def fate(self) -> str:
        """What became of it, in words."""
        if not self.job_counts:
            return "not routed yet" if self.state == "accepted" else "no handler wanted it"
        total = sum(self.job_counts.values())
        parts = [f"{self.job_counts[state]} {state}" for state in _JOB_STATES if state in self.job_counts]
        return f"{humanize.count(total, 'job')}: {', '.join(parts)}"

    @property
    def stamp(self) -> str:
        """Another text for every state that a line of this event may be in."""
        return f"{self.state} {self.deliveries} {self.drift} {self.fate}"


def line(place: int, item: EventRecord) -> Line:
    kept = {name: getattr(item, name) for name in ("id", "source", "type", "received_at", "verified_by")}
    return Line(place=place, about=about(item.source, item.payload), **kept, **changeable(item))


def changeable(item: Standing) -> dict[str, Any]:
    """Return what may change about a line."""
    return {
        "state": item.state,
        "deliveries": item.deliveries,
        "job_counts": item.job_counts,
        "drift": len(item.drift),
    }


def draw(line: Line, query: str) -> str:
    """Draw one line for a page that is open already."""
    module: Any = current_app.jinja_env.get_template("_row.html").module
    return str(module.event_row(line, query, None)).strip()


@dataclass(frozen=True, slots=True)
class Refusal:
    """One rejected or quarantined delivery as its list shows it: `code` is "" where there is none.

    `name` and `about` are what the body says of itself, which nobody vouches for.
    """

    item: sa.Row[Any]
    says: str
    code: str
    name: str
    about: summary.About

    @property
    def short_source(self) -> str:
        return short(self.item.source)


def short(source: str) -> str:
    """Return what a list calls a source."""
    profile = profile_of(source)
    return profile.short if profile else source[:3]


def about(source: str, payload: summary.Payload) -> summary.About:
    """Return what a payload is about, as its source tells it."""
    profile = profile_of(source)
    return (profile.about if profile else summary.about)(payload)


def rejected(row: sa.Row[Any]) -> Refusal:
    return Refusal(row, reason(row.reason), row.reason, *_claimed(row))


def quarantined(row: sa.Row[Any]) -> Refusal:
    return Refusal(row, problem(row.errors), "", *_claimed(row))


def _claimed(row: sa.Row[Any]) -> tuple[str, summary.About]:
    """Give the name and what it is about that a body claims, as far as it can be read, and is read quickly."""
    try:
        payload = wire.read_object(row.body) if len(row.body) <= LONGEST_READ else {}
    except UnreadableError:
        payload = {}
    profile = profile_of(row.source)
    name = payload.get(profile.named_by) if profile else None
    return name[: summary.MOST_CHARACTERS] if isinstance(name, str) else "", about(row.source, payload)


def reason(code: str) -> str:
    return REASONS.get(code, "It was refused")


def problem(errors: Mapping[str, Sequence[object]]) -> str:
    """Say in a line why a quarantined delivery cannot be read."""
    return "; ".join(f"{name}: {' '.join(map(str, said))}" for name, said in errors.items())
