"""`python -m bench.worker nothing|note`: the worker with one handler of the bench's own, and no other."""

import os
import signal
import sys
import threading
from pathlib import Path

from bench.handlers import note_into, nothing
from config import load
from receiver import service
from receiver.app import create_app_without_web
from receiver.cli.worker import worker_of
from receiver.jobs.routing import Router


def main(mode: str) -> None:
    # The application for its settings and its log: a worker that logs nothing would look better than it is.
    app = create_app_without_web(load(os.environ))
    router = Router()
    router.on("*")(nothing if mode == "nothing" else note_into(Path(os.environ["BENCH_NOTES"])))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    engine = service.of(app).engine
    worker_of(engine, router, app.config).run(stop)


if __name__ == "__main__":
    main(sys.argv[1])
