"""Which handlers exist, as the workers reported at their start, whether a worker lives, and counts of jobs.

The web process imports no handler: all it knows about them is here.
"""

import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import partial
from typing import Any

import sqlalchemy as sa
from ulid_transform import ulid_now

from receiver.errors import NotFoundError, StoreError
from receiver.jobs import held
from receiver.jobs.dead_letters import Count
from receiver.jobs.loaded import PAUSING, UNSEEN, Known, Registry, loaded_of, look, names_in, why_held
from receiver.jobs.retry import DEFAULT_ATTEMPTS
from receiver.jobs.routing import BrokenModule, Handler, Router
from receiver.observe.documents import Document as Item
from receiver.observe.documents import iso
from receiver.runtime import threads
from receiver.storage import db
from receiver.storage.tables import attempts, handlers, is_dead, is_held, jobs, pulse, workers

COUNTED = 1000
BEAT = timedelta(seconds=10)
FORGOTTEN = timedelta(days=1)  # what no worker has had for so long is forgotten
TIDIED_EVERY = timedelta(hours=1)
OF_WORKERS = 2  # the row of `pulse` that workers write
LOOKED_BACK = 2000


def sign_in(engine: sa.Engine, router: Router, now: datetime, *, worker: str | None = None) -> None:
    """Record that a worker runs and what it has loaded, and make jobs due that waited for that.

    Handlers of other workers stay, also while those are away. A handler is forgotten if its packages were loaded here
    without it and no running worker has it, or if no worker has had it for a day.
    """
    rows = [_row(router, one) for one in router.handlers()] + [
        _broken_row(router, one) for one in router.broken.values()
    ]
    with db.writing(engine) as connection:
        db.lock(connection, PAUSING)
        others = sa.select(workers.c.id).where(workers.c.seen_at > now - UNSEEN, workers.c.id != (worker or ""))
        is_first = connection.execute(others.limit(1)).first() is None
        _write_worker(connection, worker or ulid_now(), _loaded(router), now)
        known = {row.name: row for row in connection.execute(sa.select(handlers))}
        for row in rows:
            before = known.get(row["name"])
            packages = {*row["packages"], *((before is not None and before.packages) or ())}
            said = row | {"loaded_at": now, "had_at": now, "packages": sorted(packages) or None}
            kept = db.insert(connection, handlers).values(**said)
            connection.execute(kept.on_conflict_do_update(index_elements=["name"], set_=said))
        own = {row["name"] for row in rows}
        for name, other in known.items():
            rest = _packages_without(other, router)
            if name not in own and rest != other.packages:
                connection.execute(sa.update(handlers).where(handlers.c.name == name).values(packages=rest))
        _forget(connection, now, is_first=is_first)
    held.wake(engine, Registry(router), now)


def _row(router: Router, handler: Handler) -> Item:
    return {
        "name": handler.name,
        "module": handler.module,
        "patterns": list(handler.patterns),
        "attempts": handler.policy.attempts,
        "summary": handler.summary,
        "trouble": None,
        "packages": router.packages_of(handler.name),
    }


def _broken_row(router: Router, broken: BrokenModule) -> Item:
    return {
        "name": broken.name,
        "module": broken.name,
        "patterns": [],
        "attempts": DEFAULT_ATTEMPTS,
        "summary": broken.error,
        "trouble": broken.traceback,
        "packages": router.packages_of(broken.name),
    }


def _loaded(router: Router) -> Item:
    return {
        "handlers": {one.name: list(one.patterns) for one in router.handlers()},
        "broken": sorted(router.broken),
        "packages": list(router.packages),
    }


def _write_worker(connection: sa.Connection, worker: str, loaded: Item, now: datetime) -> None:
    row = {"id": worker, "host": socket.gethostname()[:255], "pid": os.getpid(), "started_at": now}
    said = {"seen_at": now, "loaded_at": now, "loaded": loaded}
    written = db.insert(connection, workers).values(**row, **said)
    connection.execute(written.on_conflict_do_update(index_elements=["id"], set_=said))


def _packages_without(row: sa.Row[Any], router: Router) -> list[str] | None:
    """Return the packages that may still connect a handler which is not here, or may still hold a broken module.

    None if they are unknown: a broken module has the name of its package, whichever worker recorded it.
    """
    packages = row.packages
    if row.trouble is not None:
        if row.name in router.modules:
            return []
        packages = packages or [one for one in router.packages if f"{row.name}.".startswith(f"{one}.")] or packages
    whole = router.whole_packages()
    return [one for one in packages if one not in whole] if packages else packages


