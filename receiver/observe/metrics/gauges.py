"""How things stand at this moment: what waits, what runs, what died, and how late the oldest is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

import sqlalchemy as sa

from receiver.storage import db, search
from receiver.storage.tables import events, is_dead, is_held, is_unrouted, jobs, quarantined, rejected

CAP = 10_000


class Gauges(TypedDict):
    """Counts and ages now. Nothing is counted beyond `CAP`: `capped` names the counts that are this many or more.

    `oldest_job_seconds`: for how long the oldest job has been due that is not done; one that waits for its next attempt
    is not due. `oldest_event_seconds`: for how long the oldest event has waited to be routed, of those that were not
    routed before and only put back by a replay: their jobs are due, too. None where there is none.
    `waiting_jobs` does not count those of handlers that are paused or that no worker has: these are `held_jobs`.
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
    """Say how things stand. It reads a few entries of indexes, however many events there are."""
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
    """Give for how many seconds the oldest due `job` and the oldest unrouted `event` have waited."""
    with db.reading(engine) as connection:
        return _waits(connection, at)


@dataclass(frozen=True, slots=True)
class Long:
    """How many jobs of a handler have been running since some time ago or longer, and since when the first of them."""

    handler: str
    count: int
    since: datetime


def look_at_runs(engine: sa.Engine, *, before: datetime) -> list[Long]:
    """Give the handlers with jobs that began before then and run to this moment, the longest first."""
    since = sa.func.min(jobs.c.started_at)
    running = sa.select(jobs.c.handler, sa.func.count(), since).where(
        jobs.c.state == "running", _HAS_CLOCK, jobs.c.started_at < before
    )
    with db.reading(engine) as connection:
        return [Long(*row) for row in connection.execute(running.group_by(jobs.c.handler).order_by(since))]


def iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


# Written so that each is answered by an index that holds nothing else (receiver/storage/tables.py).
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
    # Routing writes the drift, be there none: what has it was routed once and put back since. When, nobody wrote down.
    first = unrouted.subquery()
    never = sa.select(first.c.received_at).where(first.c.drift.is_(sa.null())).limit(1)
    routed_late = connection.execute(never).scalar_one_or_none()
    due = [_oldest_due(connection, state, at) for state in ("waiting", "running")]
    oldest = min((moment for moment in due if moment is not None), default=None)
    return {"job": _seconds(oldest, at), "event": _seconds(routed_late, at)}


def _oldest_due(connection: sa.Connection, state: str, at: datetime) -> datetime | None:
    """Give when the first job fell due that no worker has taken since, or whose worker has not been seen since."""
    due = sa.select(jobs.c.due_at).where(jobs.c.state == state, jobs.c.due_at <= at).order_by(jobs.c.due_at)
    return connection.execute(due.limit(1)).scalar_one_or_none()


def _seconds(since: datetime | None, at: datetime) -> float | None:
    return max(0.0, round((at - since).total_seconds(), 3)) if since else None
