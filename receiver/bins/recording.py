"""What happens when a request comes to a bin: whether it may, the row that it becomes, the answer that it gets."""

import hmac
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from ulid_transform import ulid_at_time

from receiver.bins import names, setup, store
from receiver.bins.captures import Request
from receiver.errors import BinError, NotFoundError
from receiver.events import Headers
from receiver.inbox.group_commit import Group
from receiver.storage import db, stores
from receiver.storage.tables import bins, captures

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """A request on its way to its row: to which bin, when, and whether that is made where there is none."""

    name: str
    request: Request
    at: datetime
    may_make: bool


Outcome = Reply | NotFoundError | BinError


class Recorder:
    """Keeps requests; who waits for it has the row on the disk when it returns.

    What comes together is committed together, one such commit at a time in a process. Deliveries go first: while this
    process has some that wait, captures let them pass, and after a commit they rest for longer than it took. What waits
    is bounded: beyond it a sender is asked to come again.
    """

    RESTS_TIMES = 3
    LONGEST_REST_SECONDS = 0.1
    LETS_PASS_SECONDS = 0.05
    NAP_SECONDS = 0.001

    def __init__(self, engine: sa.Engine, *, goes_first: Callable[[], bool] = lambda: False) -> None:
        self._engine = engine
        self._goes_first = goes_first
        self._group = _Group(self._write, limit=stores.store_of(engine).limit)
        self._ready_at = 0.0

    def record(self, name: str, request: Request, *, now: datetime, may_make: bool = False) -> Reply:
        """Keep a request, and give the answer that its bin is set up for.

        Where there is no bin, `may_make` makes it; else that is a NotFoundError. BinError: too many were made like
        that. StoreError: it could not be kept, or too many wait.
        """
        came = Came(name=name, request=request, at=now, may_make=may_make)
        return _said(self._group.keep(came, size=len(request.body)))

    def _write(self, take: Callable[[], Sequence[Came]]) -> list[Outcome]:
        self._let_pass()
        began = time.monotonic()
        try:
            with db.writing(self._engine) as connection:
                began = time.monotonic()  # what it waited for its turn is nobody else's loss
                return _record(connection, take())
        finally:
            now = time.monotonic()
            self._ready_at = now + min(self.RESTS_TIMES * (now - began), self.LONGEST_REST_SECONDS)

    def _let_pass(self) -> None:
        time.sleep(max(0.0, self._ready_at - time.monotonic()))
        deadline = time.monotonic() + self.LETS_PASS_SECONDS
        while self._goes_first() and time.monotonic() < deadline:
            time.sleep(self.NAP_SECONDS)


class _Group(Group[Came, Outcome]):
    """Requests that wait for their commit: fewer of them than of deliveries, for nothing was promised yet."""

    OF = "captures"
    MOST_WAITING = 200
    MOST_WAITING_BYTES = 8 * 1024 * 1024


def record(engine: sa.Engine, name: str, request: Request, *, now: datetime, may_make: bool = False) -> Reply:
    """Keep one request in a transaction of its own; otherwise as `Recorder.record` does."""
    with db.writing(engine) as connection:
        return _said(_record(connection, [Came(name=name, request=request, at=now, may_make=may_make)])[0])


def _said(outcome: Outcome) -> Reply:
    if isinstance(outcome, Reply):
        return outcome
    raise outcome


def _record(connection: sa.Connection, came: Sequence[Came]) -> list[Outcome]:
    """Write requests in the caller's transaction, and let those go that their bins do not keep any longer."""
    outcomes: dict[int, Outcome] = {}
    of_bin: defaultdict[str, list[int]] = defaultdict(list)
    for place, one in enumerate(came):
        of_bin[one.name].append(place)
    # In the order of their names: two processes that hold one bin each never wait for the other's.
    for name in sorted(of_bin):
        places = of_bin[name]
        outcomes |= dict(zip(places, _record_in(connection, name, [came[place] for place in places]), strict=True))
    return [outcomes[place] for place in range(len(came))]


def _record_in(connection: sa.Connection, name: str, came: Sequence[Came]) -> Sequence[Outcome]:
    now = max(one.at for one in came)
    try:
        row = _count(connection, name, now, len(came))
        if row is None and any(one.may_make for one in came):
            _make(connection, name, now)
            row = _count(connection, name, now, len(came))
        if row is None:
            raise store.no_bin(name)
    except (NotFoundError, BinError) as error:
        return [error] * len(came)
    numbers = range(row.captured - len(came) + 1, row.captured + 1)
    replies = [_reply(row, one, number) for one, number in zip(came, numbers, strict=True)]
    rows = [_row(row, *one) for one in zip(came, numbers, replies, strict=True)]
    connection.execute(sa.insert(captures), rows)
    _let_go(connection, row, now)
    return replies


def _count(connection: sa.Connection, name: str, now: datetime, more: int) -> sa.Row[Any] | None:
    # From here to the commit the row is this transaction's alone, so captures become visible in the order of their
    # numbers: who follows a bin needs no more than the last number that it saw.
    counted = sa.update(bins).where(bins.c.name == store.storable(name))
    return connection.execute(counted.values(captured=bins.c.captured + more, captured_at=now).returning(bins)).first()


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


def _reply(row: sa.Row[Any], came: Came, number: int) -> Reply:
    fails = row.fail_every > 0 and number % row.fail_every == 0
    return Reply(
        capture_id=ulid_at_time(came.at.timestamp()),
        status=came.request.refused_with or (row.fail_status if fails else row.status),
        headers=Headers.from_bytes(setup.STANDARD["headers"] if fails else row.headers).pairs,
        body=FAILED_BODY if fails else row.body,
        delay=timedelta(milliseconds=row.delay_ms),
    )


def _row(row: sa.Row[Any], came: Came, number: int, reply: Reply) -> dict[str, Any]:
    request = came.request
    return {
        "id": reply.capture_id,
        "bin": row.name,
        "number": number,
        "captured_at": row.captured_at,
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "client": request.client,
        "answered": reply.status,
        "size": len(request.body),
        "headers": request.headers.to_bytes(),
        "body": request.body,
        "is_cut": request.is_cut,
        "announced": request.announced,
    }


def _let_go(connection: sa.Connection, row: sa.Row[Any], now: datetime) -> None:
    last = captures.c.number <= row.captured - row.keep_count
    connection.execute(sa.delete(captures).where(captures.c.bin == row.name, last))
    if row.keep_seconds is not None:
        old = store.newest_before(row.name, store.cutoff(now, row.keep_seconds)).scalar_subquery()
        connection.execute(sa.delete(captures).where(captures.c.bin == row.name, captures.c.number <= old))
