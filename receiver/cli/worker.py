"""`signalbox worker`: routes events and runs their jobs until it is told to stop."""

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

import click
import sqlalchemy as sa
from flask import current_app
from flask.cli import with_appcontext

from receiver.cli.installation import load_handlers, open_tables
from receiver.errors import StoreError, WorkerError
from receiver.jobs import pruning, registry
from receiver.jobs.routing import Router
from receiver.jobs.worker import Worker, utc_now
from receiver.observe.logs import LINES, log
from receiver.registrations import Kind, Sentinel, account_of
from receiver.runtime.watchdog import Watchdog, end_process


@click.command()
@with_appcontext
def worker() -> None:
    """Route events to their handlers and run the jobs that are due, until Ctrl-C, SIGTERM or SIGHUP.

    The jobs that run then are waited for; a second signal ends it at once, and their leases bring them back.
    """
    settings = current_app.config
    engine = open_tables()
    router = load_handlers()
    for broken in router.broken.values():
        log.error("handlers", module=broken.name, error=broken.error, mend="signalbox handlers list shows where")
    stop, one = threading.Event(), worker_of(engine, router, settings)
    sign_in(engine, router, one.id)
    sentinel = sentinel_of(engine, settings)
    _stop_on_signal(stop, one)
    log.info("worker", state="started", handlers=len(router.handlers()), threads=settings["WORKER_THREADS"])
    with registry.attending(engine, router, one.id), prune_hourly(engine, settings["RETENTION"]), sentinel.watching():
        try:
            one.run(stop)
        except WorkerError as error:
            LINES.write_out()
            end_process(error)
    log.info("worker", state="stopped")


def worker_of(engine: sa.Engine, router: Router, settings: Mapping[str, Any]) -> Worker:
    """Give the worker that runs jobs itself, or the one that hands them to Celery."""
    url, watchdog = settings["CELERY_BROKER_URL"], Watchdog(settings["STALL"])
    if not url:
        threads, lease = settings["WORKER_THREADS"], settings["LEASE"]
        return Worker(engine, router, threads=threads, lease=lease, watchdog=watchdog)
    from receiver.jobs.celery_tasks import Dispatcher, make_celery, require_driver

    require_driver(url)
    return Dispatcher(engine, router, make_celery(url), lease=settings["LEASE"], watchdog=watchdog)


def sentinel_of(engine: sa.Engine, settings: Mapping[str, Any]) -> Sentinel:
    """Give what watches for webhooks that Box removes; SettingsError where it is to speak to Box and cannot."""
    account = account_of(settings) if settings["AUTO_REREGISTER"] else None
    if account is not None and account.kind is Kind.DEVELOPER_TOKEN:
        log.warning("worker", AUTO_REREGISTER=True, mind="BOX_DEVELOPER_TOKEN dies within an hour")
    return Sentinel(engine, clock=utc_now, account=account)


def sign_in(engine: sa.Engine, router: Router, worker: str) -> None:
    """Say what this worker has loaded; it works all the same where that cannot be written down at once."""
    try:
        registry.sign_in(engine, router, datetime.now(UTC), worker=worker)
    except StoreError as error:
        log.warning("worker", state="not signed in", error=str(error))


@contextmanager
def prune_hourly(engine: sa.Engine, keep: timedelta) -> Iterator[None]:
    if timedelta(0) < keep < pruning.AT_LEAST:
        log.warning("worker", RETENTION_DAYS=keep.days, mind=pruning.TOO_SHORT)
    with pruning.hourly(engine, keep):
        yield


def _stop_on_signal(stop: threading.Event, worker: Worker) -> None:
    def heed(_number: int, _frame: FrameType | None) -> None:
        for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(one, signal.SIG_DFL)
        stop.set()
        worker.wake()

    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, heed)
    # What was started under nohup goes on where its terminal is closed.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, heed)
    _let_signals_end_children(heed)


def _let_signals_end_children(heed: object) -> None:
    """Let signals end a child that a handler forks, as `Process.terminate()` means to.

    One that comes while the child does not know it yet is kept until then: Python forgets those (PyOS_AfterFork_Child).
    """
    ours, before = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP), threading.local()

    def hold() -> None:
        before.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ours)

    def go_on() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before.mask)

    def end_by_them() -> None:
        for one in ours:
            if signal.getsignal(one) is heed:
                signal.signal(one, signal.SIG_DFL)
        go_on()

    os.register_at_fork(before=hold, after_in_parent=go_on, after_in_child=end_by_them)