def _forget(connection: sa.Connection, now: datetime, *, is_first: bool = False) -> None:
    """Delete handlers that no worker has and no package connects, those that none has had for a day, and dead workers.

    The day starts anew with the first worker after a time without any: the others may start in a moment.
    """
    live: set[str] = set()
    seen: dict[str, datetime] = {}
    for row in connection.execute(sa.select(workers.c.seen_at, workers.c.loaded)):
        loaded = loaded_of(row.loaded)
        for name in (*loaded.handlers, *loaded.broken):
            seen[name] = max(seen.get(name, row.seen_at), row.seen_at)
            live |= {name} if row.seen_at > now - UNSEEN else set()
    for one in connection.execute(_LAST_HAD).all():
        had_at = now if is_first or one.had_at is None else max(one.had_at, seen.get(one.name, one.had_at))
        # A module that was fixed is remembered for a day: jobs in its name may still be on their way.
        is_removed = one.packages == [] and one.trouble is None
        if one.name not in live and one.paused_at is None and (is_removed or had_at < now - FORGOTTEN):
            connection.execute(sa.delete(handlers).where(handlers.c.name == one.name))
        elif had_at != one.had_at:
            connection.execute(sa.update(handlers).where(handlers.c.name == one.name).values(had_at=had_at))
    connection.execute(sa.delete(workers).where(workers.c.seen_at < now - FORGOTTEN))


_LAST_HAD = sa.select(handlers.c.name, handlers.c.trouble, handlers.c.paused_at, handlers.c.packages, handlers.c.had_at)


def sign_out(engine: sa.Engine, worker: str, now: datetime) -> None:
    """Record that a worker has ended, and that its handlers were last loaded now."""
    with db.writing(engine) as connection:
        db.lock(connection, PAUSING)
        _note_last(connection, worker, now)
        connection.execute(sa.delete(workers).where(workers.c.id == worker))
        _forget(connection, now)


def _note_last(connection: sa.Connection, worker: str, now: datetime) -> None:
    stored = connection.execute(sa.select(workers.c.loaded).where(workers.c.id == worker)).scalar_one_or_none()
    if stored is not None:
        loaded = loaded_of(stored)
        its = handlers.c.name.in_([*loaded.handlers, *loaded.broken])
        connection.execute(sa.update(handlers).where(its).values(had_at=now))


def last_sign(engine: sa.Engine) -> datetime | None:
    """Return when any worker last gave a sign of life; None if none ever did."""
    with db.reading(engine) as connection:
        return connection.execute(sa.select(pulse.c.at).where(pulse.c.id == OF_WORKERS)).scalar_one_or_none()


def nobody_works(engine: sa.Engine, now: datetime) -> bool:
    """Return whether no worker has given a sign of life for a minute."""
    seen = last_sign(engine)
    return seen is None or now - seen > UNSEEN


def beat(engine: sa.Engine, at: datetime) -> None:
    """Record a sign of life, and ring: so each worker hears regularly that its doorbell works."""
    with db.writing(engine) as connection:
        db.ring_of(connection)
        row = db.insert(connection, pulse).values(id=OF_WORKERS, at=at)
        connection.execute(row.on_conflict_do_update(index_elements=["id"], set_={"at": at}))


@contextmanager
def attending(engine: sa.Engine, router: Router, worker: str) -> Iterator[None]:
    """Record, from a thread, that a worker lives while the block runs; then record that it has ended.

    A record that fails is tried again.
    """
    try:
        with threads.beside(partial(_keep_beating, engine, router, worker), name="beating"):
            yield
    finally:
        with suppress(StoreError, OSError):
            sign_out(engine, worker, datetime.now(UTC))


def _keep_beating(engine: sa.Engine, router: Router, worker: str, stop: threading.Event) -> None:
    tidied_at = time.monotonic()
    while True:
        now = datetime.now(UTC)
        with suppress(StoreError, OSError):
            beat(engine, now)
            attend(engine, router, now, worker=worker)
            if time.monotonic() - tidied_at > TIDIED_EVERY.total_seconds():
                tidy(engine, now)
                tidied_at = time.monotonic()
        if stop.wait(BEAT.total_seconds()):
            return


def attend(engine: sa.Engine, router: Router, now: datetime, *, worker: str) -> None:
    """Record that a worker still lives and what it has, and make jobs due that waited for that all the same.

    It may have been taken for dead while the database was away or locked. If its row is missing, or what it has loaded
    has changed, it signs in again.
    """
    with db.writing(engine) as connection:
        stays = sa.update(workers).where(workers.c.id == worker).values(seen_at=now).returning(workers.c.loaded)
        stored = connection.execute(stays).scalar_one_or_none()
    if stored != _loaded(router):
        sign_in(engine, router, now, worker=worker)
    else:
        held.wake(engine, Registry(router), now)


