"""Jobs that wait without a time: their handler is paused, or no running worker has loaded it."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from receiver.jobs.loaded import PAUSING, Known, Registry, names_in, paused_names
from receiver.jobs.retry import DEFAULT_ATTEMPTS
from receiver.storage import db
from receiver.storage.tables import attempts, events, handlers, is_held, jobs


def give_back(
    connection: sa.Connection, taken: Sequence[sa.Row[Any]], registry: Registry, *, now: datetime, later: datetime
) -> None:
    """Return jobs that were just taken and whose handlers are not loaded here to the queue, as if never taken.

    They are due `later` if another worker has the handler. If none has, they wait for one that does; other due jobs of
    these handlers are then made to wait too, some hundreds at a time.
    """
    db.lock(connection, PAUSING, shared=True)
    known = registry.read(connection, now)
    ids = [row.id for row in taken]
    again = [row.id for row in taken if _may_route_again(row.handler, known, registry)]
    others = sorted({row.handler for row in taken if row.id not in set(again)})
    runs = [name for name in others if name in known.live and name not in known.paused]
    waits = [name for name in others if name not in runs]
    untouched = {"state": "waiting", "worker": None, "attempt": jobs.c.attempt - 1, "due_at": later}
    claimed = jobs.c.state == "running"  # unlike a job that was only handed to the broker
    connection.execute(sa.update(jobs).where(jobs.c.id.in_(ids), claimed).values(**untouched))
    connection.execute(sa.update(jobs).where(jobs.c.id.in_(ids), jobs.c.handler.in_(runs)).values(due_at=later))
    if waits:
        due = sa.select(jobs.c.id).where(jobs.c.state == "waiting", jobs.c.due_at <= now, jobs.c.handler.in_(waits))
        more = due.order_by(jobs.c.due_at).limit(db.STEP).with_for_update(skip_locked=True)
        ids += connection.execute(more).scalars()
        connection.execute(sa.update(jobs).where(jobs.c.id.in_(ids), jobs.c.handler.in_(waits)).values(due_at=None))
    _route_again(connection, again, now)


def wake(engine: sa.Engine, registry: Registry, now: datetime) -> int:
    """Make jobs due that waited for a handler or module that is loaded here now; return how many.

    The events of a module that imports again are routed again, to all handlers that want them. This runs in steps and
    may be cut short anywhere: the next call, by any worker, goes on.
    """
    with db.reading(engine) as connection:
        names = names_in(connection, is_held)
        if not names:
            return 0
        known = registry.read(connection, now)
    woken = 0
    for name in names:
        if registry.has(name) and name not in known.paused:
            woken += sum(_wake(engine, name, ids, now) for ids in of_handler(engine, name) if ids)
        elif _may_route_again(name, known, registry):
            woken += sum(_wake_module(engine, name, ids, registry, now) for ids in of_handler(engine, name) if ids)
    return woken


def pause_handler(engine: sa.Engine, name: str, now: datetime) -> int:
    """Start no job of this handler until it is resumed; return how many waited. Running jobs run to their end."""
    row = {"name": name, "module": name.rpartition(".")[0], "patterns": [], "attempts": DEFAULT_ATTEMPTS}
    with db.writing(engine) as connection:
        db.lock(connection, PAUSING)
        paused = db.insert(connection, handlers).values(**row, summary="", loaded_at=now, paused_at=now)
        first = {"paused_at": sa.func.coalesce(handlers.c.paused_at, now)}
        connection.execute(paused.on_conflict_do_update(index_elements=["name"], set_=first))
    # From here on no job of this handler gets a time; the next lines remove the times of those that have one.
    waiting = jobs.c.state == "waiting"
    return sum(_set_due(engine, jobs.c.id.in_(ids) & waiting, None) for ids in _timed(engine, name) if ids)


def resume_handler(engine: sa.Engine, name: str, now: datetime) -> int:
    """Run the jobs of this handler again, those that waited at once; return how many waited.

    The handler stays paused until the last of them has a time: if this is cut short, a second call finds the rest.
    """
    woken = sum(_set_due(engine, jobs.c.id.in_(ids) & is_held, now) for ids in of_handler(engine, name) if ids)
    with db.writing(engine) as connection:
        db.lock(connection, PAUSING)
        connection.execute(sa.update(handlers).where(handlers.c.name == name).values(paused_at=None))
        rest = sa.update(jobs).where(jobs.c.handler == name, is_held).values(due_at=now)
        return woken + connection.execute(rest).rowcount


def _set_due(engine: sa.Engine, which: sa.ColumnElement[bool], at: datetime | None) -> int:
    with db.writing(engine) as connection:
        db.ring_of(connection)
        return connection.execute(sa.update(jobs).where(which).values(due_at=at)).rowcount


def _timed(engine: sa.Engine, handler: str) -> Iterator[list[int]]:
    """Yield the ids of one handler's jobs that wait for a time, step by step through all such jobs."""
    timed = sa.select(jobs.c.id, jobs.c.handler, jobs.c.due_at).where(
        jobs.c.state == "waiting", jobs.c.due_at.is_not(None)
    )
    for rows in db.walk(engine, timed, (jobs.c.due_at, jobs.c.id)):
        yield [row.id for row in rows if row.handler == handler]


def of_handler(engine: sa.Engine, handler: str) -> Iterator[list[int]]:
    """Yield the ids of a handler's jobs that wait without a time, step by step."""
    held = sa.select(jobs.c.id).where(jobs.c.handler == handler, is_held)
    for rows in db.walk(engine, held, (jobs.c.id,)):
        yield [row.id for row in rows]


def _may_route_again(name: str, known: Known, registry: Registry) -> bool:
    """Return whether a job stands for a module that did not import before and does now.

    A module that is loaded here and has no row left was recorded by the previous release.
    """
    return name in known.fixed or (name in registry.router.modules and name not in known.rows)


def _wake(engine: sa.Engine, name: str, ids: Sequence[int], now: datetime) -> int:
    with db.writing(engine) as connection:
        if name in paused_names(connection):
            return 0
        db.ring_of(connection)
        return connection.execute(sa.update(jobs).where(jobs.c.id.in_(ids), is_held).values(due_at=now)).rowcount


def _wake_module(engine: sa.Engine, name: str, ids: Sequence[int], registry: Registry, now: datetime) -> int:
    with db.writing(engine) as connection:
        db.lock(connection, PAUSING, shared=True)
        if not _may_route_again(name, registry.read(connection, now), registry):
            return 0
        still = sa.select(jobs.c.id).where(jobs.c.id.in_(ids), is_held).with_for_update()
        return _route_again(connection, connection.execute(still).scalars().all(), now)


def _route_again(connection: sa.Connection, ids: Sequence[int], now: datetime) -> int:
    """End the jobs of modules that import now, and route their events again: no handler gets an event twice."""
    if not ids:
        return 0
    these = jobs.c.id.in_(ids)
    done = {"state": "done", "due_at": None, "worker": None, "attempt": jobs.c.attempt + 1}
    rows = connection.execute(
        sa.update(jobs).where(these).values(**done).returning(jobs.c.id, jobs.c.event_id, jobs.c.attempt)
    ).all()
    of_them = events.c.id.in_({row.event_id for row in rows})
    connection.execute(sa.update(events).where(of_them).values(state="accepted"))
    ended = {"started_at": now, "finished_at": now, "outcome": "done", "error": None}
    connection.execute(sa.insert(attempts), [{"job_id": row.id, "number": row.attempt} | ended for row in rows])
    return len(rows)
