"""What a listing is narrowed to, and how it is found among a million rows: backwards, in steps of a few milliseconds.

Whatever no index can answer is looked for in ranges of `seq`. Between two steps a gevent process serves whatever
waits, and after PATIENCE the listing says how far it came.
"""

import json
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from receiver.errors import NotFoundError, PatternError
from receiver.sources import SOURCES
from receiver.storage import db
from receiver.storage.ids import lowest_id
from receiver.storage.tables import events, is_dead, is_discarded, is_held, is_unrouted, jobs

EVENT_STATES = ("accepted", "routed")
JOB_STATES = ("waiting", "running", "done", "dead")
DISCARDED = "discarded"  # dead letters that nobody is to be told of any more
DRIFT = "drift"
STATES = (*EVENT_STATES, *JOB_STATES, DISCARDED, DRIFT)

PATIENCE = timedelta(seconds=1.8)
STEP = timedelta(milliseconds=8)
MOST_ROWS_A_STEP = 50_000
# Searching reads whole bodies, of up to a megabyte each; everything else reads the beginning of a row.
FIRST_STEP_OF_SEARCH = 32
FIRST_STEP = 2_000
# Rows are written in the order in which they came, but for so many: what waits for its commit, what was rejected and
# is let in later, what comes while a clock is set back.
OUT_OF_ORDER = 10_000
FEW = 500
MOST_AT_ONCE = 2

