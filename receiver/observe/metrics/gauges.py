"""The present state: what waits, what runs, what died, and how late the oldest is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

import sqlalchemy as sa

from receiver.humanize import iso
from receiver.storage import db, search
from receiver.storage.tables import events, is_dead, is_held, is_unrouted, jobs, quarantined, rejected

CAP = 10_000


class Gauges(TypedDict):
    """Counts and ages now. Nothing is counted beyond `CAP`: `capped` names the counts that have reached it.

    `oldest_job_seconds` is how long the oldest unfinished job has been due; one that waits for its next attempt is not
    due. `oldest_event_seconds` is how long the oldest event has waited for its first routing; events that a replay
    routes again are left out, because their jobs are due, too. None if nothing waits. `waiting_jobs` does not count
    jobs of handlers that are paused or that no worker has: these are `held_jobs`.
    """

    at: str
    unrouted_events: int
    waiting_jobs: int
    held_jobs: int
    running_jobs: int
    dead_jobs: int
    rejected: int
    quarantined: int
    capped: list[str]
    oldest_job_seconds: float | None
    oldest_event_seconds: float | None
    newest_event_at: str | None


def now(engine: sa.Engine, at: datetime) -> Gauges:
    """Return the present state. It reads a few index entries, however many events there are."""
    with db.reading(engine) as connection:
        counts = {name: _count(connection, what) for name, what in _COUNTED.items()}
        waits = _waits(connection, at)
        newest = search.newest(connection, events)
    return {
        "at": iso(at),
        "unrouted_events": min(counts["unrouted_events"], CAP),
        "waiting_jobs": min(counts["waiting_jobs"], CAP),
        "held_jobs": min(counts["held_jobs"], CAP),
        "running_jobs": min(counts["running_jobs"], CAP),
        "dead_jobs": min(counts["dead_jobs"], CAP),
        "rejected": min(counts["rejected"], CAP),
        "quarantined": min(counts["quarantined"], CAP),
        "capped": [name for name, count in counts.items() if count >= CAP],
        "oldest_job_seconds": waits["job"],
        "oldest_event_seconds": waits["event"],
        "newest_event_at": iso(newest.received_at) if newest else None,
    }


def look_at_waits(engine: sa.Engine, at: datetime) -> Mapping[str, float | None]:
    """Return for how many seconds the oldest due `job` and the oldest unrouted `event` have waited."""
    with db.reading(engine) as connection:
        return _waits(connection, at)


@dataclass(frozen=True, slots=True)
class Long:
    """How many jobs of a handler have run for at least some time, and when the first of them began."""

    handler: str
    count: int
    since: datetime


def look_at_runs(engine: sa.Engine, *, before: datetime) -> list[Long]:
    """Return the handlers with jobs that began before then and still run, the longest-running first."""
    since = sa.func.min(jobs.c.started_at)
    running = sa.select(jobs.c.handler, sa.func.count(), since).where(
        jobs.c.state == "running", _HAS_CLOCK, jobs.c.started_at < before
    )
    with db.reading(engine) as connection:
        return [Long(*row) for row in connection.execute(running.group_by(jobs.c.handler).order_by(since))]


# Written so that a partial index answers each of them (receiver/storage/tables.py).
_HAS_CLOCK = jobs.c.due_at.is_not(None)
_COUNTED: dict[str, sa.Select[tuple[object]]] = {
    "unrouted_events": sa.select(events.c.seq).where(is_unrouted),
    "waiting_jobs": sa.select(jobs.c.due_at).where(jobs.c.state == "waiting", _HAS_CLOCK),
    "held_jobs": sa.select(jobs.c.id).where(is_held),
    "running_jobs": sa.select(jobs.c.due_at).where(jobs.c.state == "running", _HAS_CLOCK),
    "dead_jobs": sa.select(jobs.c.id).where(is_dead),
    "rejected": sa.select(rejected.c.id),
    "quarantined": sa.select(quarantined.c.id),
}


def _count(connection: sa.Connection, what: "sa.Select[tuple[object]]") -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(what.limit(CAP).subquery())).scalar_one()


def _waits(connection: sa.Connection, at: datetime) -> dict[str, float | None]:
    unrouted = sa.select(events.c.received_at, events.c.drift).where(is_unrouted).order_by(events.c.seq).limit(CAP)
    # Routing always writes `drift`, even if it is empty: an event that has it was routed once, and a replay has
    # returned it to the queue since. Nothing records when.
    first = unrouted.subquery()
    never = sa.select(first.c.received_at).where(first.c.drift.is_(sa.null())).limit(1)
    routed_late = connection.execute(never).scalar_one_or_none()
    due = [_oldest_due(connection, state, at) for state in ("waiting", "running")]
    oldest = min((moment for moment in due if moment is not None), default=None)
    return {"job": _seconds(oldest, at), "event": _seconds(routed_late, at)}


def _oldest_due(connection: sa.Connection, state: str, at: datetime) -> datetime | None:
    """Return when the first due job became due that no worker has taken, or whose worker has vanished."""
    due = sa.select(jobs.c.due_at).where(jobs.c.state == state, jobs.c.due_at <= at).order_by(jobs.c.due_at)
    return connection.execute(due.limit(1)).scalar_one_or_none()


def _seconds(since: datetime | None, at: datetime) -> float | None:
    return max(0.0, round((at - since).total_seconds(), 3)) if since else None
