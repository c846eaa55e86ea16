"""A part of the fault suite, small enough for every change: processes are killed under load, and nothing is lost."""

import re
import subprocess
import sys

import pytest

from tests.acceptance.service import ROOT
from tests.waiting import PATIENCE_SECONDS

WEB, WORKER, REDIS = "kill -9 of a gunicorn worker", "kill -9 of the worker", "kill -9 of Redis, its data lost"
CELERY, POSTGRES = "kill -9 of a process of Celery's pool", "kill -9 of PostgreSQL, back after 2 s"
SHAPES = [("SQLite", [WEB, WORKER]), ("PostgreSQL and Celery", [CELERY, REDIS, POSTGRES])]
ROW = re.compile(r"^\| ([^|]+) \| ([\d,]+) \|.* (\d+) \|$", re.MULTILINE)
TOGETHER = "all of these, and the time between them"
RATE = "5"  # events a second: few, for a machine that has other tests to run meanwhile


@pytest.mark.parametrize(("shape", "faults"), SHAPES, ids=[shape for shape, _faults in SHAPES])
def test_what_is_killed_under_load_loses_nothing(shape: str, faults: list[str]) -> None:
    line = [sys.executable, "-m", "bench.faults", "--quick", "--rate", RATE, "--on", shape, "--markdown"]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as suite:
        try:
            output, told = suite.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            suite.terminate()  # which ends all that it started
            pytest.fail(f"not through in {PATIENCE_SECONDS:g} s: {suite.communicate()}")
    rows = {name: (int(events.replace(",", "")), lost) for name, events, lost in ROW.findall(output)}
    assert list(rows) == [*faults, TOGETHER], told
    assert all(events > 0 and lost == "0" for events, lost in rows.values()), told
    assert suite.returncode == 0, told
