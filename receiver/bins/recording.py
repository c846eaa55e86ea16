"""What happens when a request comes to a bin: whether it may, the row that it becomes, the answer that it gets."""

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from ulid_transform import ulid_at_time

from receiver import db
from receiver.bins import names, setup, store
from receiver.bins.captures import Request
from receiver.errors import BinError, NotFoundError
from receiver.events import Headers
from receiver.tables import bins, captures

MOST_AUTO_BINS = 1000
FAILED_BODY = b'{"status":"failed, as this bin is set up to"}\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the sender of a recorded request is told, and when."""

    capture_id: str
    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes
    delay: timedelta


@dataclass(frozen=True, slots=True)
class Secret:
    """What a bin asks its senders for. Only the digest is kept: nobody can read it anywhere."""

    digest: str

    def is_among(self, given: Iterable[bytes]) -> bool:
        return any(hmac.compare_digest(self.digest, setup.digest(one)) for one in given)


def secret_of(engine: sa.Engine, name: str) -> Secret | None:
    """Give what the bin asks its senders for; NotFoundError where there is no bin."""
    with db.reading(engine) as connection:
        row = connection.execute(sa.select(bins.c.secret_digest).where(bins.c.name == store.storable(name))).first()
    if row is None:
        raise store.no_bin(name)
    return Secret(row.secret_digest) if row.secret_digest else None


def record(engine: sa.Engine, name: str, request: Request, *, now: datetime, may_make: bool = False) -> Reply:
    """Keep a request, let those go that the bin does not keep any longer, and give the answer that it is set up for.

    Where there is no bin, `may_make` makes it; else that is a NotFoundError. BinError: too many were made like that.
    """
    with db.writing(engine) as connection:
        row = _count(connection, name, now)
        if row is None and may_make:
            _make(connection, name, now)
            row = _count(connection, name, now)
        if row is None:
            raise store.no_bin(name)
        reply = _reply(row, ulid_at_time(now.timestamp()))
        connection.execute(sa.insert(captures), _row(row, request, reply))
        _let_go(connection, row, now)
    return reply


def _count(connection: sa.Connection, name: str, now: datetime) -> sa.Row[Any] | None:
    # From here to the commit the row is this transaction's alone, so captures become visible in the order of their
    # numbers: who follows a bin needs no more than the last number that it saw.
    counted = sa.update(bins).where(bins.c.name == store.storable(name))
    return connection.execute(counted.values(captured=bins.c.captured + 1, captured_at=now).returning(bins)).first()


def _make(connection: sa.Connection, name: str, now: datetime) -> None:
    if not names.is_name(name):
        raise NotFoundError(f"There can be no bin of that name. {names.NAME_TAKES}")
    made = sa.select(sa.func.count()).select_from(bins).where(bins.c.is_auto)
    if connection.execute(made).scalar_one() >= MOST_AUTO_BINS:
        told = (
            f"{MOST_AUTO_BINS:,} bins were made by their first request, and no more are. Delete some, or make this one"
        )
        raise BinError({"name": [f"{told} yourself: signalbox bins create {name}"]})
    store.insert(connection, {**setup.STANDARD, "name": name, "created_at": now, "is_auto": True})


def _reply(row: sa.Row[Any], capture_id: str) -> Reply:
    fails = row.fail_every > 0 and row.captured % row.fail_every == 0
    return Reply(
        capture_id=capture_id,
        status=row.fail_status if fails else row.status,
        headers=Headers.from_bytes(setup.STANDARD["headers"] if fails else row.headers).pairs,
        body=FAILED_BODY if fails else row.body,
        delay=timedelta(milliseconds=row.delay_ms),
    )


def _row(row: sa.Row[Any], request: Request, reply: Reply) -> dict[str, Any]:
    return {
        "id": reply.capture_id,
        "bin": row.name,
        "number": row.captured,
        "captured_at": row.captured_at,
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "client": request.client,
        "answered": reply.status,
        "size": len(request.body),
        "headers": request.headers.to_bytes(),
        "body": request.body,
    }


def _let_go(connection: sa.Connection, row: sa.Row[Any], now: datetime) -> None:
    last = captures.c.number <= row.captured - row.keep_count
    connection.execute(sa.delete(captures).where(captures.c.bin == row.name, last))
    if row.keep_seconds is not None:
        old = store.newest_before(row.name, store.cutoff(now, row.keep_seconds)).scalar_subquery()
        connection.execute(sa.delete(captures).where(captures.c.bin == row.name, captures.c.number <= old))
