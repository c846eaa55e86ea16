"""Which handlers there are, as the workers said when they started, whether one lives, and how the jobs stand.

The web process imports no handler: what it knows of them is here.
"""

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import partial
from typing import Any

import sqlalchemy as sa

from receiver import db, threads
from receiver.dead_letters import Count
from receiver.errors import NotFoundError, StoreError
from receiver.listing import Item, iso
from receiver.retry import DEFAULT_ATTEMPTS
from receiver.routing import BrokenModule, Handler, Router
from receiver.tables import attempts, handlers, is_dead, is_held, jobs, pulse

COUNTED = 1000
BEAT = timedelta(seconds=10)
UNSEEN = timedelta(minutes=1)
OF_WORKERS = 2  # the row of `pulse` that workers write
LOOKED_BACK = 2000


def sign_in(engine: sa.Engine, router: Router, now: datetime) -> None:
    """Write down what this worker has loaded; what it has not is forgotten, unless it is paused."""
    rows = [_row(handler) for handler in router.handlers()] + [_broken_row(one) for one in router.broken.values()]
    with db.writing(engine) as connection:
        # In the order of their names: two workers that start together wait for each other, and for nothing else.
        for row in sorted(rows, key=lambda one: str(one["name"])):
            said = row | {"loaded_at": now}
            kept = db.insert(connection, handlers).values(**said)
            connection.execute(kept.on_conflict_do_update(index_elements=["name"], set_=said))
        gone = handlers.c.name.not_in([row["name"] for row in rows])
        connection.execute(sa.delete(handlers).where(gone, handlers.c.paused_at.is_(None)))


def _row(handler: Handler) -> Item:
    return {
        "name": handler.name,
        "module": handler.module,
        "patterns": list(handler.patterns),
        "attempts": handler.policy.attempts,
        "summary": handler.summary,
        "trouble": None,
    }


def _broken_row(broken: BrokenModule) -> Item:
    return {
        "name": broken.name,
        "module": broken.name,
        "patterns": [],
        "attempts": DEFAULT_ATTEMPTS,
        "summary": broken.error,
        "trouble": broken.traceback,
    }


def last_sign(engine: sa.Engine) -> datetime | None:
    """Give when a worker, whichever, last said that it lives; None where none ever did."""
    with db.reading(engine) as connection:
        return connection.execute(sa.select(pulse.c.at).where(pulse.c.id == OF_WORKERS)).scalar_one_or_none()


def nobody_works(engine: sa.Engine, now: datetime) -> bool:
    """Say whether no worker has given a sign of life for a minute."""
    seen = last_sign(engine)
    return seen is None or now - seen > UNSEEN


def beat(engine: sa.Engine, at: datetime) -> None:
    """Say that a worker lives."""
    with db.writing(engine) as connection:
        row = db.insert(connection, pulse).values(id=OF_WORKERS, at=at)
        connection.execute(row.on_conflict_do_update(index_elements=["id"], set_={"at": at}))


def beating(engine: sa.Engine) -> AbstractContextManager[None]:
    """Say that a worker lives, from a thread of its own, while the block runs; where that fails, it is said again."""
    return threads.beside(partial(_keep_beating, engine), name="beating")


def _keep_beating(engine: sa.Engine, stop: threading.Event) -> None:
    while True:
        with suppress(StoreError, OSError):
            beat(engine, datetime.now(UTC))
        if stop.wait(BEAT.total_seconds()):
            return


def list_handlers(engine: sa.Engine) -> list[Item]:
    """Give every handler and every module that does not import, by name.

    `paused_at` says since when it is paused. One that no worker has loaded is there while it has dead letters, with
    `loaded_at` None.
    """
    with db.reading(engine) as connection:
        items = [_item(row) for row in connection.execute(sa.select(handlers))]
        gone = _names_of_dead(connection) - {item["name"] for item in items}
    return sorted([*items, *map(_gone, gone)], key=lambda item: str(item["name"]))


