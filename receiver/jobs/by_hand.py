"""What a person does to jobs by hand: replay them, discard them, bring discarded ones back."""

from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

from receiver.errors import NotFoundError
from receiver.jobs.loaded import paused_names as _paused
from receiver.runtime.tracebacks import storable
from receiver.storage import db
from receiver.storage.tables import events, is_dead, is_discarded, jobs


def replay_event(engine: sa.Engine, event_id: str, *, handler: str | None, now: datetime) -> int:
    """Replay the jobs of an event, each with a fresh budget of attempts; return how many.

    Without a handler the event is also routed again, so that new handlers get it. With one, that handler gets the event
    even if it had no job for it. Jobs that are running now are left alone.
    """
    with db.writing(engine) as connection:
        if connection.execute(sa.select(events.c.seq).where(events.c.id == event_id)).first() is None:
            raise NotFoundError(f"no event has the id {event_id}")
        db.ring_of(connection)
        if handler is None:
            connection.execute(sa.update(events).where(events.c.id == event_id).values(state="accepted"))
            return _rewind(connection, jobs.c.event_id == event_id, now)
        due_at = None if handler in _paused(connection) else now
        row = {"event_id": event_id, "handler": handler, "state": "waiting", "due_at": due_at}
        added = db.insert(connection, jobs).on_conflict_do_nothing().returning(jobs.c.id)
        if connection.execute(added, row).first() is not None:
            return 1
        return _rewind(connection, (jobs.c.event_id == event_id) & (jobs.c.handler == handler), now)


def replay_job(engine: sa.Engine, job_id: int, *, now: datetime) -> int:
    """Replay one job with a fresh budget of attempts; return 0 if it is running now, 1 otherwise."""
    with db.writing(engine) as connection:
        _require_job(connection, job_id)
        return _rewind(connection, jobs.c.id == job_id, now)


def replay_dead_jobs(engine: sa.Engine, job_ids: Sequence[int], *, now: datetime) -> int:
    """Replay the dead letters among these jobs, each with a fresh budget of attempts; return how many."""
    with db.writing(engine) as connection:
        return _rewind(connection, jobs.c.id.in_(job_ids) & is_dead, now)


def _rewind(connection: sa.Connection, which: sa.ColumnElement[bool], now: datetime) -> int:
    db.ring_of(connection)
    due_at = due_unless_paused(_paused(connection), now)
    kept = {"discarded_at": None, "discarded_reason": None}
    fresh = {"state": "waiting", "due_at": due_at, "spent_before": jobs.c.attempt, "reason": None, **kept}
    return connection.execute(sa.update(jobs).where(which, jobs.c.state != "running").values(**fresh)).rowcount


def bury(engine: sa.Engine, job_id: int, *, reason: str, now: datetime | None = None) -> bool:
    """Discard a job by hand: it becomes a dead letter, or is hidden if it already is one.

    False if it is done or already hidden. A job that is running runs to its end, and its result is ignored.
    """
    with db.writing(engine) as connection:
        _require_job(connection, job_id)
        if _put_away(connection, jobs.c.id == job_id, reason, now or datetime.now(UTC)):
            return True
        open_jobs = sa.update(jobs).where(jobs.c.id == job_id, jobs.c.state.in_(["waiting", "running"]))
        buried = open_jobs.values(state="dead", due_at=None, worker=None, reason=storable(reason))
        return connection.execute(buried).rowcount == 1


def discard_dead_jobs(engine: sa.Engine, job_ids: Sequence[int], *, reason: str, now: datetime) -> int:
    """Hide the dead letters among these jobs; return how many. They stay with their events and can be replayed."""
    with db.writing(engine) as connection:
        return _put_away(connection, jobs.c.id.in_(job_ids), reason, now)


def _put_away(connection: sa.Connection, which: sa.ColumnElement[bool], reason: str, now: datetime) -> int:
    away = {"discarded_at": now, "discarded_reason": storable(reason)}
    return connection.execute(sa.update(jobs).where(which, is_dead).values(**away)).rowcount


def bring_back(engine: sa.Engine, job_id: int) -> bool:
    """Make a hidden job a dead letter again; False if it was not hidden."""
    with db.writing(engine) as connection:
        _require_job(connection, job_id)
        back = sa.update(jobs).where(jobs.c.id == job_id, is_discarded)
        return connection.execute(back.values(discarded_at=None, discarded_reason=None)).rowcount == 1


def _require_job(connection: sa.Connection, job_id: int) -> None:
    if connection.execute(sa.select(jobs.c.id).where(jobs.c.id == job_id)).first() is None:
        raise NotFoundError(f"no job has the id {job_id}")


def due_unless_paused(paused: frozenset[str], at: datetime) -> datetime | sa.ColumnElement[datetime | None]:
    """Return `at` for an update of `due_at`, or an expression that is NULL for jobs of paused handlers."""
    return sa.case((jobs.c.handler.in_(paused), sa.null()), else_=sa.literal(at, jobs.c.due_at.type)) if paused else at
