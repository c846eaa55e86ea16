"""Fills the tables with an object in every state that there is, made of every value that a column of it can have."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from receiver.events import Headers, Reason, Unread
from receiver.jobs import store as life
from receiver.storage import tables
from receiver.storage.search import JOB_STATES

PAUSED, BROKEN, GONE = "every.paused", "every.broken", "every.gone"
HANDLERS = ("handlers.log.log_event", PAUSED, BROKEN, GONE)
LATELY, AHEAD = timedelta(minutes=-8), timedelta(minutes=118, seconds=30)
MOMENTS = (None, LATELY, AHEAD)
OUTCOMES = ("done", "failed", "retry", "discarded", "lost")
ERRORS = (None, "", "no such folder", "Traceback (most recent call last):\n  File \x1b[31m\nOSError: away")
OBJECTS = (b'{"trigger": "FILE.UPLOADED"}', b'{"odd": ["\\u0000"]}')
BODIES = (b"", b"[1]", b'{"odd": "\xff\x00"}', b"{" * 3000)
HEADERS = Headers(
    [("Content-Type", "application/json"), ("Authorization", "Bearer of-the-tests"), ("X-\x9b", "\x9b31m")]
)


@dataclass
class Stock:
    """What is there: ids of each kind of object, and the jobs by how they stand."""

    events: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)
    bins: list[str] = field(default_factory=list)
    captures: list[tuple[str, str]] = field(default_factory=list)
    jobs: dict[int, dict[str, Any]] = field(default_factory=dict)


def combined(**values: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Yield every combination of the values of each name."""
    for chosen in itertools.product(*values.values()):
        yield dict(zip(values, chosen, strict=True))


def fill(engine: sa.Engine) -> Stock:
    now = datetime.now(UTC)
    stock = Stock()
    with engine.begin() as connection:
        connection.execute(sa.insert(tables.workers), list(_workers(now)))
        connection.execute(sa.insert(tables.handlers), list(_handlers(now)))
        _fill_events(connection, stock, now)
        _fill_jobs(connection, stock, now)
        _fill_kept_apart(connection, stock, now)
        _fill_bins(connection, stock, now)
    life.pause_handler(engine, PAUSED, now)
    return stock


def _id(letter: str, number: int) -> str:
    return f"01{letter}{number:023d}"


def _at(now: datetime, moment: timedelta | None) -> datetime | None:
    return None if moment is None else now + moment


def _workers(now: datetime) -> Iterator[dict[str, Any]]:
    loaded = {"handlers": {HANDLERS[0]: ["*"], PAUSED: ["*"]}, "broken": [BROKEN], "packages": ["handlers"]}
    for number, at in enumerate((LATELY, timedelta(), AHEAD)):
        seen = {"started_at": now + at, "seen_at": now + at, "loaded_at": now + at}
        yield {"id": _id("W", number), "host": "host", "pid": number, "loaded": loaded, **seen}


def _handlers(now: datetime) -> Iterator[dict[str, Any]]:
    for name, trouble, packages, had in (
        (HANDLERS[0], None, ["handlers"], LATELY),
        (PAUSED, None, [], None),
        (BROKEN, "Traceback:\nImportError: gone", ["every"], AHEAD),
        ("every.other", "", None, None),
    ):
        row = {"name": name, "module": "every", "patterns": ["*"], "attempts": 3, "summary": "", "trouble": trouble}
        yield {**row, "loaded_at": now, "packages": packages, "had_at": _at(now, had)}


def _event(number: int, now: datetime, **changed: Any) -> dict[str, Any]:
    event = {"id": _id("E", number), "source": "box", "type": "box:FILE.UPLOADED", "name": "FILE.UPLOADED"}
    kept = {"identity": str(number), "state": "routed", "received_at": now, "occurred_at": None, "deliveries": 1}
    return {**event, **kept, "verified_by": "primary", "drift": None, "headers": b"", "body": OBJECTS[0]} | changed


def _fill_events(connection: sa.Connection, stock: Stock, now: datetime) -> None:
    drift = [{"path": "source.size", "problem": "Not a number."}]
    states = combined(
        state=("accepted", "routed"),
        received=(LATELY, AHEAD),
        occurred=MOMENTS,
        deliveries=(1, 3),
        drift=(None, drift),
    )
    rows = []
    for number, one in enumerate(states):
        one |= {"received_at": now + one.pop("received"), "occurred_at": _at(now, one.pop("occurred"))}
        source, verified_by = ("box", "primary") if number % 2 else ("filestack", "unverified")
        other_name = {"source": source, "type": f"{source}:x", "verified_by": verified_by, "body": OBJECTS[number % 2]}
        rows.append(_event(number, now, **one, headers=HEADERS.to_bytes()) | other_name)
    connection.execute(sa.insert(tables.events), rows)
    again = [
        {
            "event_id": row["id"],
            "received_at": row["received_at"] + later,
            "verified_by": "x",
            "headers": b"",
            "body": body,
        }
        for row in rows
        if row["deliveries"] > 1
        for later, body in ((LATELY, None), (AHEAD, b""))
    ]
    connection.execute(sa.insert(tables.deliveries), again)
    stock.events += [row["id"] for row in rows]