def _names_of_dead(connection: sa.Connection) -> set[str]:
    """Give the handlers that have dead letters: a leap in the index for each, not a look at each letter."""
    names: set[str] = set()
    first = sa.select(jobs.c.handler).where(is_dead).order_by(jobs.c.handler).limit(1)
    name = connection.execute(first).scalar_one_or_none()
    while name is not None:
        names.add(name)
        name = connection.execute(first.where(jobs.c.handler > name)).scalar_one_or_none()
    return names


def show_handler(engine: sa.Engine, name: str) -> Item:
    """Give one handler as `list_handlers` does; NotFoundError, with the names that come close, if it is not there."""
    known = {item["name"]: item for item in list_handlers(engine)}
    if name not in known:
        close = get_close_matches(name, known)
        hint = f"did you mean {' or '.join(close)}?" if close else "signalbox handlers list shows them."
        raise NotFoundError(f"no worker has loaded a handler named {name}: {hint}")
    return known[name]


def _item(row: sa.Row[Any]) -> Item:
    return {
        "name": row.name,
        "module": row.module,
        "patterns": row.patterns,
        "attempts": row.attempts,
        "summary": row.summary,
        "trouble": row.trouble,
        "loaded_at": iso(row.loaded_at),
        "paused_at": iso(row.paused_at),
    }


def _gone(name: str) -> Item:
    unknown = {"patterns": [], "attempts": DEFAULT_ATTEMPTS, "summary": "", "trouble": None}
    return {"name": name, "module": name.rpartition(".")[0], **unknown, "loaded_at": None, "paused_at": None}


def job_counts(engine: sa.Engine, names: Sequence[str]) -> Mapping[str, Mapping[str, Count]]:
    """Count the jobs of handlers that are `waiting`, `running` and `dead`; many are counted to a thousand only."""
    with db.reading(engine) as connection:
        timed, is_whole = _count_timed(connection)
        return {
            name: {
                "waiting": _sum(Count(timed[name, "waiting"], is_whole), _count(connection, name, is_held)),
                "running": Count(timed[name, "running"], is_whole),
                "dead": _count(connection, name, is_dead),
            }
            for name in names
        }


def _count_timed(connection: sa.Connection) -> tuple[Mapping[tuple[str, str], int], bool]:
    """Count the jobs that wait for their time or run, of all handlers together: no index tells them apart."""
    timed = sa.select(jobs.c.handler, jobs.c.state).where(
        jobs.c.state.in_(["running", "waiting"]), jobs.c.due_at.is_not(None)
    )
    first = timed.limit(LOOKED_BACK).subquery()
    grouped = sa.select(first.c.handler, first.c.state, sa.func.count()).group_by(first.c.handler, first.c.state)
    found: dict[tuple[str, str], int] = defaultdict(int)
    for handler, state, number in connection.execute(grouped):
        found[handler, state] = number
    return found, sum(found.values()) < LOOKED_BACK


def _count(connection: sa.Connection, name: str, state: sa.ColumnElement[bool]) -> Count:
    first = sa.select(jobs.c.id).where(jobs.c.handler == name, state).limit(COUNTED).subquery()
    number = connection.execute(sa.select(sa.func.count()).select_from(first)).scalar_one()
    return Count(number, is_whole=number < COUNTED)


def _sum(one: Count, other: Count) -> Count:
    return Count(one.number + other.number, one.is_whole and other.is_whole)


def list_failures(engine: sa.Engine, name: str, *, limit: int = 10) -> list[Item]:
    """Give the attempts of a handler that failed among the latest of all handlers, the newest first."""
    latest = sa.select(attempts).order_by(attempts.c.seq.desc()).limit(LOOKED_BACK).subquery()
    failed = (
        sa.select(latest, jobs.c.event_id)
        .join(jobs, jobs.c.id == latest.c.job_id)
        .where(jobs.c.handler == name, latest.c.outcome != "done")
        .order_by(latest.c.seq.desc())
        .limit(limit)
    )
    with db.reading(engine) as connection:
        return [_failure(row) for row in connection.execute(failed)]


def _failure(row: sa.Row[Any]) -> Item:
    return {
        "event": row.event_id,
        "job": row.job_id,
        "number": row.number,
        "finished_at": iso(row.finished_at),
        "outcome": row.outcome,
        "error": row.error,
    }
