"""This installation as the commands see it: its tables, its handlers, its command."""

import signal
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from difflib import get_close_matches
from os.path import relpath
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

import sqlalchemy as sa
from flask import Flask, current_app

from receiver import service
from receiver.errors import HandlerError, NotFoundError, SettingsError
from receiver.jobs import registry
from receiver.jobs.routing import Handler, Router, router
from receiver.observe import metrics
from receiver.observe.logs import LINES
from receiver.runtime import forks
from receiver.runtime.watchdog import Watchdog
from receiver.storage import db, stores

if TYPE_CHECKING:
    from celery import Celery


def open_tables() -> sa.Engine:
    """Give the engine; SchemaError, with the command that mends it, unless the tables are those of this release."""
    engine = service.current().engine
    db.require_current(engine)
    return engine


def load_handlers() -> Router:
    """Give the router with every handler connected; what modules print while they load goes to standard error."""
    began = forks.generation()
    with redirect_stdout(sys.stderr), _ctrl_c_ends_at_once():
        router.load(current_app.config["HANDLERS"])
    forks.end_child(began)
    return router


@contextmanager
def _ctrl_c_ends_at_once() -> Iterator[None]:
    """Let Ctrl-C be no exception: a KeyboardInterrupt is then a module's own, and makes it a broken one."""
    heeded = threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if heeded:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        if heeded:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def require_handler(name: str) -> Handler:
    """Give the handler of a name; NotFoundError, with the names that come close, unless one is called so.

    HandlerError, with what is wrong with it, where the module that it would be in does not import.
    """
    router = load_handlers()
    if found := router.find(name):
        return found
    for broken in router.broken.values():
        if f"{name}.".startswith(f"{broken.name}."):
            raise HandlerError(f"{broken.name} does not import: {broken.error}\nsignalbox handlers list shows where.")
    close = get_close_matches(name, [handler.name for handler in router.handlers()])
    hint = f"did you mean {' or '.join(close)}?" if close else "signalbox handlers list shows them."
    raise NotFoundError(f"no handler is named {name}: {hint}")


def require_known_handler(engine: sa.Engine, name: str) -> None:
    """Raise NotFoundError, with the names that come close, unless a handler of this name is here, or was."""
    try:
        registry.show_handler(engine, name)
    except NotFoundError:
        require_handler(name)


def start_celery(app: Flask) -> "Celery":
    """Give the Celery application, which loads the handlers when a worker of its own starts, before its pool forks."""
    # Imported where it is used: Celery takes a quarter of a second, and most commands do without it.
    from receiver.jobs import celery_tasks  # first: it says how Celery is installed where it is not

    from celery.signals import worker_init, worker_process_shutdown  # isort: skip

    url = app.config["CELERY_BROKER_URL"]
    if not url:
        raise SettingsError({"CELERY_BROKER_URL": ["must be set where Celery runs the jobs: redis://localhost:6379/0"]})
    celery_tasks.require_driver(url)
    engine, lease, stall = service.of(app).engine, app.config["LEASE"], app.config["STALL"]
    celery = celery_tasks.make_celery(url)
    celery_tasks.serve(celery, lambda: celery_tasks.Runner(engine, router, lease=lease, watchdog=Watchdog(stall)))

    def prepare(**_: object) -> None:
        try:
            with app.app_context():
                load_handlers()
        except HandlerError as error:
            # Celery would log it, and serve with the handlers that were loaded so far.
            sys.exit(f"Error: {error}")

    def write_last(**_: object) -> None:
        # A process of the pool ends without what Python does at an exit.
        LINES.write_out()
        metrics.write_last()
        stores.close_all()
        if app.config["SENTRY_DSN"]:
            from receiver.observe import sentry

            sentry.flush()

    worker_init.connect(prepare, weak=False)
    worker_process_shutdown.connect(write_last, weak=False)
    return celery


def command() -> str:
    """Give what to type for `signalbox`: the whole path where the shell would not find it."""
    return "signalbox" if which("signalbox") else relpath(Path(sysconfig.get_path("scripts"), "signalbox"))
