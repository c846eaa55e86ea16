"""What only PostgreSQL needs: a connection whose waiting ends, the sessions that it opens, the doorbell of workers."""

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

LEAST_TO_CONNECT_SECONDS = 2  # psycopg takes no less: psycopg.org/psycopg3/docs/api/connections.html
BUSY_SECONDS = 0.005  # as long as psycopg's own asyncio side takes before it lets others run
_EVENTS = {Wait.R: select.POLLIN, Wait.W: select.POLLOUT, Wait.RW: select.POLLIN | select.POLLOUT}
FOR_LOCKS = 0.9  # of the limit: a lock that is held is told by the server, and the connection stays

# What a connection, or the server at its other end, is no longer good for. Read-only, as after a failover; given up for
# a conflict with it; ended after a time limit: postgresql.org/docs/18/errcodes-appendix.html.
SPENT = {"25006", "40001", "25P03"}
SPENT_CLASSES = {"08", "57P"}  # the connection is broken; the server shuts down, crashed, starts, or ended the session


class Patient(psycopg.Connection[Any]):
    """A connection that is closed where the limit of `patience` passes while it waits for its server.

    A server that is stopped goes on acknowledging what the network brings, so no limit of the server or of TCP ends
    that. What is closed in the middle of a commit may be committed all the same.
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
            raise OperationalError("the server has not answered for as long as anybody waits for it") from None


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
    """Return what opens a connection, within what is left of the limit where somebody waits for it."""
    least = min(LEAST_TO_CONNECT_SECONDS, limit.total_seconds() / 4)

    def connect(_dialect: sa.Dialect, _record: object, words: list[Any], named: dict[str, Any]) -> Patient:
        longest = min(patience.seconds_left(), float(named.get("connect_timeout") or math.inf))
        if longest < least:
            raise OperationalError("there was no time left to open a connection: the server has not answered")
        if longest < math.inf:
            named["connect_timeout"] = max(LEAST_TO_CONNECT_SECONDS, int(longest))
        return Patient.connect(*words, **named)

    return connect


def preparing(limit: timedelta) -> Callable[[DBAPIConnection, object], None]:
    """Return what gives each new session its time zone, and its limit for locks unless it has one."""
    # psycopg reads no time that is out of the years 1 to 9999 in the session's zone, which is the server's to choose.
    # Not as an option of the connection: that would replace those of the URL and of PGOPTIONS, and some poolers take
    # none. Outside a transaction, because it would end with one that is rolled back.
    milliseconds = max(1, int(limit / timedelta(milliseconds=1) * FOR_LOCKS))
    locks = f"SELECT set_config('lock_timeout', '{milliseconds}', false) WHERE current_setting('lock_timeout') = '0'"

    def prepare(connection: DBAPIConnection, _record: object) -> None:
        own = cast("psycopg.Connection[Any]", connection)
        own.autocommit = True
        own.execute(f"SET TIME ZONE 'UTC'; {locks}")
        own.autocommit = False

    return prepare


def is_spent(error: BaseException) -> bool:
    """Say whether connections are to be opened anew after this error. One that is read-only answers every ping."""
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:  # not from the server: the connection could not be opened, broke, or waited too long
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate in SPENT or error.sqlstate.startswith(tuple(SPENT_CLASSES))


def listen(engine: sa.Engine, rung: Callable[[], None], deaf: Callable[[], None], closed: threading.Event) -> None:
    """Call `rung` whenever somebody rings, until told to end; a connection that breaks is made again.

    `deaf` is called then: whoever rings meanwhile is not heard.
    """
    while not closed.is_set():
        try:
            borrowed = engine.raw_connection()
            own = cast("psycopg.Connection[Any]", borrowed.driver_connection)
            borrowed.detach()  # not the pool's any more: it listens for as long as the worker lives
            with closing(own) as connection:
                connection.autocommit = True
                connection.execute("LISTEN signalbox")
                while not closed.is_set():
                    for _ in connection.notifies(timeout=0.5, stop_after=1):
                        rung()
        except (sa.exc.SQLAlchemyError, psycopg.Error):
            deaf()
            closed.wait(1)  # the worker asks as it would without a bell, meanwhile
