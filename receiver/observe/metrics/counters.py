"""Counts deliveries and attempts as the service's signals report them, and writes the counts every few seconds."""

import atexit
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from blinker import Signal

from receiver import signals
from receiver.errors import StoreError
from receiver.observe.metrics import gauges, histogram
from receiver.observe.metrics.histogram import Spread, bucket
from receiver.storage import db
from receiver.storage.tables import tallies

# The lengths of the spans that counts are added up in, and how long each is kept; 0 is all time, and is kept for ever.
KEPT = {
    60: timedelta(days=1),
    300: timedelta(days=3),
    1200: timedelta(days=30),
    7200: timedelta(days=30),
}
EVER = 0
THE_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
KINDS = ("source", "handler", "dead", "wait", "alarm", "connection", "refused", "login")

# What Box sends when it has stopped sending events, or is about to: docs/sources.md.
ALARMS = frozenset({"box:NO_ACTIVE_SESSION", "box:WEBHOOK.DELETED"})

ADDING = 1013  # the number of a lock: counts must not change between being read and being added up
PRUNE_EVERY_SECONDS = 3600.0
PRUNE_AT_ONCE = 2000
WORTH_TELLING_SECONDS = 1.0


class Key(NamedTuple):
    """What is counted: first in a minute, numbered since 1970, later in the span of a step that began then."""

    began: int
    kind: str
    subject: str
    outcome: str


class Cell:
    """How often something was counted, and how long it took: in total, and by bucket."""

    __slots__ = ("count", "milliseconds", "spread")

    def __init__(self, count: int = 0, milliseconds: float = 0.0, spread: Spread | None = None) -> None:
        self.count = count
        self.milliseconds = milliseconds
        self.spread: Spread = {} if spread is None else spread

    def add(self, more: "Cell", kind: str) -> None:
        self.count += more.count
        # Of waits the longest counts.
        together = max if kind == "wait" else float.__add__
        self.milliseconds = together(self.milliseconds, more.milliseconds)
        histogram.add(self.spread, more.spread)


