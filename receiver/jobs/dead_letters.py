"""Dead letters by handler, type and time: list the newest, count them, replay or discard all of them."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from receiver.jobs import store as jobs
from receiver.jobs.routing import matches
from receiver.storage import db, search
from receiver.storage.tables import events, is_dead
from receiver.storage.tables import jobs as table

COUNTED = 10_000
PATIENCE_SECONDS = 1.8
_AT_A_TIME = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """A filter for dead letters; None means any.

    `type` is a pattern as handlers write it (PatternError if it is not one). The event was received at `since` or
    later, and before `until`.
    """

    handler: str | None = None
    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        if self.type is not None:
            search.check_pattern(self.type)

    def takes(self, row: sa.Row[Any]) -> bool:
        """Return whether a dead job matches, by the type, source, name and `received_at` of its event."""
        if self.type is not None and not (
            matches(self.type, row.type) or matches(self.type, f"{row.source}:{row.name}")
        ):
            return False
        return (self.since is None or row.received_at >= self.since) and (
            self.until is None or row.received_at < self.until
        )


@dataclass(frozen=True, slots=True)
class Count:
    """A count; there may be more if counting stopped early (`is_whole` is False)."""

    number: int
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Picked:
    """The ids of dead jobs, the oldest first; there are more if the search stopped early (`is_whole` is False)."""

    ids: Sequence[int]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Newest:
    """The ids of dead jobs, the newest first, and the id below which older ones follow; None if these are all."""

    ids: list[int]
    next: int | None


def newest(engine: sa.Engine, handler: str, which: Which, *, limit: int, before: int | None = None) -> Newest:
    """Return the newest dead letters of a handler with an id below `before`, after two seconds at the latest."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    dead = _dead().where(table.c.handler == handler)
    if before is not None:
        dead = dead.where(table.c.id < before)
    ids: list[int] = []
    for rows in db.walk(engine, dead, (table.c.handler, table.c.id), backwards=True):
        ids += [row.id for row in rows if which.takes(row)]
        if len(ids) > limit:
            return Newest(ids[:limit], ids[limit - 1])
        if rows and time.monotonic() > deadline:
            return Newest(ids, rows[-1].id)
    return Newest(ids, None)


def count(engine: sa.Engine, which: Which, *, limit: int = COUNTED) -> Count:
    """Count dead letters, up to a limit and for two seconds at most."""
    number, deadline = 0, time.monotonic() + PATIENCE_SECONDS
    for ids in _steps(engine, which):
        number += len(ids)
        if number > limit or time.monotonic() > deadline:
            return Count(min(number, limit), is_whole=False)
    return Count(number, is_whole=True)


def pick(engine: sa.Engine, which: Which, *, limit: int = COUNTED) -> Picked:
    """Return the dead letters that match, up to a limit and for two seconds at most."""
    ids: list[int] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    for found in _steps(engine, which):
        ids += found
        if len(ids) > limit or time.monotonic() > deadline:
            return Picked(ids[:limit], is_whole=False)
    return Picked(ids, is_whole=True)


def replay_picked(engine: sa.Engine, ids: Sequence[int], *, now: datetime) -> int:
    """Replay those of these jobs that are still dead; return how many."""
    steps = (ids[at : at + _AT_A_TIME] for at in range(0, len(ids), _AT_A_TIME))
    return sum(jobs.replay_dead_jobs(engine, step, now=now) for step in steps)


def replay(engine: sa.Engine, which: Which, *, now: datetime) -> int:
    """Replay the dead letters that match, each with a fresh budget of attempts; return how many.

    Each is replayed once: one that dies again meanwhile stays dead.
    """
    return sum(jobs.replay_dead_jobs(engine, ids, now=now) for ids in _steps(engine, which) if ids)


def _steps(engine: sa.Engine, which: Which) -> Iterator[list[int]]:
    dead = _dead() if which.handler is None else _dead().where(table.c.handler == which.handler)
    for rows in db.walk(engine, dead, (table.c.handler, table.c.id)):
        yield [row.id for row in rows if which.takes(row)]


def _dead() -> sa.Select[Any]:
    of_the_event = (events.c.type, events.c.source, events.c.name, events.c.received_at)
    dead = sa.select(table.c.id, table.c.handler, *of_the_event)
    return dead.join(events, events.c.id == table.c.event_id).where(is_dead)


def discard(engine: sa.Engine, which: Which, *, reason: str, now: datetime) -> int:
    """Discard the dead letters that match; return how many.

    They disappear from lists and alarms, and stay with their events.
    """
    return sum(jobs.discard_dead_jobs(engine, ids, reason=reason, now=now) for ids in _steps(engine, which) if ids)