def tidy(engine: sa.Engine, now: datetime) -> None:
    """Forget what no worker has had for a day."""
    with db.writing(engine) as connection:
        db.lock(connection, PAUSING)
        _forget(connection, now)


def forget(engine: sa.Engine, name: str, now: datetime) -> bool:
    """Stop making jobs for a handler that no running worker has; False if one has it.

    The jobs that wait for it stay.
    """
    with db.writing(engine) as connection:
        db.lock(connection, PAUSING)
        known = look(connection, now)
        if name in known.live or name in known.live_broken:
            return False
        connection.execute(sa.delete(handlers).where(handlers.c.name == name))
    return True


def list_workers(engine: sa.Engine, now: datetime) -> list[Item]:
    """Return the running workers, the oldest first: host, start time, and what each has loaded."""
    running = sa.select(workers).where(workers.c.seen_at > now - UNSEEN).order_by(workers.c.started_at, workers.c.id)
    with db.reading(engine) as connection:
        return [_worker_item(row) for row in connection.execute(running)]


def _worker_item(row: sa.Row[Any]) -> Item:
    return {
        "id": row.id,
        "host": row.host,
        "pid": row.pid,
        "started_at": iso(row.started_at),
        "seen_at": iso(row.seen_at),
        "packages": row.loaded["packages"],
        "handlers": sorted(row.loaded["handlers"]),
        "broken": row.loaded["broken"],
    }


@dataclass(frozen=True, slots=True)
class Stranded:
    """A handler that no running worker has loaded, or a module that does not import, and how many jobs wait for it."""

    name: str
    count: Count
    why: str
    is_broken: bool


def stranded(engine: sa.Engine, now: datetime) -> list[Stranded]:
    """Return the handlers and modules that jobs wait for and no running worker has, sorted by name.

    Paused handlers are not among them: their jobs wait on purpose.
    """
    with db.reading(engine) as connection:
        names = names_in(connection, is_held)
        if not names:
            return []
        known = look(connection, now)
        why = {name: why_held(known, name) for name in names if name not in known.paused}
        return [
            Stranded(name, _count(connection, name, is_held), said, name in known.broken)
            for name, said in why.items()
            if said
        ]


def list_handlers(engine: sa.Engine, now: datetime | None = None) -> list[Item]:
    """Return every handler and every module that does not import, sorted by name.

    `paused_at` is the time since when it is paused, `workers` the number of running workers that have it. One that left
    the registry is listed while it has dead letters or waiting jobs, with `loaded_at` None.
    """
    with db.reading(engine) as connection:
        known = look(connection, now or datetime.now(UTC))
        rows = connection.execute(sa.select(handlers)).all()
        items = [_item(row, known) for row in rows if row.name not in known.fixed]
        left = {*names_in(connection, is_dead), *names_in(connection, is_held)}
        gone = left - {item["name"] for item in items}
    return sorted([*items, *map(_gone, gone)], key=lambda item: str(item["name"]))


def show_handler(engine: sa.Engine, name: str) -> Item:
    """Return one handler as `list_handlers` does; NotFoundError, with similar names, if it is missing."""
    known = {item["name"]: item for item in list_handlers(engine)}
    if name not in known:
        close = get_close_matches(name, known)
        hint = f"did you mean {' or '.join(close)}?" if close else "signalbox handlers list shows them."
        raise NotFoundError(f"no worker has loaded a handler named {name}: {hint}")
    return known[name]


def _item(row: sa.Row[Any], known: Known) -> Item:
    having = sum(row.name in one.handlers or row.name in one.broken for one in known.running)
    return {
        "name": row.name,
        "module": row.module,
        "patterns": row.patterns,
        "attempts": row.attempts,
        "summary": row.summary,
        "trouble": row.trouble,
        "loaded_at": iso(row.loaded_at),
        "paused_at": iso(row.paused_at),
        "workers": having,
    }


def _gone(name: str) -> Item:
    unknown = {"patterns": [], "attempts": DEFAULT_ATTEMPTS, "summary": "", "trouble": None}
    nobody = {"loaded_at": None, "paused_at": None, "workers": 0}
    return {"name": name, "module": name.rpartition(".")[0], **unknown, **nobody}


def job_counts(engine: sa.Engine, names: Sequence[str]) -> Mapping[str, Mapping[str, Count]]:
    """Count the jobs of handlers that are `waiting`, `running` and `dead`, each up to a thousand."""
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
    """Count waiting jobs with a time and running jobs, of all handlers together: no index separates them by handler."""
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
    """Return a handler's failed attempts that are among the latest attempts of all handlers, the newest first."""
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
