"""Jobs on their way through a broker: handed over, taken by a process of Celery's, or brought back.

A job that is handed over stays *waiting*, with a time at which it is due again. So whatever the broker loses comes back
by itself, and what it delivers twice or late is taken once: a message names the attempt that it is for.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from receiver.jobs import held, store
from receiver.jobs.loaded import Registry
from receiver.jobs.store import Claim, Taken
from receiver.storage import db
from receiver.storage.tables import jobs


@dataclass(frozen=True, slots=True)
class Handed:
    """A job that goes to the broker, and how many attempts it had when it went."""

    job_id: int
    handler: str
    attempt: int


def hand_over(
    engine: sa.Engine,
    *,
    limit: int,
    now: datetime,
    until: datetime,
    of: sa.ColumnElement[bool],
    registry: Registry | None = None,
) -> list[Handed]:
    """Take up to `limit` due jobs for the broker, the longest due first; they are due again at `until`.

    With a registry, those whose handlers the dispatcher has not loaded are given back.
    """
    if registry is not None and registry.elsewhere:
        of = sa.and_(of, jobs.c.handler.not_in(registry.elsewhere))
    given = sa.update(jobs).where(store.longest_due(now, limit=limit, of=of)).values(due_at=until)
    with db.writing(engine) as connection:
        rows = connection.execute(given.returning(jobs.c.id, jobs.c.handler, jobs.c.attempt)).all()
        strangers = [] if registry is None else [row for row in rows if not registry.has(row.handler)]
        if registry is not None and strangers:
            held.give_back(connection, strangers, registry, now=now, later=now)
    return sorted((Handed(*row) for row in rows if row not in strangers), key=lambda one: one.job_id)


def of_handlers(names: Collection[str]) -> sa.ColumnElement[bool]:
    return jobs.c.handler.in_(names)


def of_no_handler(names: Collection[str]) -> sa.ColumnElement[bool]:
    return jobs.c.handler.not_in(names)


def untaken(engine: sa.Engine, handed: Sequence[Handed]) -> set[int]:
    """Give the ids of those that nobody has taken yet."""
    attempts = {one.job_id: one.attempt for one in handed}
    waiting = sa.select(jobs.c.id, jobs.c.attempt).where(jobs.c.id.in_(attempts), jobs.c.state == "waiting")
    with db.reading(engine) as connection:
        return {row.id for row in connection.execute(waiting) if row.attempt == attempts[row.id]}


def bring_back(engine: sa.Engine, handed: Sequence[Handed], now: datetime) -> None:
    """Make due again at once what the broker did not take."""
    store.hasten(engine, sa.tuple_(jobs.c.id, jobs.c.attempt).in_([(one.job_id, one.attempt) for one in handed]), now)


def take(engine: sa.Engine, handed: Mapping[int, int], *, worker: str, now: datetime, lease: timedelta) -> list[Claim]:
    """Take jobs to run them, given as their ids with the attempts that they had when they were handed over.

    Those that are not given back are somebody else's: the message is late or a double, or the handler was paused.
    """
    return store.take(engine, _waiting(handed), worker=worker, now=now, lease=lease)


def take_own(
    engine: sa.Engine, handed: Mapping[int, int], *, registry: Registry, worker: str, now: datetime, lease: timedelta
) -> Taken:
    """Take jobs as `take` does, but for those whose handlers this process has not loaded.

    They come again through the broker a third of a lease later, and may meet a process that has.
    """
    later = now + lease / 3
    which = _waiting(handed)
    return store.take_own(engine, which, registry=registry, worker=worker, now=now, lease=lease, later=later)


def _waiting(handed: Mapping[int, int]) -> sa.ColumnElement[bool]:
    attempts = sa.tuple_(jobs.c.id, jobs.c.attempt).in_(handed.items())
    return sa.and_(attempts, jobs.c.state == "waiting", jobs.c.due_at.is_not(None))
