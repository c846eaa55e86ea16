"""After web and worker were told to stop, the one file of SQLite has everything: a copy of it alone is a backup."""

import os
import shutil
import signal
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from receiver.sources import samples
from tests.acceptance.service import Service
from tests.installation import KEYS
from tests.waiting import PATIENCE_SECONDS, until

SENT = 40


def kept_in(path: Path) -> tuple[int, int]:
    """Count the events, and the attempts that are written down, in a copy of the file without those beside it."""
    copy = path.with_name("copy.db")
    shutil.copyfile(path, copy)
    connection = sqlite3.connect(copy)
    counts = "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM attempts)"
    events, attempts = connection.execute(counts).fetchone()
    connection.close()
    return events, attempts


@pytest.mark.parametrize("line", ["", "python wsgi.py run"], ids=["web and worker", "run"])
def test_when_all_have_ended_the_file_alone_has_everything(service: Service, line: str) -> None:
    service.environ["WEB_CONCURRENCY"] = "2"
    processes = [service.start(line, "run.log")] if line else [service.web(), service.worker()]
    until(service.answers, "web answers")
    for number in range(SENT):
        body, headers = samples.forge("box", "FILE.UPLOADED", KEYS["box"], at=datetime.now(UTC), number=number)
        assert service.post("box", body, headers).status_code == 200
    log = "run.log" if line else "worker.log"
    until(lambda: service.log(log).count("note_upload") >= SENT, "every job has ended")
    for process in processes:
        os.kill(process.pid, signal.SIGTERM)
    for process in processes:
        process.wait(PATIENCE_SECONDS)
    events, attempts = kept_in(service.folder / "signalbox.db")
    assert (events, attempts >= SENT) == (SENT, True)
