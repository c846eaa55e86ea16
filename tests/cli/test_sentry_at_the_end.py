"""What Sentry has not been told of when a process ends, it is told then; one that never answers holds nothing up."""

import gzip
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from config import ROOT
from receiver.tables import is_dead, jobs
from tests.cli.conftest import Keep
from tests.waiting import until

DISCARDS = "from receiver import Discard, on\n@on('*')\ndef no(event):\n    raise Discard('no')\n"
BROKEN = """
from wsgi import app
@app.get("/broken")
def broken():
    raise RuntimeError
"""


class Sentry(ThreadingHTTPServer):
    """Takes a second for each request, or for ever, and keeps what it heard."""

    daemon_threads = True

    def __init__(self, *, answers: bool) -> None:
        super().__init__(("127.0.0.1", 0), Hearing)
        self.answers = answers
        self.heard: list[bytes] = []
        self.asked = threading.Event()
        self.over = threading.Event()

    @property
    def dsn(self) -> str:
        return f"http://public@127.0.0.1:{self.server_port}/1"


class Hearing(BaseHTTPRequestHandler):
    server: Sentry

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.set()
        if not self.server.answers:
            self.server.over.wait()
            return
        time.sleep(1)
        said = gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
        if b'"type":"event"' in said.replace(b" ", b""):
            self.server.heard.append(said)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def sentry(*, answers: bool) -> Iterator[Sentry]:
    server = Sentry(answers=answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(database_url: str, tmp_path: Path) -> Iterator[Start]:
    """Start a process of this installation that tells a Sentry; what is left of it in the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(*words: str, server: Sentry, **more: str) -> "subprocess.Popen[str]":
        settings = {
            "ENV": "development",
            "DATABASE_URL": database_url,
            "SENTRY_DSN": server.dsn,
            "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
            "WEB_CONCURRENCY": "1",
            "HOST": "127.0.0.1",
            "PORT": "0",
        }
        environment = os.environ | settings | more
        command = [sys.executable, *words]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def dead(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(jobs).where(is_dead)).scalar_one())


@pytest.mark.parametrize("answers", [True, False])
def test_a_worker_that_ends_has_told_sentry_of_every_dead_job(
    start: Start, keep: Keep, engine: sa.Engine, tmp_path: Path, answers: bool
) -> None:
    (tmp_path / "discards.py").write_text(DISCARDS)
    for number in range(6):
        keep(number=number)
    with sentry(answers=answers) as server:
        worker = start("wsgi.py", "worker", server=server, HANDLERS="discards")
        until(lambda: dead(engine) == 6, "six jobs are dead")
        until(server.asked.is_set, "Sentry is told of the first")
        worker.terminate()
        until(lambda: worker.poll() is not None, "the worker ends")
        assert worker.returncode == 0
        assert len(server.heard) == (6 if answers else 0)


def test_a_web_process_that_ends_has_told_sentry_of_every_error(start: Start, tmp_path: Path) -> None:
    (tmp_path / "broken_web.py").write_text(BROKEN)
    with sentry(answers=True) as server:
        web = start("-m", "gunicorn", "--config", "config/gunicorn.py", "broken_web:app", server=server)
        assert web.stderr
        base = next(line for line in web.stderr if "Listening at" in line).split()[-2]
        for _ in range(4):
            assert httpx.get(f"{base}/broken", trust_env=False, timeout=90).status_code == 500
        web.terminate()
        until(lambda: web.poll() is not None, "web ends")
        assert web.returncode == 0
        assert len(server.heard) == 4
