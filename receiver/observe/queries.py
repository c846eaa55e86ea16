"""What is kept, as records: events, jobs, rejected and quarantined deliveries, for the CLI, the API and the pages."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from receiver.errors import NotFoundError
from receiver.events import Headers
from receiver.jobs import loaded
from receiver.observe.records import (
    AttemptRecord,
    DeliveryRecord,
    EventDetail,
    EventRecord,
    Fate,
    JobRecord,
    Lines,
    Page,
    QuarantinedRecord,
    Record,
    RejectedRecord,
    Standing,
)
from receiver.sources import wire
from receiver.storage import db, search
from receiver.storage.search import NO_FILTERS
from receiver.storage.search import Filters as Filters  # noqa: PLC0414 - who lists imports both from here
from receiver.storage.tables import attempts, deliveries, events, is_discarded, jobs, quarantined, rejected

LIMIT = 50
REPEATS_SHOWN = 100
_WHOLE_ID = 26
_PART_OF_ID = re.compile(r"[0-9A-Z]{6,26}", re.ASCII)
_WORDS = {events: "event", rejected: "rejected delivery", quarantined: "quarantined delivery"}


def list_events(
    engine: sa.Engine, filters: Filters = NO_FILTERS, *, limit: int = LIMIT, cursor: str | None = None
) -> Page[EventRecord]:
    """Give events, newest first, each with how many jobs of it are in which state."""
    found = search.find(engine, events, filters, limit=limit, cursor=cursor)
    return _page(found, [item for _, item in placed(engine, found.rows)])


def placed(engine: sa.Engine, rows: Sequence[sa.Row[Any]]) -> list[tuple[int, EventRecord]]:
    """Give rows of events as their listing does, each with its place (`seq`)."""
    with db.reading(engine) as connection:
        return [(row.seq, item) for row, item in zip(rows, _with_job_counts(connection, rows), strict=True)]


def events_after(
    engine: sa.Engine, seq: int, filters: Filters = NO_FILTERS, *, known: Collection[int] = (), limit: int = LIMIT
) -> list[tuple[int, EventRecord]]:
    """Give the events whose place (`seq`) is above this one and not among the known, oldest first, each with its place.

    Two transactions may commit in another order than that of their places (PostgreSQL). Who follows the events asks
    from a little below the highest place, and says what is known there.
    """
    wanted = sa.select(events).where(
        events.c.seq > seq, events.c.seq.not_in(known), *search.conditions(engine, events, filters)
    )
    with db.reading(engine) as connection:
        rows = connection.execute(wanted.order_by(events.c.seq).limit(limit)).all()
    return placed(engine, rows)


def places_after(engine: sa.Engine, seq: int, *, limit: int) -> Sequence[int]:
    """Give the places of the events above this one, whatever they are, in order."""
    above = sa.select(events.c.seq).where(events.c.seq > seq).order_by(events.c.seq).limit(limit)
    with db.reading(engine) as connection:
        return connection.execute(above).scalars().all()


def count_between(engine: sa.Engine, seq: int, last: int, filters: Filters, *, limit: int) -> int:
    """Count the events above a place, up to the last one; `limit` at the most."""
    between = (events.c.seq > seq, events.c.seq <= last, *search.conditions(engine, events, filters))
    above = sa.select(events.c.seq).where(*between).limit(limit)
    with db.reading(engine) as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(above.subquery())).scalar_one()


def standing(engine: sa.Engine, places: Collection[int]) -> dict[str, Standing]:
    """Give by id what may change about events: state, deliveries, drift, and how many jobs are in which state."""
    wanted = sa.select(events.c.id, events.c.state, events.c.deliveries, events.c.drift)
    with db.reading(engine) as connection:
        rows = connection.execute(wanted.where(events.c.seq.in_(places))).all()
        counts = _job_counts(connection, [row.id for row in rows])
    return {
        row.id: Standing(state=row.state, deliveries=row.deliveries, drift=row.drift or [], job_counts=counts[row.id])
        for row in rows
    }


def newest_seq(engine: sa.Engine) -> int:
    """Give the highest place of an event; 0 before the first."""
    with db.reading(engine) as connection:
        return connection.execute(sa.select(sa.func.max(events.c.seq))).scalar_one() or 0


def find_event_id(engine: sa.Engine, given: str) -> str:
    """Give the id of an event, as `show_event` would find it."""
    with db.reading(engine) as connection:
        return str(_find(connection, events, given).id)


def show_event(engine: sa.Engine, given: str, *, in_clear: bool = False) -> EventDetail:
    """Give one event with its bytes, its repeated deliveries (the first hundred) and every attempt of its jobs.

    Header lines are as people see them, or, `in_clear`, as they came.
    `given` is the id, or a part of six characters or more that it begins or ends with, or `last` for the newest;
    NotFoundError if that is not exactly one event.
    """
    with db.reading(engine) as connection:
        row = _find(connection, events, given)
        again = sa.select(deliveries).where(deliveries.c.event_id == row.id).order_by(deliveries.c.seq)
        repeats = connection.execute(again.limit(REPEATS_SHOWN)).all()
        its_jobs = _jobs_of(connection, row)
        (line,) = _with_job_counts(connection, [row])
    return EventDetail(
        **{each.name: getattr(line, each.name) for each in fields(line)},
        headers=_header_lines(row, in_clear=in_clear),
        body=row.body,
        repeats=[_repeat(one, in_clear=in_clear) for one in repeats],
        jobs=its_jobs,
    )


def show_fate(engine: sa.Engine, event_id: str) -> Fate:
    """Give what became of an event so far, without the event: its state, and every attempt of its jobs."""
    wanted = sa.select(events.c.id, events.c.type, events.c.state, events.c.received_at).where(events.c.id == event_id)
    with db.reading(engine) as connection:
        row = connection.execute(wanted).first()
        if row is None:
            raise NotFoundError(f"no event has the id {event_id}")
        its_jobs = _jobs_of(connection, row)
    return Fate(id=row.id, state=row.state, received_at=row.received_at, jobs=its_jobs)


def _jobs_of(connection: sa.Connection, event: Any) -> list[JobRecord]:
    rows = connection.execute(sa.select(jobs).where(jobs.c.event_id == event.id).order_by(jobs.c.id)).all()
    tried, why = _attempts_by_job(connection, [row.id for row in rows]), _why_held(connection, rows)
    return [_job(row, why, type=event.type, tried=tried.get(row.id, ())) for row in rows]


def list_jobs(
    engine: sa.Engine,
    *,
    state: str | None = None,
    handler: str | None = None,
    event: str | None = None,
    limit: int = LIMIT,
    cursor: str | None = None,
) -> Page[JobRecord]:
    """Give jobs, newest first, each with its event and its last attempt; `event` finds one as `show_event` does."""
    wanted = _with_types()
    if state is not None:
        wanted = wanted.where(search.is_in_job_state(state))
    if handler is not None:
        wanted = wanted.where(jobs.c.handler == search.storable(handler))
    with db.reading(engine) as connection:
        if event is not None:
            wanted = wanted.where(jobs.c.event_id == _find(connection, events, event).id)
        rows, following = search.read_page(connection, wanted, jobs.c.id, limit, cursor)
        return Page(items=_with_last_attempts(connection, rows), next=following)


def pick_jobs(engine: sa.Engine, job_ids: Sequence[int]) -> list[JobRecord]:
    """Give the jobs of these ids, newest first, as `list_jobs` does."""
    wanted = _with_types().where(jobs.c.id.in_(job_ids)).order_by(jobs.c.id.desc())
    with db.reading(engine) as connection:
        return _with_last_attempts(connection, connection.execute(wanted).all())


def _with_last_attempts(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> list[JobRecord]:
    last, why = _last_attempts(connection, [row.id for row in rows]), _why_held(connection, rows)
    return [replace(_job(row, why, type=row.type), last_attempt=last.get(row.id)) for row in rows]


def show_job(engine: sa.Engine, job_id: int) -> JobRecord:
    """Give one job with every attempt."""
    with db.reading(engine) as connection:
        row = connection.execute(_with_types().where(jobs.c.id == job_id)).first()
        if row is None:
            raise NotFoundError(f"no job has the id {job_id}: signalbox jobs list shows them")
        why = _why_held(connection, [row])
        return _job(row, why, type=row.type, tried=_attempts_by_job(connection, [job_id]).get(job_id, ()))


def list_rejected(
    engine: sa.Engine,
    filters: Filters = NO_FILTERS,
    *,
    reason: str | None = None,
    limit: int = LIMIT,
    cursor: str | None = None,
) -> Page[RejectedRecord]:
    """Give what was refused, newest first, each with its reason; `reason` is the only one."""
    also = () if reason is None else (rejected.c.reason == search.storable(reason),)
    found = search.find(engine, rejected, filters, limit=limit, cursor=cursor, also=also)
    return _page(found, [_rejected(row) for row in found.rows])


def show_rejected(engine: sa.Engine, given: str, *, in_clear: bool = False) -> RejectedRecord:
    """Give one rejected delivery, found as `show_event` finds its event, with its bytes."""
    with db.reading(engine) as connection:
        row = _find(connection, rejected, given)
    return _rejected(row, in_clear=in_clear)


def list_quarantined(
    engine: sa.Engine, filters: Filters = NO_FILTERS, *, limit: int = LIMIT, cursor: str | None = None
) -> Page[QuarantinedRecord]:
    """Give the deliveries that did verify but cannot be read, newest first, each with what is wrong."""
    found = search.find(engine, quarantined, filters, limit=limit, cursor=cursor)
    return _page(found, [_quarantined(row) for row in found.rows])


def show_quarantined(engine: sa.Engine, given: str, *, in_clear: bool = False) -> QuarantinedRecord:
    """Give one quarantined delivery, found as `show_event` finds its event, with its bytes."""
    with db.reading(engine) as connection:
        row = _find(connection, quarantined, given)
    return _quarantined(row, in_clear=in_clear)


def _page(found: search.Found, items: Sequence[Record]) -> Page[Record]:
    return Page(items=items, next=found.next, searched_to=found.searched_to)


def _find(connection: sa.Connection, table: sa.Table, given: str) -> sa.Row[Any]:
    word = _WORDS[table]
    if given == "last":
        row = search.newest(connection, table)
        if row is None:
            raise NotFoundError(f"there is no {word} yet")
        return row
    part = given.strip().upper()
    if not _PART_OF_ID.fullmatch(part):
        raise NotFoundError(f"{given!r} is no id: give the whole of it, or six characters of its beginning or end")
    ids = table.c.id
    named = ids == part if len(part) == _WHOLE_ID else ids.startswith(part) | ids.endswith(part)
    rows = connection.execute(sa.select(table).where(named).limit(2)).all()
    if not rows:
        raise NotFoundError(f"no {word} has the id {part}: signalbox {_command(table)} list shows them")
    if len(rows) > 1:
        raise NotFoundError(f"the id of more than one {word} begins or ends with {part}: give more of it")
    return rows[0]


def _command(table: sa.Table) -> str:
    return "quarantine" if table is quarantined else table.name


def _with_types() -> sa.Select[Any]:
    return sa.select(jobs, events.c.type).join(events, events.c.id == jobs.c.event_id)


def _attempts_by_job(connection: sa.Connection, job_ids: Sequence[int]) -> Mapping[int, list[AttemptRecord]]:
    made = sa.select(attempts).where(attempts.c.job_id.in_(job_ids)).order_by(attempts.c.seq)
    found = defaultdict(list)
    for row in connection.execute(made):
        found[row.job_id].append(_attempt(row))
    return found


def _last_attempts(connection: sa.Connection, job_ids: Sequence[int]) -> dict[int, AttemptRecord]:
    newest = sa.select(sa.func.max(attempts.c.seq)).where(attempts.c.job_id.in_(job_ids)).group_by(attempts.c.job_id)
    rows = connection.execute(sa.select(attempts).where(attempts.c.seq.in_(newest)))
    return {row.job_id: _attempt(row) for row in rows}


def _with_job_counts(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> list[EventRecord]:
    counts = _job_counts(connection, [row.id for row in rows])
    return [_event(row, counts[row.id]) for row in rows]


def _job_counts(connection: sa.Connection, ids: Iterable[str]) -> dict[str, dict[str, int]]:
    count = sa.func.count().label("count")
    is_away = is_discarded.label("is_away")
    counted = sa.select(jobs.c.event_id, jobs.c.state, is_away, count).group_by(jobs.c.event_id, jobs.c.state, is_away)
    counts: dict[str, dict[str, int]] = {event_id: {} for event_id in ids}
    for found in connection.execute(counted.where(jobs.c.event_id.in_(counts))):
        counts[found.event_id][search.DISCARDED if found.is_away else found.state] = found._mapping[count]
    return counts


def _event(row: sa.Row[Any], job_counts: Mapping[str, int]) -> EventRecord:
    return EventRecord(
        id=row.id,
        source=row.source,
        type=row.type,
        name=row.name,
        state=row.state,
        received_at=row.received_at,
        occurred_at=row.occurred_at,
        deliveries=row.deliveries,
        verified_by=row.verified_by,
        drift=row.drift or [],
        payload=wire.read_object(row.body),
        job_counts=job_counts,
    )


def _why_held(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> dict[str, str | None]:
    """Say for what those among these jobs wait that have no time to run at, by handler."""
    names = {row.handler for row in rows if row.state == "waiting" and row.due_at is None}
    if not names:
        return {}
    known = loaded.look(connection, datetime.now(UTC))
    return {name: loaded.why_held(known, name) for name in names}


def _job(
    row: sa.Row[Any], why_held: Mapping[str, str | None], *, type: str, tried: Sequence[AttemptRecord] = ()
) -> JobRecord:
    is_held = row.state == "waiting" and row.due_at is None
    return JobRecord(
        id=row.id,
        event=row.event_id,
        type=type,
        handler=row.handler,
        state=row.state,
        reason=row.reason,
        next_attempt_at=row.due_at if row.state == "waiting" else None,
        waits_for=why_held.get(row.handler) if is_held else None,
        running_since=row.started_at if row.state == "running" else None,
        discarded_at=row.discarded_at,
        discarded_reason=row.discarded_reason,
        last_attempt=tried[-1] if tried else None,
        attempts=tried,
    )


def _attempt(row: sa.Row[Any]) -> AttemptRecord:
    return AttemptRecord(started_at=row.started_at, finished_at=row.finished_at, outcome=row.outcome, error=row.error)


def _repeat(row: sa.Row[Any], *, in_clear: bool) -> DeliveryRecord:
    return DeliveryRecord(
        received_at=row.received_at,
        verified_by=row.verified_by,
        headers=_header_lines(row, in_clear=in_clear),
        body_differs=row.body is not None,
    )


def _rejected(row: sa.Row[Any], *, in_clear: bool = False) -> RejectedRecord:
    return RejectedRecord(
        id=row.id,
        source=row.source,
        received_at=row.received_at,
        reason=row.reason,
        detail=row.detail,
        status=row.status,
        method=row.method,
        path=row.path,
        is_cut=row.is_cut,
        announced_bytes=row.announced,
        headers=_header_lines(row, in_clear=in_clear),
        body=row.body,
    )


def _quarantined(row: sa.Row[Any], *, in_clear: bool = False) -> QuarantinedRecord:
    return QuarantinedRecord(
        id=row.id,
        source=row.source,
        received_at=row.received_at,
        deliveries=row.deliveries,
        verified_by=row.verified_by,
        errors=row.errors,
        headers=_header_lines(row, in_clear=in_clear),
        body=row.body,
    )


def _header_lines(row: sa.Row[Any], *, in_clear: bool) -> Lines:
    headers = Headers.from_bytes(row.headers)
    return [(name, value) for name, value in (headers.pairs if in_clear else headers.redacted())]
