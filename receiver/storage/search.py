"""The filters of a listing, and how a million rows are searched: backwards, in steps of a few milliseconds.

What no index can find is searched in ranges of `seq`. Between two steps a gevent process serves other requests, and
after PATIENCE the listing reports how far it got.
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
DISCARDED = "discarded"  # dead letters that are off all lists and alarms
DRIFT = "drift"
STATES = (*EVENT_STATES, *JOB_STATES, DISCARDED, DRIFT)

PATIENCE = timedelta(seconds=1.8)
STEP = timedelta(milliseconds=8)
MOST_ROWS_A_STEP = 50_000
# Searching reads whole bodies, of up to a megabyte each; everything else reads the beginning of a row.
FIRST_STEP_OF_SEARCH = 32
FIRST_STEP = 2_000
# Rows are written in the order in which deliveries are received, except by so many: those that wait for their commit,
# rejected ones that are reinstated later, those received while a clock is set back.
OUT_OF_ORDER = 10_000
FEW = 500
MOST_AT_ONCE = 2

_CURSOR = re.compile(r"[0-9]{1,18}", re.ASCII)
_at_once = threading.Semaphore(MOST_AT_ONCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """The filters of a listing; None means any.

    `type` is a pattern as handlers write it. `since` is included and `until` excluded. `q` is text in the body or the
    headers, case-sensitive. `state` is the event's own (`accepted`, `routed`), that of any of its jobs (`waiting`,
    `running`, `done`, `dead`), or `drift`. `type` and `state` apply to events only.
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
    """Rows, the newest first, the cursor of the next page, and how far a search got that stopped early."""

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
    """Return a page of the table's rows with a `seq` above `floor`, after PATIENCE at the latest.

    `also` has further conditions. NotFoundError for a cursor that no listing returned, PatternError for an invalid
    type.
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
    """Return the row whose delivery was received last; a reinstated one has a higher `seq`, and is older."""
    by_id = sa.select(table.c.id).order_by(table.c.id.desc()).limit(1)
    last_id = connection.execute(by_id).scalar_one_or_none()
    if last_id is None:
        return None
    # Ids sort by the millisecond with which they begin, and by chance within it.
    of_then = sa.select(table).where(table.c.id >= last_id[:10])
    return connection.execute(of_then.order_by(table.c.received_at.desc(), table.c.seq.desc()).limit(1)).one()


@dataclass(frozen=True, slots=True)
class _Search:
    """One search for a page of a table."""

    engine: sa.Engine
    table: sa.Table
    wanted: sa.Select[Any]
    limit: int

    def walk(self, low: int, high: int, deadline: float, *, step: int) -> Found:
        """Search downwards until the page is full and one more row is found, or the time is up; at least one step."""
        rows: list[sa.Row[Any]] = []
        while low < high and len(rows) <= self.limit:
            began = time.monotonic()
            floor = max(low, high - step)
            rows += self.rows(floor, high, had=len(rows))
            took = time.monotonic() - began
            high, step = floor, _next_step(step, took)
            # Sleep as long as the step took, for others in this process: deliveries come first.
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
        """Return what was found above this place, and how far the search got."""
        seq = self.table.c.seq
        at = sa.select(self.table.c.received_at).where(seq >= high).order_by(seq).limit(1)
        with db.reading(self.engine) as connection:
            return Found(rows, str(high), connection.execute(at).scalar() or datetime.now(UTC))


def walk_ids(engine: sa.Engine, table: sa.Table, filters: Filters, *also: sa.ColumnElement[bool]) -> Iterator[str]:
    """Yield the ids of all matching rows in the order in which they were written; others get their turn meanwhile."""
    wanted = sa.select(table.c.id, table.c.seq).where(*conditions(engine, table, filters), *also)
    for rows in db.walk(engine, wanted, (table.c.seq,)):
        yield from (row.id for row in rows)


def read_page(
    connection: sa.Connection, wanted: sa.Select[Any], key: sa.Column[int], limit: int, cursor: str | None
) -> tuple[Sequence[sa.Row[Any]], str | None]:
    """Return a page of a query that an index can answer, and the cursor of the next page."""
    place = place_of(cursor)
    if place is not None:
        wanted = wanted.where(key < place)
    rows = connection.execute(wanted.order_by(key.desc()).limit(limit + 1)).all()
    return rows[:limit], str(rows[limit - 1]._mapping[key]) if len(rows) > limit else None


def conditions(engine: sa.Engine, table: sa.Table, filters: Filters) -> list[sa.ColumnElement[bool]]:
    """Return the filters as SQL conditions; PatternError for an invalid type."""
    wanted = []
    if filters.source is not None:
        # Concatenated with nothing, so that SQLite does not use the index of (source, identity) and then sort all rows
        # of a source. SQLite's own way is a unary plus (sqlite.org/optoverview.html), which SQLAlchemy has not.
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
    """Return about how many rows lie above a cursor, and about how many there are."""
    with db.reading(engine) as connection:
        lowest, highest = connection.execute(_ends(table)).one()
    if lowest is None:
        return 0, 0
    return max(0, highest - max(int(cursor), lowest) + 1), highest - lowest + 1


def place_of(cursor: str | None) -> int | None:
    """Return the place below which the next page starts; NotFoundError for a cursor that no listing returned."""
    if cursor is None:
        return None
    if not _CURSOR.fullmatch(cursor):
        raise NotFoundError(f"no listing returned the cursor {cursor!r}: take it from `next` of the previous page")
    return int(cursor)


def check_pattern(pattern: str) -> None:
    """Raise PatternError unless this is a pattern that types of a known source can match."""
    if pattern == "*":
        return
    source, _, name = pattern.partition(":")
    if not name:
        raise PatternError(f"{pattern!r} is not a pattern: write box:FILE.UPLOADED, box:FILE.*, box:* or *")
    if source not in SOURCES:
        raise PatternError(f"{pattern!r} names no known source: write {' or '.join(f'{one}:…' for one in SOURCES)}")


def storable(text: str) -> str:
    """Return a text that every database accepts as a parameter; one that had to be changed matches nothing."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _ends(table: sa.Table) -> sa.Select[Any]:
    # Two subqueries: SQLite looks up min() or max() in an index only if a query asks for one of them alone, and would
    # scan the table for both (sqlite.org/optoverview.html, "The MIN/MAX Optimization").
    lowest, highest = (sa.select(end(table.c.seq)).scalar_subquery() for end in (sa.func.min, sa.func.max))
    return sa.select(lowest, highest)


