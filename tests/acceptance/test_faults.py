"""The bounded part of `make faults`: five kills under load, on SQLite, and on PostgreSQL with Celery."""

import os
import subprocess
import sys

from tests.acceptance.service import ROOT

FAULTS = [
    "kill -9 of a gunicorn worker",
    "kill -9 of the worker",
    "kill -9 of a process of Celery's pool",
    "kill -9 of Redis, its data lost",
    "kill -9 of PostgreSQL, back after 2 s",
]


def test_nothing_is_lost_whatever_is_killed() -> None:
    command = [sys.executable, "-m", "bench.faults", "--quick", "--seed", "1"]
    environ = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "nothing was lost" in done.stderr
    assert [fault for fault in FAULTS if fault not in done.stdout] == []