_CURSOR = re.compile(r"[0-9]{1,18}", re.ASCII)
_at_once = threading.Semaphore(MOST_AT_ONCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a listing is narrowed to; None leaves everything in.

    `type` is a pattern as handlers write it, `since` is in and `until` is out, `q` is text in the body or the headers,
    capitals and all. `state` is the event's own (`accepted`, `routed`), that of any of its jobs (`waiting`, `running`,
    `done`, `dead`), or `drift`. `type` and `state` are of events only.
    """

    source: str | None = None
    type: str | None = None
    state: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    q: str | None = None


NO_FILTERS = Filters()


@dataclass(frozen=True, slots=True)
class Found:
    """Rows, newest first, the cursor that goes on after them, and where the search stopped early: how far it got."""

    rows: Sequence[sa.Row[Any]]
    next: str | None
    searched_to: datetime | None = None


def find(
    engine: sa.Engine,
    table: sa.Table,
    filters: Filters,
    *,
    limit: int,
    cursor: str | None = None,
    floor: int = 0,
    patience: timedelta | None = None,
    also: Sequence[sa.ColumnElement[bool]] = (),
) -> Found:
    """Give a page of a table's rows above the place `floor`, within PATIENCE or as much as there is.

    `also` is what else they have to be like. NotFoundError for a cursor that no listing gave, PatternError for a type
    that is no pattern.
    """
    patience = PATIENCE if patience is None else patience
    deadline = time.monotonic() + patience.total_seconds()
    with db.reading(engine) as connection:
        low, high = _span(connection, table, filters, place_of(cursor))
        wanted, in_steps = _wanted(connection, table, filters)
    search = _Search(engine, table, wanted.where(*also), limit)
    low = max(low, floor + 1)
    if not in_steps and not also:
        return search.page(search.rows(low, high))
    if not _at_once.acquire(timeout=patience.total_seconds()):
        return search.stopped((), high)
    try:
        return search.walk(low, high, deadline, step=FIRST_STEP_OF_SEARCH if filters.q else FIRST_STEP)
    finally:
        _at_once.release()


def newest(connection: sa.Connection, table: sa.Table) -> sa.Row[Any] | None:
    """Give the row whose delivery was received last. What was let in since has a higher place, and is older."""
    by_id = sa.select(table.c.id).order_by(table.c.id.desc()).limit(1)
    last_id = connection.execute(by_id).scalar_one_or_none()
    if last_id is None:
        return None
    # Ids sort by the millisecond that they begin with, and within it by chance.
    of_then = sa.select(table).where(table.c.id >= last_id[:10])
    return connection.execute(of_then.order_by(table.c.received_at.desc(), table.c.seq.desc()).limit(1)).one()


@dataclass(frozen=True, slots=True)
class _Search:
    """Something wanted of a table, a page of it."""

    engine: sa.Engine
    table: sa.Table
    wanted: sa.Select[Any]
    limit: int

    def walk(self, low: int, high: int, deadline: float, *, step: int) -> Found:
        """Look from above until the page is full, and one row more, or the time is over; one step at least."""
        rows: list[sa.Row[Any]] = []
        while low < high and len(rows) <= self.limit:
            began = time.monotonic()
            floor = max(low, high - step)
            rows += self.rows(floor, high, had=len(rows))
            took = time.monotonic() - began
            high, step = floor, _next_step(step, took)
            # As long again for whoever else wants this process: deliveries come first.
            time.sleep(min(took, STEP.total_seconds()))
            if time.monotonic() > deadline and low < high and len(rows) <= self.limit:
                return self.stopped(rows, high)
        return self.page(rows)

    def rows(self, low: int, high: int, *, had: int = 0) -> Sequence[sa.Row[Any]]:
        seq = self.table.c.seq
        wanted = self.wanted.where(seq >= low, seq < high).order_by(seq.desc()).limit(self.limit + 1 - had)
        with db.reading(self.engine) as connection:
            return connection.execute(wanted).all()

    def page(self, rows: Sequence[sa.Row[Any]]) -> Found:
        return Found(rows[: self.limit], str(rows[self.limit - 1].seq) if len(rows) > self.limit else None)

    def stopped(self, rows: Sequence[sa.Row[Any]], high: int) -> Found:
        """Give what was found above this place, and say how far that is."""
        seq = self.table.c.seq
        at = sa.select(self.table.c.received_at).where(seq >= high).order_by(seq).limit(1)
        with db.reading(self.engine) as connection:
            return Found(rows, str(high), connection.execute(at).scalar() or datetime.now(UTC))


def walk_ids(engine: sa.Engine, table: sa.Table, filters: Filters, *also: sa.ColumnElement[bool]) -> Iterator[str]:
    """Give the ids of all rows that are like that, in the order in which they were written; others get their turn."""
    wanted = sa.select(table.c.id, table.c.seq).where(*conditions(engine, table, filters), *also)
    for rows in db.walk(engine, wanted, (table.c.seq,)):
        yield from (row.id for row in rows)


def read_page(
    connection: sa.Connection, wanted: sa.Select[Any], key: sa.Column[int], limit: int, cursor: str | None
) -> tuple[Sequence[sa.Row[Any]], str | None]:
    """Give a page of what an index answers, and the cursor that goes on after it."""
    place = place_of(cursor)
    if place is not None:
        wanted = wanted.where(key < place)
    rows = connection.execute(wanted.order_by(key.desc()).limit(limit + 1)).all()
    return rows[:limit], str(rows[limit - 1]._mapping[key]) if len(rows) > limit else None


def conditions(engine: sa.Engine, table: sa.Table, filters: Filters) -> list[sa.ColumnElement[bool]]:
    """Give what a row has to be like, as SQL; PatternError for a type that is no pattern."""
    wanted = []
    if filters.source is not None:
        # Joined to nothing, so that SQLite does not take the index of (source, identity) and sort all of a source.
        wanted.append(table.c.source + "" == storable(filters.source))
    if filters.type is not None:
        wanted.append(_of_type(filters.type))
    if filters.state is not None:
        wanted.append(_in_state(filters.state))
    if filters.since is not None:
        wanted.append(table.c.received_at >= filters.since)
    if filters.until is not None:
        wanted.append(table.c.received_at < filters.until)
    if filters.q:
        wanted.append(_holds(engine, table, filters.q))
    return wanted


def progress(engine: sa.Engine, table: sa.Table, cursor: str) -> tuple[int, int]:
    """Give about how many rows lie above a cursor, and about how many there are."""
    with db.reading(engine) as connection:
        lowest, highest = connection.execute(_ends(table)).one()
    if lowest is None:
        return 0, 0
    return max(0, highest - max(int(cursor), lowest) + 1), highest - lowest + 1


def place_of(cursor: str | None) -> int | None:
    """Give the place below which a page goes on; NotFoundError for a cursor that no listing gave."""
    if cursor is None:
        return None
    if not _CURSOR.fullmatch(cursor):
        raise NotFoundError(f"no listing gave the cursor {cursor!r}: take it from `next` of the page before")
    return int(cursor)


def check_pattern(pattern: str) -> None:
    """Raise PatternError unless this is a pattern of types that there can be."""
    if pattern == "*":
        return
    source, _, name = pattern.partition(":")
    if not name:
        raise PatternError(f"{pattern!r} is not a pattern: write box:FILE.UPLOADED, box:FILE.*, box:* or *")
    if source not in SOURCES:
        raise PatternError(
            f"{pattern!r} is of no source that there is: write {' or '.join(f'{one}:…' for one in SOURCES)}"
        )


def storable(text: str) -> str:
    """Give a text that every database takes as a parameter; one that was none cannot match anything."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _ends(table: sa.Table) -> sa.Select[Any]:
    # Two questions: asked together, SQLite would walk through the table for them.
    lowest, highest = (sa.select(end(table.c.seq)).scalar_subquery() for end in (sa.func.min, sa.func.max))
    return sa.select(lowest, highest)


