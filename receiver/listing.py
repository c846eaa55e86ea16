"""What is kept, as the JSON that the CLI and the API give: events, jobs, rejected and quarantined deliveries."""

import base64
import json
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

import sqlalchemy as sa

from receiver import db
from receiver.errors import NotFoundError, PatternError
from receiver.events import Headers
from receiver.sources import wire
from receiver.tables import attempts, deliveries, events, jobs, quarantined, rejected

LIMIT = 50
REPEATS_SHOWN = 100
_WHOLE_ID = 26
_PART_OF_ID = re.compile(r"[0-9A-Z]{6,26}", re.ASCII)
_CURSOR = re.compile(r"[0-9]{1,18}", re.ASCII)
_WORDS = {events: "event", rejected: "rejected delivery", quarantined: "quarantined delivery"}

Item = dict[str, Any]


class Page(TypedDict):
    """Items, newest first, and the cursor that continues after them; None where these are the last."""

    items: list[Item]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a listing is narrowed to; None leaves everything in.

    `type` is a pattern as handlers write it, `since` is in and `until` is out, `q` is text in the body or the headers,
    capitals and all. `type` and `state` are of events only.
    """

    source: str | None = None
    type: str | None = None
    state: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    q: str | None = None


NO_FILTERS = Filters()


def list_events(
    engine: sa.Engine, filters: Filters = NO_FILTERS, *, limit: int = LIMIT, cursor: str | None = None
) -> Page:
    """Give events, newest first, each with how many jobs of it are in which state."""
    wanted = sa.select(events).where(*_conditions(engine, events, filters))
    with db.reading(engine) as connection:
        rows, following = _read_page(connection, wanted, events.c.seq, limit, cursor)
        return {"items": _with_job_counts(connection, rows), "next": following}


def events_after(
    engine: sa.Engine, seq: int, filters: Filters = NO_FILTERS, *, known: Collection[int] = (), limit: int = LIMIT
) -> list[tuple[int, Item]]:
    """Give the events whose place (`seq`) is above this one and not among the known, oldest first, each with its place.

    Two transactions may commit in another order than that of their places (PostgreSQL). Who follows the events asks
    from a little below the highest place, and says what is known there.
    """
    wanted = sa.select(events).where(
        events.c.seq > seq, events.c.seq.not_in(known), *_conditions(engine, events, filters)
    )
    with db.reading(engine) as connection:
        rows = connection.execute(wanted.order_by(events.c.seq).limit(limit)).all()
        return [(row.seq, item) for row, item in zip(rows, _with_job_counts(connection, rows), strict=True)]


def newest_seq(engine: sa.Engine) -> int:
    """Give the highest place of an event; 0 before the first."""
    with db.reading(engine) as connection:
        return connection.execute(sa.select(sa.func.max(events.c.seq))).scalar_one() or 0


def find_event_id(engine: sa.Engine, given: str) -> str:
    """Give the id of an event, as `show_event` would find it."""
    with db.reading(engine) as connection:
        return str(_find(connection, events, given).id)


def show_event(engine: sa.Engine, given: str) -> Item:
    """Give one event with its bytes, its repeated deliveries (the first hundred) and every attempt of its jobs.

    `given` is the id, or a part of six characters or more that it begins or ends with, or `last` for the newest;
    NotFoundError if that is not exactly one event.
    """
    with db.reading(engine) as connection:
        row = _find(connection, events, given)
        again = sa.select(deliveries).where(deliveries.c.event_id == row.id).order_by(deliveries.c.seq)
        repeats = connection.execute(again.limit(REPEATS_SHOWN)).all()
        its_jobs = connection.execute(sa.select(jobs).where(jobs.c.event_id == row.id).order_by(jobs.c.id)).all()
        tried = _attempts_by_job(connection, [job.id for job in its_jobs])
        (item,) = _with_job_counts(connection, [row])
    return (
        item
        | _as_it_came(row)
        | {"repeats": [_repeat(one) for one in repeats], "jobs": [_job(job) | _tried(job, tried) for job in its_jobs]}
    )


def list_jobs(
    engine: sa.Engine,
    *,
    state: str | None = None,
    handler: str | None = None,
    event: str | None = None,
    limit: int = LIMIT,
    cursor: str | None = None,
) -> Page:
    """Give jobs, newest first, each with its event and its last attempt; `event` finds one as `show_event` does."""
    given = {jobs.c.state: state, jobs.c.handler: handler}
    wanted = _with_types().where(*(column == _storable(value) for column, value in given.items() if value is not None))
    with db.reading(engine) as connection:
        if event is not None:
            wanted = wanted.where(jobs.c.event_id == _find(connection, events, event).id)
        rows, following = _read_page(connection, wanted, jobs.c.id, limit, cursor)
        last = _last_attempts(connection, [row.id for row in rows])
    items = [_job(row) | _event_of(row) | {"last_attempt": last.get(row.id)} for row in rows]
    return {"items": items, "next": following}


def show_job(engine: sa.Engine, job_id: int) -> Item:
    """Give one job with every attempt."""
    with db.reading(engine) as connection:
        row = connection.execute(_with_types().where(jobs.c.id == job_id)).first()
        if row is None:
            raise NotFoundError(f"no job has the id {job_id}: signalbox jobs list shows them")
        return _job(row) | _event_of(row) | _tried(row, _attempts_by_job(connection, [job_id]))


def list_rejected(
    engine: sa.Engine, filters: Filters = NO_FILTERS, *, limit: int = LIMIT, cursor: str | None = None
) -> Page:
    """Give the deliveries that did not verify, newest first, each with its reason."""
    wanted = sa.select(rejected).where(*_conditions(engine, rejected, filters))
    with db.reading(engine) as connection:
        rows, following = _read_page(connection, wanted, rejected.c.seq, limit, cursor)
    return {"items": [_rejected(row) for row in rows], "next": following}


def show_rejected(engine: sa.Engine, given: str) -> Item:
    """Give one rejected delivery, found as `show_event` finds its event, with its bytes."""
    with db.reading(engine) as connection:
        row = _find(connection, rejected, given)
    return _rejected(row) | _as_it_came(row)


def list_quarantined(
    engine: sa.Engine, filters: Filters = NO_FILTERS, *, limit: int = LIMIT, cursor: str | None = None
) -> Page:
    """Give the deliveries that did verify but cannot be read, newest first, each with what is wrong."""
    wanted = sa.select(quarantined).where(*_conditions(engine, quarantined, filters))
    with db.reading(engine) as connection:
        rows, following = _read_page(connection, wanted, quarantined.c.seq, limit, cursor)
    return {"items": [_quarantined(row) for row in rows], "next": following}


def show_quarantined(engine: sa.Engine, given: str) -> Item:
    """Give one quarantined delivery, found as `show_event` finds its event, with its bytes."""
    with db.reading(engine) as connection:
        row = _find(connection, quarantined, given)
    return _quarantined(row) | _as_it_came(row)


def _conditions(engine: sa.Engine, table: sa.Table, filters: Filters) -> list[sa.ColumnElement[bool]]:
    conditions = []
    if filters.source is not None:
        conditions.append(table.c.source == _storable(filters.source))
    if filters.type is not None:
        conditions.append(_of_type(filters.type))
    if filters.state is not None:
        conditions.append(table.c.state == _storable(filters.state))
    if filters.since is not None:
        conditions.append(table.c.received_at >= filters.since)
    if filters.until is not None:
        conditions.append(table.c.received_at < filters.until)
    if filters.q:
        conditions.append(_holds(engine, table, filters.q))
    return conditions


def _of_type(pattern: str) -> sa.ColumnElement[bool]:
    """What `routing.matches` says, for the type and for the provider's own name of it, as SQL."""
    if pattern == "*":
        return sa.true()
    if ":" not in pattern:
        raise PatternError(f"{pattern!r} is no pattern: write box:FILE.UPLOADED, box:FILE.*, box:* or *")
    names = (events.c.type, events.c.source + ":" + events.c.name)
    wanted = _storable(pattern)
    if not wanted.endswith((":*", ".*")):
        return sa.or_(*(name == wanted for name in names))
    # Not LIKE: SQLite's takes capitals and small letters for the same, PostgreSQL's and the handlers' does not.
    prefix = wanted[:-1]
    return sa.or_(*(sa.func.substr(name, 1, len(prefix)) == prefix for name in names))


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


