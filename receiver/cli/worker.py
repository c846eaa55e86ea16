"""`signalbox worker`: routes events and runs their jobs until it is told to stop."""

import signal
import threading
from types import FrameType

import click
from flask import current_app
from flask.cli import with_appcontext

from receiver.cli.installation import load_handlers, open_tables
from receiver.logs import log
from receiver.worker import Worker


@click.command(short_help="Route events and run jobs.")
@with_appcontext
def worker() -> None:
    """Route events to their handlers and run the jobs that are due, until Ctrl-C or SIGTERM.

    The jobs that run then are waited for; a second signal ends it at once, and their leases bring them back.
    """
    settings = current_app.config
    engine = open_tables()
    router = load_handlers()
    for broken in router.broken.values():
        log.error("handlers", module=broken.name, error=broken.error, mend="signalbox handlers list shows where")
    stop = threading.Event()
    _set_on_signal(stop)
    log.info("worker", state="started", handlers=len(router.handlers()), threads=settings["WORKER_THREADS"])
    Worker(engine, router, threads=settings["WORKER_THREADS"], lease=settings["LEASE"]).run(stop)
    log.info("worker", state="stopped")


def _set_on_signal(stop: threading.Event) -> None:
    def heed(_number: int, _frame: FrameType | None) -> None:
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, signal.SIG_DFL)
        stop.set()

    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, heed)
