"""What only PostgreSQL needs: a connection that stops waiting, set-up of sessions, the doorbell of workers."""

import math
import select
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from functools import cache
from typing import Any, cast

import psycopg
import sqlalchemy as sa
from psycopg.abc import PQGen
from psycopg.errors import OperationalError
from psycopg.waiting import Ready, Wait
from sqlalchemy.engine.interfaces import DBAPIConnection

from receiver.runtime.outlet import native_poll
from receiver.storage import patience

# psycopg raises a connect_timeout of less to this, as libpq does: `timeout_from_conninfo` in psycopg/conninfo.py (3.3).
LEAST_TO_CONNECT_SECONDS = 2
BUSY_SECONDS = 0.005  # as long as psycopg's own asyncio side takes before it lets others run
FOR_LOCKS = 0.9  # of the limit: the server reports a lock that is held before we give up, so the connection stays open
_EVENTS = {Wait.R: select.POLLIN, Wait.W: select.POLLOUT, Wait.RW: select.POLLIN | select.POLLOUT}

# Errors after which a connection, or the server behind it, is of no use. The transaction is read-only, as after a
# failover; it was cancelled for a conflict with recovery; it was ended by a time limit:
# postgresql.org/docs/18/errcodes-appendix.html.
SPENT = {"25006", "40001", "25P03"}
# The connection is broken; the server shuts down, has crashed, is starting, or ended the session.
SPENT_CLASSES = {"08", "57P"}


class Patient(psycopg.Connection[Any]):
    """A connection that is closed if the limit of `patience` passes while it waits for its server.

    The kernel of a stopped server (SIGSTOP, a frozen machine) still acknowledges packets, so no limit of the server or
    of TCP ends the wait. A transaction that is closed in the middle of its commit may be committed all the same.
    """

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        if _others_run_meanwhile():
            gen = _at_once(gen, self.pgconn.socket)
        left = patience.seconds_left()
        if left == math.inf:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, left if timeout is None else min(left, timeout))
        except OperationalError:
            if patience.seconds_left() > 0:
                raise
            self.close()
            raise OperationalError("the server has not responded within the time limit") from None


@cache
def _others_run_meanwhile() -> bool:
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("select"))


def _at_once(steps: PQGen[Any], descriptor: int) -> PQGen[Any]:
    """Take the steps that need not wait without a turn for others, for BUSY_SECONDS at the most.

    psycopg (3.3, `_executemany_gen_pipeline`) waits once for each row that it sends, and gevent's `select.poll` lets
    every other request run before it returns, ready or not. Under a flood, a commit of 70 deliveries took 1.4 s.
    """
    poll, until = native_poll(), time.monotonic() + BUSY_SECONDS
    poll.register(descriptor)
    try:
        state = next(steps)
        while True:
            poll.modify(descriptor, _EVENTS[state])
            ready = _ready(poll.poll(0)) if time.monotonic() < until else 0
            if not ready:
                ready = yield state
                until = time.monotonic() + BUSY_SECONDS
            state = steps.send(ready)
    except StopIteration as end:
        return end.value


def _ready(found: list[tuple[int, int]]) -> int:
    """Return psycopg's sign for what can be read or written; 0 for nothing, and for trouble, which its wait names."""
    event = found[0][1] if found else 0
    return (Ready.R if event & select.POLLIN else 0) | (Ready.W if event & select.POLLOUT else 0)


def connecting(limit: timedelta) -> Callable[[sa.Dialect, object, list[Any], dict[str, Any]], Patient]:
    """Return the function that opens a connection, within the time that the caller has left."""
    least = min(LEAST_TO_CONNECT_SECONDS, limit.total_seconds() / 4)

    def connect(_dialect: sa.Dialect, _record: object, words: list[Any], named: dict[str, Any]) -> Patient:
        longest = min(patience.seconds_left(), float(named.get("connect_timeout") or math.inf))
        if longest < least:
            raise OperationalError("no time was left to open a connection: the server has not responded")
        if longest < math.inf:
            named["connect_timeout"] = max(LEAST_TO_CONNECT_SECONDS, int(longest))
        return Patient.connect(*words, **named)

    return connect


def preparing(limit: timedelta) -> Callable[[DBAPIConnection, object], None]:
    """Return the function that sets the time zone of each new session, and its lock timeout if it has none."""
    # psycopg cannot read a time that is outside the years 1 to 9999 in the session's zone, which the server chooses by
    # default (the loaders of psycopg/types/datetime.py). Not set by `options` of the connection: these would replace
    # those of the URL and of PGOPTIONS, and some poolers refuse them. Set outside a transaction: PostgreSQL undoes a
    # SET of a transaction that is rolled back (postgresql.org/docs/current/sql-set.html).
    milliseconds = max(1, int(limit / timedelta(milliseconds=1) * FOR_LOCKS))
    locks = f"SELECT set_config('lock_timeout', '{milliseconds}', false) WHERE current_setting('lock_timeout') = '0'"

    def prepare(connection: DBAPIConnection, _record: object) -> None:
        own = cast("psycopg.Connection[Any]", connection)
        own.autocommit = True
        own.execute(f"SET TIME ZONE 'UTC'; {locks}")
        own.autocommit = False

    return prepare


def is_spent(error: BaseException) -> bool:
    """Return whether connections must be reopened after this error. A read-only server still responds to a ping."""
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:  # not sent by the server: the connection could not be opened, broke, or waited too long
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate in SPENT or error.sqlstate.startswith(tuple(SPENT_CLASSES))


def listen(engine: sa.Engine, rung: Callable[[], None], deaf: Callable[[], None], closed: threading.Event) -> None:
    """Call `rung` for each notification until `closed` is set; reconnect when the connection breaks.

    `deaf` is called when it breaks: notifications sent before the next connection are missed.
    """
    while not closed.is_set():
        try:
            borrowed = engine.raw_connection()
            own = cast("psycopg.Connection[Any]", borrowed.driver_connection)
            borrowed.detach()  # out of the pool: it listens for as long as the worker lives
            with closing(own) as connection:
                connection.autocommit = True
                connection.execute("LISTEN signalbox")
                while not closed.is_set():
                    for _ in connection.notifies(timeout=0.5, stop_after=1):
                        rung()
        except (sa.exc.SQLAlchemyError, psycopg.Error):
            deaf()
            closed.wait(1)  # meanwhile the worker looks as it would without a bell