class Tally:
    """Counts in memory, and adds the counts to the table every five seconds, from a thread of its own.

    The thread starts with the first count, so that a process that forks before it has its own. While the database
    cannot be written the counts wait, up to `MOST_CELLS` of them; then the oldest are dropped. A kill loses the last
    few seconds.
    """

    EVERY_SECONDS = 5.0
    MOST_CELLS = 20_000

    def __init__(self, engine: sa.Engine, *, clock: Callable[[], float] = time.time) -> None:
        self.engine = engine
        self._clock = clock
        self._cells: dict[tuple[int, str, str, str], Cell] = {}
        self._counting = threading.Lock()
        self._writing = threading.Lock()
        self._writer: threading.Thread | None = None
        self._stopped = threading.Event()
        self._prune_at = 0.0

    def count(self, kind: str, subject: str, outcome: str, milliseconds: float | None, *, times: int = 1) -> None:
        """Count one. Every response to a delivery waits for this, so it does as little as possible."""
        key = (int(self._clock() // 60), kind, subject, outcome)
        with self._counting:
            cell = self._cells.get(key)
            if cell is None:
                cell = self._cells[key] = Cell()
            cell.count += times
            if milliseconds is not None:
                cell.milliseconds += milliseconds
                place = bucket(milliseconds)
                cell.spread[place] = cell.spread.get(place, 0) + 1
            if self._writer is None:
                self._writer = threading.Thread(target=self._keep_writing, name="tally", daemon=True)
                self._writer.start()

    @property
    def has_counted(self) -> bool:
        return self._writer is not None

    def stop(self) -> None:
        """Stop the thread: nothing more is written by itself."""
        self._stopped.set()

    def _keep_writing(self) -> None:
        while not self._stopped.wait(self.EVERY_SECONDS):
            with suppress(StoreError, OSError):
                self.write_out()

    def write_out(self) -> None:
        """Write what was counted, now; StoreError or OSError if that fails, and the counts are kept."""
        with self._writing:
            with self._counting:
                cells, self._cells = self._cells, {}
            try:
                self._write(cells)
            except (StoreError, OSError) as error:
                # Counts that the database will never take must not hold up the others.
                if not (isinstance(error, StoreError) and error.is_about_a_row):
                    self._put_back(cells)
                raise

    def _write(self, cells: Mapping[tuple[int, str, str, str], Cell]) -> None:
        now = self._clock()
        at = datetime.fromtimestamp(now, UTC)
        counted = [(Key(*key), cell) for key, cell in cells.items()] + self._waits(at)
        if not counted:
            return
        with db.writing(self.engine) as connection:
            _add(connection, counted)
            if now >= self._prune_at and _prune(connection, at) < PRUNE_AT_ONCE:
                self._prune_at = now + PRUNE_EVERY_SECONDS

    def _waits(self, at: datetime) -> list[tuple[Key, Cell]]:
        """Return what waits now, and for how long; short waits are left out, so that an idle process writes nothing."""
        waits = gauges.look_at_waits(self.engine, at)
        return [
            (Key(int(at.timestamp() // 60), "wait", subject, "waited"), Cell(1, seconds * 1000))
            for subject, seconds in waits.items()
            if seconds is not None and seconds >= WORTH_TELLING_SECONDS
        ]

    def _put_back(self, cells: dict[tuple[int, str, str, str], Cell]) -> None:
        with self._counting:
            for key, cell in self._cells.items():
                cells.setdefault(key, Cell()).add(cell, key[1])
            for key in sorted(cells)[: max(0, len(cells) - self.MOST_CELLS)]:
                del cells[key]
            self._cells = cells


_UNIQUE = ("step", "kind", "began_at", "subject", "outcome")


def _add(connection: sa.Connection, counted: Iterable[tuple[Key, Cell]]) -> None:
    """Add counts to the rows of every step that they fall into."""
    added: defaultdict[tuple[int, str, datetime, str, str], Cell] = defaultdict(Cell)
    for key, cell in counted:
        for step in (*KEPT, EVER):
            added[step, key.kind, _began(key.began, step), key.subject, key.outcome].add(cell, key.kind)
    db.lock(connection, ADDING)
    spans = sa.tuple_(tallies.c.step, tallies.c.kind, tallies.c.began_at)
    found = sa.select(tallies).where(spans.in_(sorted({key[:3] for key in added})))
    for row in connection.execute(found).all():
        more = added.get((row.step, row.kind, row.began_at, row.subject, row.outcome))
        if more is not None:
            so_far = {int(place): count for place, count in row.spread.items()}
            more.add(Cell(row._mapping["count"], row.milliseconds, so_far), row.kind)
    upsert = db.insert(connection, tallies)
    columns = {name: upsert.excluded[name] for name in ("count", "milliseconds", "spread")}
    connection.execute(
        upsert.on_conflict_do_update(index_elements=_UNIQUE, set_=columns),
        [_row(key, cell) for key, cell in added.items()],
    )


def _began(minute: int, step: int) -> datetime:
    return THE_BEGINNING + timedelta(seconds=minute * 60 // step * step if step else 0)


def _row(key: tuple[int, str, datetime, str, str], cell: Cell) -> dict[str, Any]:
    counted = {"count": cell.count, "milliseconds": cell.milliseconds, "spread": cell.spread}
    return dict(zip(_UNIQUE, key, strict=True)) | counted


def prune(engine: sa.Engine, at: datetime) -> int:
    """Delete counts older than they are kept, and return the number of rows. A process that counts does so itself."""
    gone, count = 0, PRUNE_AT_ONCE
    while count == PRUNE_AT_ONCE:
        with db.writing(engine) as connection:
            count = _prune(connection, at)
        gone += count
    return gone


def _prune(connection: sa.Connection, at: datetime) -> int:
    """Delete counts older than they are kept, a part at a time, and return the number of rows."""
    too_old = sa.or_(*(_is_of(step) & (tallies.c.began_at < at - kept) for step, kept in KEPT.items()))
    some = sa.select(tallies.c.seq).where(too_old).limit(PRUNE_AT_ONCE)
    return connection.execute(sa.delete(tallies).where(tallies.c.seq.in_(some))).rowcount


def _is_of(step: int) -> sa.ColumnElement[bool]:
    # Every kind is named, so that the index finds the old ones of each.
    return (tallies.c.step == step) & tallies.c.kind.in_(KINDS)


_current: Tally | None = None


def start(engine: sa.Engine) -> Tally:
    """Begin to count what this process does, for this database and no other."""
    global _current  # noqa: PLW0603
    stop()
    _current = Tally(engine)
    for signal, listener in LISTENERS.items():
        signal.connect(listener, weak=False)
    return _current


def stop() -> None:
    """Stop counting, and drop unwritten counts: for processes with several applications, such as tests."""
    global _current  # noqa: PLW0603
    if _current is not None:
        _current.stop()
    _current = None


def _count(kind: str, subject: str, outcome: str, milliseconds: float | None, *, times: int = 1) -> None:
    if _current is not None:
        _current.count(kind, subject, outcome, milliseconds, times=times)


def _accepted(_sender: object, *, source: str, type: str, milliseconds: float, **_details: Any) -> None:
    _count("source", source, "accepted", milliseconds)
    if type in ALARMS:
        _count("alarm", type, "accepted", None)


def _duplicated(_sender: object, *, source: str, milliseconds: float, **_details: Any) -> None:
    _count("source", source, "duplicate", milliseconds)


def _rejected(_sender: object, *, source: str, reason: str, milliseconds: float, **_details: Any) -> None:
    _count("source", source, "rejected", milliseconds)
    _count("refused", f"{source}/{reason}", "refused", None)


def _astray(_sender: object, *, status: int) -> None:
    _count("refused", f"elsewhere/{status}", "refused", None)


def _left_out(_sender: object, *, left_out: int, **_details: Any) -> None:
    if left_out:
        _count("refused", "any/any", "left_out", None, times=left_out)


def _tried(_sender: object, *, by: str, outcome: str, **_details: Any) -> None:
    _count("login", by, outcome, None)


def _quarantined(_sender: object, *, source: str, milliseconds: float, **_details: Any) -> None:
    _count("source", source, "quarantined", milliseconds)


def _unkept(_sender: object, *, source: str, milliseconds: float, **_details: Any) -> None:
    _count("source", source, "unkept", milliseconds)


def _ended(_sender: object, *, ended: Mapping[str, int]) -> None:
    for why, times in ended.items():
        if why != "idle":
            _count("connection", "ended", why, None, times=times)


def _attempted(_sender: object, *, handler: str, outcome: str, milliseconds: float | None, **_details: Any) -> None:
    _count("handler", handler, outcome, milliseconds)


def _buried(_sender: object, *, handler: str, outcome: str, **_details: Any) -> None:
    _count("dead", handler, outcome, None)


LISTENERS: dict[Signal, Callable[..., None]] = {
    signals.event_accepted: _accepted,
    signals.event_duplicated: _duplicated,
    signals.delivery_rejected: _rejected,
    signals.request_astray: _astray,
    signals.refusals_written: _left_out,
    signals.login_tried: _tried,
    signals.delivery_quarantined: _quarantined,
    signals.delivery_unkept: _unkept,
    signals.connections_ended: _ended,
    signals.attempt_finished: _attempted,
    signals.job_buried: _buried,
}


@atexit.register
def write_last() -> None:
    """Write what was counted, as far as the database allows; a process that exits normally does so itself."""
    # A command that only reads has counted nothing, and writes nothing.
    if _current is not None and _current.has_counted:
        with suppress(StoreError, OSError):
            _current.write_out()


def _begin_anew() -> None:
    """Drop the counts in a process that was just forked: its parent writes them."""
    global _current  # noqa: PLW0603
    if _current is not None:
        _current = Tally(_current.engine)


os.register_at_fork(after_in_child=_begin_anew)
