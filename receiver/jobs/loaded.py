"""The handlers of all workers together, read in the transaction that routes an event or gives a job back.

The handlers of a worker that is away for a moment stay in the table, and their jobs wait for it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from receiver.jobs.routing import Router, reached
from receiver.storage import db
from receiver.storage.tables import handlers, jobs, workers

PAUSING = 1012  # the number of a lock: shared to make jobs due, exclusive to change which jobs may run
UNSEEN = timedelta(minutes=1)  # a worker without a sign of life for so long counts as dead


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one worker has loaded: its handlers with their patterns, and the modules that did not import."""

    handlers: Mapping[str, frozenset[str]]
    broken: frozenset[str]


@dataclass(frozen=True)
class Known:
    """What the tables hold, at one moment, about handlers and modules that do not import."""

    rows: Mapping[str, sa.Row[Any]]
    running: Collection[Loaded]

    @cached_property
    def live(self) -> frozenset[str]:
        """The handlers that a running worker has loaded."""
        return frozenset(name for one in self.running for name in one.handlers)

    @cached_property
    def live_broken(self) -> frozenset[str]:
        return frozenset(name for one in self.running for name in one.broken)

    @cached_property
    def paused(self) -> frozenset[str]:
        return frozenset(name for name, row in self.rows.items() if row.is_paused)

    @cached_property
    def broken(self) -> frozenset[str]:
        """The modules that do not import in a running worker, or did not in one that is away, and are not fixed."""
        away = (name for name, row in self.rows.items() if row.is_broken and row.packages != [])
        return self.live_broken.union(away)

    @cached_property
    def fixed(self) -> frozenset[str]:
        """The modules that a later worker imported, or has no need of."""
        return frozenset(name for name, row in self.rows.items() if row.is_broken) - self.broken

    @cached_property
    def _wanting(self) -> Mapping[str, frozenset[str]]:
        """Each handler with its patterns, of workers that run and of workers that are away."""
        wanting = {
            name: frozenset(row.patterns)
            for name, row in self.rows.items()
            if not row.is_broken and (row.packages != [] or name in self.live)
        }
        for one in self.running:
            for name, patterns in one.handlers.items():
                wanting[name] = wanting.get(name, frozenset()) | patterns
        return wanting

    def wanting(self, event_type: str, raw_name: str) -> list[str]:
        """Return the names that get a job for an event: handlers that want it, and modules that do not import.

        A module that does not import may contain handlers that want the event.
        """
        names = frozenset(reached(event_type, raw_name))
        return [*(name for name, patterns in self._wanting.items() if not names.isdisjoint(patterns)), *self.broken]

    def attempts_of(self, handler: str) -> int | None:
        row = self.rows.get(handler)
        return None if row is None else int(row.attempts)


class Registry:
    """What one worker knows about the others; `elsewhere` has the handlers that run there and not here."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.elsewhere: frozenset[str] = frozenset()
        self.known = Known({}, ())
        self.read_at: datetime | None = None
        self._loaded: dict[tuple[str, datetime], Loaded] = {}

    def has(self, handler: str) -> bool:
        """Return whether this worker has loaded a handler."""
        return self.router.find(handler) is not None

    def read(self, connection: sa.Connection, now: datetime) -> Known:
        """Read what the workers have loaded; each worker's list is parsed once."""
        rows = connection.execute(_ROWS).all()
        running = connection.execute(_RUNNING, {"since": now - UNSEEN}).all()
        keys = [(row.id, row.loaded_at) for row in running]
        if new := [worker for worker, at in keys if (worker, at) not in self._loaded]:
            chosen = sa.select(workers.c.id, workers.c.loaded_at, workers.c.loaded).where(workers.c.id.in_(new))
            for row in connection.execute(chosen):
                self._loaded[row.id, row.loaded_at] = loaded_of(row.loaded)
        self._loaded = {key: self._loaded[key] for key in keys if key in self._loaded}
        self.known = Known({row.name: row for row in rows}, tuple(self._loaded.values()))
        self.elsewhere = frozenset(name for name in self.known.live if not self.has(name))
        self.read_at = now
        return self.known

    def refresh(self, engine: sa.Engine, now: datetime, *, every: timedelta) -> None:
        """Check, at most once in `every`, whether the workers whose jobs are left alone here still run."""
        if self.elsewhere and (self.read_at is None or not timedelta() <= now - self.read_at < every):
            with db.reading(engine) as connection:
                self.read(connection, now)


_ROWS = sa.select(
    handlers.c.name,
    handlers.c.patterns,
    handlers.c.attempts,
    handlers.c.packages,
    handlers.c.trouble.is_not(None).label("is_broken"),
    handlers.c.paused_at.is_not(None).label("is_paused"),
)
_RUNNING = sa.select(workers.c.id, workers.c.loaded_at).where(
    workers.c.seen_at > sa.bindparam("since", type_=workers.c.seen_at.type)
)


def loaded_of(stored: Mapping[str, Any]) -> Loaded:
    """Parse what a worker recorded about itself."""
    patterns = {str(name): frozenset(patterns) for name, patterns in stored["handlers"].items()}
    return Loaded(patterns, frozenset(stored["broken"]))


def paused_names(connection: sa.Connection) -> frozenset[str]:
    """Return the names of the paused handlers; no handler is paused or resumed before this transaction ends."""
    db.lock(connection, PAUSING, shared=True)
    return frozenset(connection.execute(_PAUSED).scalars())


_PAUSED = sa.select(handlers.c.name).where(handlers.c.paused_at.is_not(None))


def look(connection: sa.Connection, now: datetime) -> Known:
    """Read what the workers have loaded, for a caller that needs it once: a command, a page."""
    return Registry(Router()).read(connection, now)


def names_in(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[str]:
    """Return the handlers that have jobs of a kind, with one index lookup for each handler, not one for each job."""
    names: list[str] = []
    first = sa.select(jobs.c.handler).where(which).order_by(jobs.c.handler).limit(1)
    name = connection.execute(first).scalar_one_or_none()
    while name is not None:
        names.append(name)
        name = connection.execute(first.where(jobs.c.handler > name)).scalar_one_or_none()
    return names


def why_held(known: Known, handler: str) -> str | None:
    """Return why a job without a time waits, as a sentence; None if it is about to get a time."""
    if handler in known.paused:
        return f"{handler} is paused"
    if handler in known.broken:
        return f"the module {handler} does not import"
    if handler in known.live or handler in known.fixed:
        return None
    return f"no running worker has loaded {handler}"