def _span(connection: sa.Connection, table: sa.Table, filters: Filters, before: int | None) -> tuple[int, int]:
    """Give the places to look at: the first, and the one after the last. Ids tell where a time lies: they are ULIDs."""
    lowest, highest = connection.execute(_ends(table)).one()
    low, high = lowest or 0, (highest or 0) + 1
    if before is not None:
        high = min(high, before)
    if filters.since is not None:
        later = sa.select(table.c.seq).where(table.c.id >= lowest_id(filters.since)).order_by(table.c.id)
        low = max(low, _outermost(connection, sa.func.min, later) or high)
    if filters.until is not None:
        earlier = sa.select(table.c.seq).where(table.c.id < lowest_id(filters.until, milliseconds=1))
        high = min(high, (_outermost(connection, sa.func.max, earlier.order_by(table.c.id.desc())) or 0) + 1)
    return low, high


def _outermost(connection: sa.Connection, end: Any, places: sa.Select[tuple[int]]) -> int | None:
    """Give the lowest or the highest place of the rows next to a time, which the index of the ids knows."""
    found: int | None = connection.execute(sa.select(end(places.limit(OUT_OF_ORDER).subquery().c.seq))).scalar()
    return found


def _wanted(connection: sa.Connection, table: sa.Table, filters: Filters) -> tuple[sa.Select[Any], bool]:
    """Give what is looked for, and whether that takes steps: nothing else than time, or few enough jobs, does not."""
    wanted = sa.select(table).where(*conditions(connection.engine, table, filters))
    if filters.state in ("waiting", "running", "dead", DISCARDED):
        its_events = sa.select(jobs.c.event_id).where(_has_job_state(filters.state)).limit(FEW + 1)
        few = connection.execute(its_events).scalars().all()
        if len(few) <= FEW:
            return wanted.where(table.c.id.in_(set(few))), False
    indexed = filters.state in (None, "accepted") and not (filters.source or filters.type or filters.q)
    return wanted, not indexed


def _next_step(step: int, took_seconds: float) -> int:
    """Give how many places the next step takes, so that it lasts as long as STEP: four times this one's at the most."""
    wanted = int(step * STEP.total_seconds() / max(took_seconds, 0.0001))
    return max(1, min(wanted, 4 * step, MOST_ROWS_A_STEP))


def _of_type(pattern: str) -> sa.ColumnElement[bool]:
    """What `routing.matches` says, for the type and for the provider's own name of it, as SQL."""
    check_pattern(pattern)
    if pattern == "*":
        return sa.true()
    names = (events.c.type, events.c.source + ":" + events.c.name)
    wanted = storable(pattern)
    if not wanted.endswith((":*", ".*")):
        return sa.or_(*(name == wanted for name in names))
    # Not LIKE: SQLite's takes capitals and small letters for the same, PostgreSQL's and the handlers' does not.
    prefix = wanted[:-1]
    return sa.or_(*(sa.func.substr(name, 1, len(prefix)) == prefix for name in names))


def _in_state(state: str) -> sa.ColumnElement[bool]:
    if state == "accepted":
        return is_unrouted
    if state == DRIFT:
        return sa.cast(events.c.drift, sa.Text).not_in(["[]", "null"])
    if state in (*JOB_STATES, DISCARDED):
        return sa.exists().where(jobs.c.event_id == events.c.id, is_in_job_state(state))
    return events.c.state == storable(state)


def is_in_job_state(state: str) -> sa.ColumnElement[bool]:
    """Choose the jobs in a state, as people call it: of the dead ones, those that were discarded are apart."""
    apart = {"dead": is_dead, DISCARDED: is_discarded}
    return apart[state] if state in apart else jobs.c.state == storable(state)


def _has_job_state(state: str) -> sa.ColumnElement[bool]:
    """The same as an index is made for: what waits or runs has a time that it is due at, or its handler is paused."""
    if state in ("dead", DISCARDED):
        return is_in_job_state(state)
    timed = sa.and_(jobs.c.state == state, jobs.c.due_at.is_not(None))
    return sa.or_(timed, is_held) if state == "waiting" else timed


def _holds(engine: sa.Engine, table: sa.Table, text: str) -> sa.ColumnElement[bool]:
    # JSON may write a letter as itself or as \uXXXX.
    spellings = {text.encode("utf-8", "surrogateescape"), json.dumps(text)[1:-1].encode("ascii")}
    return sa.or_(
        *(
            _position(engine, spelling, column) > 0
            for spelling in spellings
            for column in (table.c.body, table.c.headers)
        )
    )


def _position(engine: sa.Engine, needle: bytes, column: sa.Column[bytes]) -> sa.ColumnElement[int]:
    if engine.dialect.name == "postgresql":
        return sa.func.position(sa.literal(needle, sa.LargeBinary).op("IN")(column))
    return sa.func.instr(column, needle)