def _span(connection: sa.Connection, table: sa.Table, filters: Filters, before: int | None) -> tuple[int, int]:
    """Return the first place to search, and the one after the last; ids show the time because they are ULIDs."""
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
    """Return the lowest or highest place of the rows next to a time, by the index of the ids."""
    found: int | None = connection.execute(sa.select(end(places.limit(OUT_OF_ORDER).subquery().c.seq))).scalar()
    return found


def _wanted(connection: sa.Connection, table: sa.Table, filters: Filters) -> tuple[sa.Select[Any], bool]:
    """Return the query, and whether it needs steps: filters by time alone, or for few enough jobs, do not."""
    wanted = sa.select(table).where(*conditions(connection.engine, table, filters))
    if filters.state in ("waiting", "running", "dead", DISCARDED):
        its_events = sa.select(jobs.c.event_id).where(_has_job_state(filters.state)).limit(FEW + 1)
        few = connection.execute(its_events).scalars().all()
        if len(few) <= FEW:
            return wanted.where(table.c.id.in_(set(few))), False
    indexed = filters.state in (None, "accepted") and not (filters.source or filters.type or filters.q)
    return wanted, not indexed


def _next_step(step: int, took_seconds: float) -> int:
    """Return how many places the next step covers, so that it takes as long as STEP; at most four times as many."""
    wanted = int(step * STEP.total_seconds() / max(took_seconds, 0.0001))
    return max(1, min(wanted, 4 * step, MOST_ROWS_A_STEP))


def _of_type(pattern: str) -> sa.ColumnElement[bool]:
    """Return what `routing.matches` tests, for the type and for the provider's own name, as SQL."""
    check_pattern(pattern)
    if pattern == "*":
        return sa.true()
    names = (events.c.type, events.c.source + ":" + events.c.name)
    wanted = storable(pattern)
    if not wanted.endswith((":*", ".*")):
        return sa.or_(*(name == wanted for name in names))
    # Not LIKE: SQLite's ignores case for ASCII letters (sqlite.org/lang_expr.html#like), PostgreSQL's does not, and
    # neither do handlers.
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
    """Return the condition for jobs in a state as users name it: `dead` leaves out those that were discarded."""
    apart = {"dead": is_dead, DISCARDED: is_discarded}
    return apart[state] if state in apart else jobs.c.state == storable(state)


def _has_job_state(state: str) -> sa.ColumnElement[bool]:
    """Return the same as an index covers it: a waiting or running job has a due time, or its handler is paused."""
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