def _storable(text: str) -> str:
    """Give a text that every database takes as a parameter; one that was none cannot match anything."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _read_page(
    connection: sa.Connection, wanted: sa.Select[Any], key: sa.Column[int], limit: int, cursor: str | None
) -> tuple[Sequence[sa.Row[Any]], str | None]:
    if cursor is not None:
        if not _CURSOR.fullmatch(cursor):
            raise NotFoundError(f"no listing gave the cursor {cursor!r}: take it from `next` of the page before")
        wanted = wanted.where(key < int(cursor))
    rows = connection.execute(wanted.order_by(key.desc()).limit(limit + 1)).all()
    return rows[:limit], str(rows[limit - 1]._mapping[key]) if len(rows) > limit else None


def _find(connection: sa.Connection, table: sa.Table, given: str) -> sa.Row[Any]:
    word = _WORDS[table]
    newest_first = sa.select(table).order_by(table.c.seq.desc())
    if given == "last":
        row = connection.execute(newest_first.limit(1)).first()
        if row is None:
            raise NotFoundError(f"there is no {word} yet")
        return row
    part = given.strip().upper()
    if not _PART_OF_ID.fullmatch(part):
        raise NotFoundError(f"{given!r} is no id: give the whole of it, or six characters of its beginning or end")
    ids = table.c.id
    named = ids == part if len(part) == _WHOLE_ID else ids.startswith(part) | ids.endswith(part)
    rows = connection.execute(newest_first.where(named).limit(2)).all()
    if not rows:
        raise NotFoundError(f"no {word} has the id {part}: signalbox {_command(table)} list shows them")
    if len(rows) > 1:
        raise NotFoundError(f"the id of more than one {word} begins or ends with {part}: give more of it")
    return rows[0]


def _command(table: sa.Table) -> str:
    return "quarantine" if table is quarantined else table.name


def _with_types() -> sa.Select[Any]:
    return sa.select(jobs, events.c.type).join(events, events.c.id == jobs.c.event_id)


def _attempts_by_job(connection: sa.Connection, job_ids: Sequence[int]) -> Mapping[int, list[Item]]:
    made = sa.select(attempts).where(attempts.c.job_id.in_(job_ids)).order_by(attempts.c.seq)
    found = defaultdict(list)
    for row in connection.execute(made):
        found[row.job_id].append(_attempt(row))
    return found


def _last_attempts(connection: sa.Connection, job_ids: Sequence[int]) -> dict[int, Item]:
    newest = sa.select(sa.func.max(attempts.c.seq)).where(attempts.c.job_id.in_(job_ids)).group_by(attempts.c.job_id)
    rows = connection.execute(sa.select(attempts).where(attempts.c.seq.in_(newest)))
    return {row.job_id: _attempt(row) for row in rows}


def _with_job_counts(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> list[Item]:
    count = sa.func.count().label("count")
    counted = sa.select(jobs.c.event_id, jobs.c.state, count).group_by(jobs.c.event_id, jobs.c.state)
    counts: dict[str, dict[str, int]] = {row.id: {} for row in rows}
    for found in connection.execute(counted.where(jobs.c.event_id.in_(counts))):
        counts[found.event_id][found.state] = found._mapping[count]
    return [_event(row) | {"job_counts": counts[row.id]} for row in rows]


def _event(row: sa.Row[Any]) -> Item:
    return {
        "id": row.id,
        "source": row.source,
        "type": row.type,
        "name": row.name,
        "state": row.state,
        "received_at": iso(row.received_at),
        "occurred_at": iso(row.occurred_at),
        "deliveries": row.deliveries,
        "verified_by": row.verified_by,
        "drift": row.drift or [],
        "payload": wire.read_object(row.body),
    }


def _job(row: sa.Row[Any]) -> Item:
    return {
        "id": row.id,
        "handler": row.handler,
        "state": row.state,
        "reason": row.reason,
        "next_attempt_at": iso(row.due_at) if row.state == "waiting" else None,
    }


def _event_of(row: sa.Row[Any]) -> Item:
    return {"event": row.event_id, "type": row.type}


def _tried(row: sa.Row[Any], tried: Mapping[int, list[Item]]) -> Item:
    return {"attempts": tried.get(row.id, [])}


def _attempt(row: sa.Row[Any]) -> Item:
    return {
        "started_at": iso(row.started_at),
        "finished_at": iso(row.finished_at),
        "outcome": row.outcome,
        "error": row.error,
    }


def _repeat(row: sa.Row[Any]) -> Item:
    return {
        "received_at": iso(row.received_at),
        "verified_by": row.verified_by,
        "headers": _redacted(row),
        "body_differs": row.body is not None,
    }


def _rejected(row: sa.Row[Any]) -> Item:
    return {
        "id": row.id,
        "source": row.source,
        "received_at": iso(row.received_at),
        "reason": row.reason,
        "detail": row.detail,
        "body_bytes": len(row.body),
    }


def _quarantined(row: sa.Row[Any]) -> Item:
    return {
        "id": row.id,
        "source": row.source,
        "received_at": iso(row.received_at),
        "deliveries": row.deliveries,
        "verified_by": row.verified_by,
        "errors": row.errors,
        "body_bytes": len(row.body),
    }


def _as_it_came(row: sa.Row[Any]) -> Item:
    return {"headers": _redacted(row), "body_base64": base64.b64encode(row.body).decode("ascii")}


def _redacted(row: sa.Row[Any]) -> list[list[str]]:
    return [list(pair) for pair in Headers.from_bytes(row.headers).redacted()]


def iso(at: datetime | None) -> str | None:
    """Give a time as ISO 8601 writes it, in UTC: with a Z, and fractions of a second where there are any."""
    return at.isoformat().replace("+00:00", "Z") if at else None
