"""What happens when a bin receives a request: whether it may, its row, and its response."""

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
class BinResponse:
    """The response to a recorded request, and its delay."""

    capture_id: str
    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes
    delay: timedelta


@dataclass(frozen=True, slots=True)
class Secret:
    """The secret that a bin requires of its senders. Only the digest is stored: nobody can read the secret anywhere."""

    digest: str

    def is_among(self, given: Iterable[bytes]) -> bool:
        return any(hmac.compare_digest(self.digest, setup.digest(one)) for one in given)


def secret_of(engine: sa.Engine, name: str) -> Secret | None:
    """Return the secret that the bin requires; NotFoundError if the bin does not exist."""
    with db.reading(engine) as connection:
        row = connection.execute(sa.select(bins.c.secret_digest).where(bins.c.name == store.storable(name))).first()
    if row is None:
        raise store.no_bin(name)
    return Secret(row.secret_digest) if row.secret_digest else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """A request on its way to its row: to which bin, when, and whether a missing bin is made."""

    name: str
    request: Request
    at: datetime
    may_make: bool


Outcome = BinResponse | NotFoundError | BinError


class Recorder:
    """Stores requests; when a method returns, the row is on disk.

    Requests that arrive together are committed together, one such commit at a time in a process. Deliveries go first:
    while any of this process wait, captures let them pass, and after a commit they pause for longer than it took. The
    queue is bounded: beyond the bound a sender is asked to retry.
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

    def record(self, name: str, request: Request, *, now: datetime, may_make: bool = False) -> BinResponse:
        """Store a request, and return the response that its bin is set up for.

        With `may_make` a missing bin is made; otherwise that is a NotFoundError. BinError if too many bins were made in
        this way. StoreError if it could not be stored, or too many wait.
        """
        came = Came(name=name, request=request, at=now, may_make=may_make)
        return _said(self._group.keep(came, size=len(request.body)))

    def _write(self, take: Callable[[], Sequence[Came]]) -> list[Outcome]:
        self._let_pass()
        began = time.monotonic()
        try:
            with db.writing(self._engine) as connection:
                began = time.monotonic()  # the wait for its own turn cost the others nothing
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
    """Requests that wait for their commit: fewer than deliveries, because nothing has been promised for them."""

    OF = "captures"
    MOST_WAITING = 200
    MOST_WAITING_BYTES = 8 * 1024 * 1024


def record(engine: sa.Engine, name: str, request: Request, *, now: datetime, may_make: bool = False) -> BinResponse:
    """Store one request in a transaction of its own; otherwise as `Recorder.record` does."""
    with db.writing(engine) as connection:
        return _said(_record(connection, [Came(name=name, request=request, at=now, may_make=may_make)])[0])


def _said(outcome: Outcome) -> BinResponse:
    if isinstance(outcome, BinResponse):
        return outcome
    raise outcome


def _record(connection: sa.Connection, came: Sequence[Came]) -> list[Outcome]:
    """Write requests in the caller's transaction, and delete captures that their bins no longer keep."""
    outcomes: dict[int, Outcome] = {}
    of_bin: defaultdict[str, list[int]] = defaultdict(list)
    for place, one in enumerate(came):
        of_bin[one.name].append(place)
    # In the order of their names: two processes that each hold the lock of a bin never wait for each other's.
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
    # From here to the commit the row is locked by this transaction, so captures become visible in the order of their
    # numbers: to follow a bin, the last number seen is enough.
    counted = sa.update(bins).where(bins.c.name == store.storable(name))
    return connection.execute(counted.values(captured=bins.c.captured + more, captured_at=now).returning(bins)).first()


def _make(connection: sa.Connection, name: str, now: datetime) -> None:
    if not names.is_name(name):
        raise NotFoundError(f"No bin can have that name. {names.NAME_TAKES}")
    made = sa.select(sa.func.count()).select_from(bins).where(bins.c.is_auto)
    if connection.execute(made).scalar_one() >= MOST_AUTO_BINS:
        limit = f"{MOST_AUTO_BINS:,} bins were made by their first request, which is the limit"
        raise BinError({"name": [f"{limit}. Delete some, or make this one: signalbox bins create {name}"]})
    store.insert(connection, {**setup.STANDARD, "name": name, "created_at": now, "is_auto": True})


def _reply(row: sa.Row[Any], came: Came, number: int) -> BinResponse:
    fails = row.fail_every > 0 and number % row.fail_every == 0
    return BinResponse(
        capture_id=ulid_at_time(came.at.timestamp()),
        status=came.request.refused_with or (row.fail_status if fails else row.status),
        headers=Headers.from_bytes(setup.STANDARD["headers"] if fails else row.headers).pairs,
        body=FAILED_BODY if fails else row.body,
        delay=timedelta(milliseconds=row.delay_ms),
    )


def _row(row: sa.Row[Any], came: Came, number: int, reply: BinResponse) -> dict[str, Any]:
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