def _fill_jobs(connection: sa.Connection, stock: Stock, now: datetime) -> None:
    """Give every job an event of its own kind: state, times and handler, each with attempts of every outcome."""
    times = ((None, None), (LATELY, LATELY), (AHEAD, AHEAD), (None, AHEAD), (LATELY, None))
    for number, one in enumerate(combined(state=JOB_STATES, times=times), 1000):
        due, started = one.pop("times")
        one |= {"due": due, "started": started, "reason": "by hand" if started is None else None}
        connection.execute(sa.insert(tables.events), _event(number, now))
        stock.events.append(_id("E", number))
        moments = {"due_at": _at(now, due), "started_at": _at(now, started)}
        for name in HANDLERS:
            row = {"event_id": _id("E", number), "handler": name, "state": one["state"], "reason": one["reason"]}
            inserted = sa.insert(tables.jobs).returning(tables.jobs.c.id)
            job_id = connection.execute(inserted, row | moments).scalar_one()
            if one["state"] == "dead" and due is None:
                away = {"discarded_at": now + (started or LATELY), "discarded_reason": "\x1b by hand"}
                connection.execute(sa.update(tables.jobs).where(tables.jobs.c.id == job_id).values(**away))
            stock.jobs[job_id] = one | {"handler": name, "event": _id("E", number)}
    for (job_id, one), outcome, error in zip(stock.jobs.items(), itertools.cycle(OUTCOMES), itertools.cycle(ERRORS)):
        if one["reason"] is None:
            began = _at(now, one["started"]) or now
            ended = {"finished_at": now, "started_at": began, "outcome": outcome, "error": error}
            connection.execute(sa.insert(tables.attempts), {"job_id": job_id, "number": 1, **ended})


def _fill_kept_apart(connection: sa.Connection, stock: Stock, now: datetime) -> None:
    refused = combined(
        reason=[*map(str, Reason), *map(str, Unread), "of_a_later_release"],
        source=("box", "filestack", "elsewhere"),
        received=(LATELY, AHEAD),
    )
    for number, one in enumerate(refused):
        body = BODIES[number % len(BODIES)]
        cut = {
            "is_cut": bool(number % 2),
            "announced": None if number % 3 else 10**12,
            "path": "/\x1b" if number % 2 else None,
        }
        row = {"id": _id("R", number), "received_at": now + one.pop("received"), "headers": HEADERS.to_bytes(), **one}
        connection.execute(sa.insert(tables.rejected), {**row, **cut, "detail": "", "size": len(body), "body": body})
        stock.rejected.append(row["id"])
    errors: tuple[dict[str, list[Any]], ...] = ({}, {"body": ["Not UTF-8."]}, {"a\x1b": [], "b": ["1", 2]})
    for number, one in enumerate(combined(errors=errors, received=(LATELY, AHEAD), source=("box", "filestack"))):
        row = {"id": _id("Q", number), "received_at": now + one.pop("received"), "digest": str(number), **one}
        its = {"headers": HEADERS.to_bytes(), "body": BODIES[number % len(BODIES)], "verified_by": "primary"}
        connection.execute(sa.insert(tables.quarantined), row | its)
        stock.quarantined.append(row["id"])


def _fill_bins(connection: sa.Connection, stock: Stock, now: datetime) -> None:
    states = combined(captured=MOMENTS, keep_seconds=(None, 10**8), secret=(None, "0" * 64), fail_every=(0, 3))
    for number, one in enumerate(states):
        name, at = f"bin-{number}", _at(now, one["captured"])
        row = {
            "name": name,
            "created_at": now,
            "status": 204,
            "headers": b"",
            "body": b"",
            "delay_ms": 1500 * (number % 2),
        }
        kept = {
            "fail_every": one["fail_every"],
            "fail_status": 500,
            "keep_count": 5,
            "keep_seconds": one["keep_seconds"],
        }
        captured = {"secret_digest": one["secret"], "captured": int(at is not None), "captured_at": at}
        connection.execute(sa.insert(tables.bins), row | kept | captured)
        stock.bins.append(name)
        if at is not None:
            body = BODIES[number % len(BODIES)]
            row = {
                "id": _id("C", number),
                "bin": name,
                "number": 1,
                "captured_at": at,
                "method": "\u202e",
                "size": len(body),
            }
            its = {
                "path": "/\x1b",
                "query": "",
                "client": "",
                "answered": 204,
                "headers": HEADERS.to_bytes(),
                "body": body,
            }
            cut = {"is_cut": bool(number % 2), "announced": None}
            connection.execute(sa.insert(tables.captures), row | its | cut)
            stock.captures.append((name, _id("C", number)))
