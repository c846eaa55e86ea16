"""What Sentry has not been told of when a process ends, it is told then; one that never answers holds nothing up."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
import sqlalchemy as sa

from config import ROOT
from receiver.storage.tables import is_dead, jobs
from tests.cli.conftest import Keep
from tests.slow_sentry import Sentry, sentry
from tests.waiting import PATIENCE_SECONDS, until

DISCARDS = "from receiver import Discard, on\n@on('*')\ndef no(event):\n    raise Discard('no')\n"
BROKEN = """
from wsgi import app
@app.get("/broken")
def broken():
    raise RuntimeError
"""


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
            assert httpx.get(f"{base}/broken", trust_env=False, timeout=PATIENCE_SECONDS).status_code == 500
        web.terminate()
        until(lambda: web.poll() is not None, "web ends")
        assert web.returncode == 0
        assert len(server.heard) == 4
