"""Jobs on their way through a broker: handed over, taken by a Celery process, or due again.

A job that is handed over stays *waiting*, with a time at which it is due again. So a job that the broker loses comes
back by itself. One that it delivers twice or late is taken once: a message names the attempt that it is for.
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
    """A job that goes to the broker, with the number of attempts that it had before."""

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
    """Return up to `limit` due jobs for the broker, the longest due first; they are due again at `until`.

    With a registry, jobs of handlers that the dispatcher has not loaded are given back.
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
    """Return the ids of the jobs that no process has taken yet."""
    attempts = {one.job_id: one.attempt for one in handed}
    waiting = sa.select(jobs.c.id, jobs.c.attempt).where(jobs.c.id.in_(attempts), jobs.c.state == "waiting")
    with db.reading(engine) as connection:
        return {row.id for row in connection.execute(waiting) if row.attempt == attempts[row.id]}


def bring_back(engine: sa.Engine, handed: Sequence[Handed], now: datetime) -> None:
    """Make jobs that the broker did not take due at once."""
    store.hasten(engine, sa.tuple_(jobs.c.id, jobs.c.attempt).in_([(one.job_id, one.attempt) for one in handed]), now)


def take(engine: sa.Engine, handed: Mapping[int, int], *, worker: str, now: datetime, lease: timedelta) -> list[Claim]:
    """Claim jobs to run them, given as a mapping of their ids to the attempts they had when they were handed over.

    A job that is missing from the result is not this process's to run: its message is late or was delivered twice, or
    its handler is paused.
    """
    return store.take(engine, _waiting(handed), worker=worker, now=now, lease=lease)


def take_own(
    engine: sa.Engine, handed: Mapping[int, int], *, registry: Registry, worker: str, now: datetime, lease: timedelta
) -> Taken:
    """Claim jobs as `take` does, except those of handlers that this process has not loaded.

    Those are sent through the broker again a third of a lease later, and may reach a process that has the handler.
    """
    later = now + lease / 3
    which = _waiting(handed)
    return store.take_own(engine, which, registry=registry, worker=worker, now=now, lease=lease, later=later)


def _waiting(handed: Mapping[int, int]) -> sa.ColumnElement[bool]:
    attempts = sa.tuple_(jobs.c.id, jobs.c.attempt).in_(handed.items())
    return sa.and_(attempts, jobs.c.state == "waiting", jobs.c.due_at.is_not(None))
