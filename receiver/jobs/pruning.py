"""Delete what is old, a little at a time: events with their jobs, quarantined deliveries, captures, counts."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from receiver import bins
from receiver.errors import StoreError
from receiver.observe import metrics
from receiver.observe.logs import log
from receiver.observe.metrics import gauges
from receiver.runtime import threads
from receiver.storage import db
from receiver.storage.ids import lowest_id
from receiver.storage.tables import events, jobs, quarantined

# Duplicates are recognised by the events in the table, and providers repeat a delivery for a day or more.
AT_LEAST = timedelta(days=2)
TOO_SHORT = (
    "Events are kept for less than 2 days: a delivery that its provider sends again after that is not recognised "
    "as a duplicate, and is handled as a new event."
)

STEP_SECONDS = 0.05
EVERY = timedelta(hours=1)
MOST_STEPS_AT_ONCE = 2000
REST_TIMES = 4
BEHIND = timedelta(seconds=1)
CATCH_UP = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneStep:
    """What one small transaction deleted, and how long other writers waited for it.

    `staying` counts events that are as old, but have a job that still waits or runs.
    """

    events: int = 0
    staying: int = 0
    quarantined: int = 0
    seconds: float


@dataclass(slots=True, kw_only=True)
class Pruned:
    """How many rows were deleted, and how many old events stay."""

    events: int = 0
    staying: int = 0
    quarantined: int = 0
    captures: int = 0
    tallies: int = 0

    def add(self, step: PruneStep) -> None:
        self.events += step.events
        self.staying += step.staying
        self.quarantined += step.quarantined

    def add_what_has_rules_of_its_own(self, engine: sa.Engine, now: datetime) -> None:
        """Delete captures that their bins do not keep any longer, and counts that are too old for the pages."""
        self.captures += bins.prune(engine, now=now)
        self.tallies += metrics.prune(engine, now)


def prune(engine: sa.Engine, keep: timedelta, *, now: datetime, pruned: Pruned, tell: Callable[[], None]) -> None:
    """Delete all that is older than `keep`, and count it in `pruned`; if `keep` is 0, events stay for ever.

    Other writers get their turn: each step is followed by a rest of the same length. This may be cut short anywhere.
    """
    for step in steps(engine, keep, now):
        pruned.add(step)
        tell()
        time.sleep(step.seconds)
    pruned.add_what_has_rules_of_its_own(engine, now)


def count(engine: sa.Engine, keep: timedelta, *, now: datetime) -> Pruned:
    """Count the events and quarantined deliveries that would be deleted, by reading alone."""
    pruned = Pruned()
    if keep:
        limit = lowest_id(now - keep)
        for rows in db.walk(engine, _old_events(limit), (events.c.id,)):
            with db.reading(engine) as connection:
                staying = len(_with_open_jobs(connection, [row.id for row in rows]))
            pruned.events += len(rows) - staying
            pruned.staying += staying
        old = sa.select(quarantined.c.id).where(quarantined.c.id < limit)
        pruned.quarantined = sum(len(rows) for rows in db.walk(engine, old, (quarantined.c.id,)))
    return pruned


def steps(engine: sa.Engine, keep: timedelta, now: datetime) -> Iterator[PruneStep]:
    """Delete routed events and quarantined deliveries older than `keep`, the oldest first, one transaction a step.

    The size of a step is adjusted so that it takes about a twentieth of a second, which depends on the size of the
    bodies.
    """
    if keep:
        limit = lowest_id(now - keep)
        yield from _paced(lambda size, place: _delete_events(engine, place, limit, size))
        yield from _paced(lambda size, _place: _delete_quarantined(engine, limit, size))


def _paced(delete: Callable[[int, str], tuple[Mapping[str, int], str | None]]) -> Iterator[PruneStep]:
    """Call `delete` with a size and the id that the last call reached, until it returns None for that id."""
    size = db.STEP // 5
    place: str | None = ""
    while place is not None:
        began = time.monotonic()
        counts, place = delete(size, place)
        seconds = time.monotonic() - began
        yield PruneStep(seconds=seconds, **counts)
        size = max(1, min(db.STEP, int(size * min(2.0, STEP_SECONDS / max(seconds, 0.001)))))


def _delete_events(engine: sa.Engine, after: str, before: str, size: int) -> tuple[Mapping[str, int], str | None]:
    old = _old_events(before).where(events.c.id > after).order_by(events.c.id).limit(size)
    with db.writing(engine) as connection:
        found = connection.execute(old.with_for_update(skip_locked=True)).scalars().all()
        staying = _with_open_jobs(connection, found)
        # The foreign keys (ON DELETE CASCADE) delete deliveries, jobs and attempts too.
        going = [one for one in found if one not in staying]
        connection.execute(sa.delete(events).where(events.c.id.in_(going)))
    return {"events": len(going), "staying": len(staying)}, found[-1] if len(found) == size else None


def _old_events(before: str) -> sa.Select[Any]:
    # By id, which sorts by time: an index on times would be written for every new event, and serve only this query.
    return sa.select(events.c.id).where(events.c.id < before, events.c.state == "routed")


def _with_open_jobs(connection: sa.Connection, event_ids: Sequence[str]) -> set[str]:
    """Return those of these events that have a job which waits or runs, or which another transaction is changing.

    The jobs of the others are locked: nobody can replay one while its event is deleted.
    """
    theirs = jobs.c.event_id.in_(event_ids)
    closed = sa.select(jobs.c.id).where(theirs, jobs.c.state.in_(["done", "dead"])).with_for_update(skip_locked=True)
    ours = set(connection.execute(closed).scalars())
    every = sa.select(jobs.c.id, jobs.c.event_id).where(theirs)
    return {row.event_id for row in connection.execute(every) if row.id not in ours}


def _delete_quarantined(engine: sa.Engine, before: str, size: int) -> tuple[Mapping[str, int], str | None]:
    old = sa.select(quarantined.c.seq).where(quarantined.c.id < before).order_by(quarantined.c.id).limit(size)
    with db.writing(engine) as connection:
        some = connection.execute(old.with_for_update(skip_locked=True)).scalars().all()
        connection.execute(sa.delete(quarantined).where(quarantined.c.seq.in_(some)))
    return {"quarantined": len(some)}, "" if len(some) == size else None


class Pruner:
    """Prunes beside a worker, once an hour, but not while events or jobs wait longer than they should.

    A pass is bounded; the next one goes on where it stopped.
    """

    def __init__(self, engine: sa.Engine, keep: timedelta, *, clock: Callable[[], datetime] | None = None) -> None:
        self._engine = engine
        self._keep = keep
        self._clock = clock or (lambda: datetime.now(UTC))
        self._rest: Iterator[PruneStep] | None = None

    def run(self, stop: threading.Event) -> None:
        # Not at once, and not all workers at the same moment, but before the next deployment is likely to end this
        # process.
        pause = random.uniform(60, 300)
        while not stop.wait(pause):
            pause = EVERY.total_seconds()
            try:
                pruned = self.pass_through(stop)
            except (StoreError, OSError) as error:
                log.warning("pruned", error=str(error), again="in an hour")
            else:
                if any(asdict(pruned).values()):
                    log.info("pruned", **asdict(pruned))

    def pass_through(self, stop: threading.Event, *, most_steps: int = MOST_STEPS_AT_ONCE) -> Pruned:
        """Delete what is old, in `most_steps` steps at most, and rest four times as long after each step as it took."""
        pruned, number = Pruned(), 0
        rest = self._rest or steps(self._engine, self._keep, self._clock())
        self._rest = None  # if a step fails, the next pass begins anew
        while self._may_go_on(stop) and (step := next(rest, None)):
            pruned.add(step)
            number += 1
            if number == most_steps:
                self._rest = rest
                break
            stop.wait(step.seconds * REST_TIMES)
        if not stop.is_set():
            pruned.add_what_has_rules_of_its_own(self._engine, self._clock())
        return pruned

    def _may_go_on(self, stop: threading.Event) -> bool:
        while not stop.is_set():
            if not self.is_behind():
                return True
            stop.wait(CATCH_UP.total_seconds())
        return False

    def is_behind(self) -> bool:
        """Return whether an event has waited for its routing, or a due job to be run, for more than a second."""
        waits = gauges.look_at_waits(self._engine, self._clock())
        return any(seconds is not None and seconds > BEHIND.total_seconds() for seconds in waits.values())


def hourly(engine: sa.Engine, keep: timedelta) -> AbstractContextManager[None]:
    """Prune from a thread of its own while the block runs."""
    return threads.beside(Pruner(engine, keep).run, name="pruning")
