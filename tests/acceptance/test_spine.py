"""The whole way of a delivery with real processes: sent, kept, routed, handled, seen; and what a kill leaves."""

import json
import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import sqlalchemy as sa

from receiver.sources import samples
from receiver.storage.tables import jobs
from tests.acceptance.service import Service
from tests.installation import KEYS
from tests.waiting import PATIENCE_SECONDS, until


def events(service: Service) -> list[dict[str, Any]]:
    return list(json.loads(service.signalbox("events list --json --limit 200"))["items"])


def sent(service: Service, what: str) -> dict[str, Any]:
    """Send a sample by the command, and give what the receiver answered."""
    (item,) = json.loads(service.signalbox(f"send {what} --json"))["items"]
    assert item["status"] == 200
    return dict(item["answer"])


def shown(service: Service, event_id: str) -> dict[str, Any]:
    return dict(json.loads(service.signalbox(f"events show {event_id} --json")))


def settled(service: Service, event_id: str) -> dict[str, Any] | None:
    event = shown(service, event_id)
    settled = event["state"] == "routed" and all(job["state"] in ("done", "dead") for job in event["jobs"])
    return event if settled else None


@pytest.mark.parametrize(
    ("source", "name"),
    [("box", "FILE.UPLOADED"), ("filestack", "fp.upload"), ("filestack", "fp.export"), ("filestack", "fp.conversion")],
)
def test_what_is_sent_is_listed_shown_handled_and_in_the_journal(service: Service, source: str, name: str) -> None:
    service.web()
    service.worker()
    answer = sent(service, f"{source} {name}")
    assert answer["status"] == "accepted"
    event = until(lambda: settled(service, answer["event"]), "all jobs are done")
    assert {job["state"] for job in event["jobs"]} == {"done"}
    assert {job["handler"] for job in event["jobs"]} == {"handlers.log.log_event", _journal(source)}
    assert [one["id"] for one in events(service)] == [answer["event"]]
    journal = [json.loads(line) for line in service.log("journal.jsonl").splitlines()]
    assert [line["event"] for line in journal] == [answer["event"]]


def _journal(source: str) -> str:
    return {"box": "handlers.box_journal.note_upload", "filestack": "handlers.filestack_journal.note_finished"}[source]


FOUR = """
import os
import time
from receiver import Discard, on

@on("*")
def raises(event):
    raise ValueError("no such folder")

@on("*")
def sleeps(event):
    while not os.path.exists(os.environ["WAKE"]):
        time.sleep(0.02)

@on("*")
def discards(event):
    raise Discard("not one of ours")

@on("*")
def fine(event):
    pass
"""


@pytest.fixture
def wake(service: Service) -> Path:
    """The file for which the handler that sleeps waits."""
    service.handlers({"four": FOUR})
    service.environ["WAKE"] = str(service.folder / "wake")
    return service.folder / "wake"


def test_one_raises_one_sleeps_past_its_lease_one_discards_one_is_fine(
    service: Service, engine: sa.Engine, wake: Path
) -> None:
    service.environ["LEASE_SECONDS"] = "3"
    service.web()
    service.worker()
    service.worker()
    until(lambda: service.log("worker.log").count("state=started") == 2, "both work")
    answer = sent(service, "box FILE.UPLOADED")

    def histories() -> dict[str, tuple[str, list[str]]]:
        return {
            job["handler"].rpartition(".")[2]: (job["state"], [attempt["outcome"] for attempt in job["attempts"]])
            for job in shown(service, answer["event"])["jobs"]
            if job["handler"].startswith("dropped.")
        }

    def leased_until() -> datetime | None:
        of_the_sleeper = sa.select(jobs.c.due_at).where(jobs.c.handler.endswith(".sleeps"), jobs.c.state == "running")
        with engine.connect() as connection:
            return connection.execute(of_the_sleeper).scalar()

    first = until(leased_until, "the handler that sleeps has begun")
    until(lambda: (leased_until() or first) > first + timedelta(seconds=3), "its first lease is over, and renewed")
    wake.touch()
    until(lambda: histories()["sleeps"][0] == "done", "the handler that sleeps is done")
    found = histories()
    assert set(found["raises"][1]) == {"failed"}
    assert found["raises"][0] in ("waiting", "running")
    assert found["sleeps"] == ("done", ["done"])
    assert found["discards"] == ("dead", ["discarded"])
    assert found["fine"] == ("done", ["done"])


APPENDS = """
import os
import time
from receiver import on

@on("*")
def append(event):
    with open(os.environ["IDS"], "ab", buffering=0) as file:
        file.write(event.id.encode() + b"\\n")
    # A test that is slow to kill must not come too late.
    while os.path.getsize(os.environ["IDS"]) > int(os.environ.get("HELD_AT_BYTES", "1000000")):
        time.sleep(0.02)
"""


def test_a_worker_killed_in_the_middle_of_500_events_loses_none(service: Service) -> None:
    ids = service.folder / "ids"
    service.environ |= {"LEASE_SECONDS": "3", "IDS": str(ids), "HELD_AT_BYTES": str(250 * 27)}
    service.handlers({"appends": APPENDS})
    service.web()
    items = json.loads(service.signalbox("send box FILE.UPLOADED --count 500 --json"))["items"]
    accepted = {item["answer"]["event"] for item in items}
    assert len(accepted) == 500

    def written() -> list[str]:
        return ids.read_text().split() if ids.exists() else []

    worker = service.worker()
    until(lambda: len(written()) > 50, "the worker is in the middle of it")
    service.kill(worker)
    assert 50 < len(written()) < 500, "the worker was not in the middle of it"
    del service.environ["HELD_AT_BYTES"]
    left = json.loads(service.signalbox("jobs list --state running --limit 500 --json"))["items"]
    service.worker()
    until(lambda: set(written()) >= accepted, "every id is in the file")
    until(lambda: not json.loads(service.signalbox("jobs list --state waiting --json"))["items"], "nothing waits")
    until(lambda: not json.loads(service.signalbox("jobs list --state running --json"))["items"], "nothing runs")
    assert json.loads(service.signalbox("jobs list --state dead --json"))["items"] == []
    times = Counter(written())
    repeated = {event_id for event_id in times if times[event_id] > 1}
    assert repeated <= {job["event"] for job in left}, "only what was running may be repeated"
    assert max(times.values()) <= 2, "and that once"


def test_a_worker_told_to_stop_finishes_what_runs_and_exits_cleanly(service: Service, wake: Path) -> None:
    service.web()
    worker = service.worker()
    answer = sent(service, "box FILE.UPLOADED")

    def running() -> list[str]:
        # Not by the command, which takes a second to start.
        event = httpx.get(
            f"{service.url}/api/events/{answer['event']}", trust_env=False, timeout=PATIENCE_SECONDS
        ).json()
        return [job["handler"] for job in event["jobs"] if job["state"] == "running"]

    until(lambda: "dropped.four.sleeps" in running(), "the slow handler runs")
    worker.send_signal(signal.SIGTERM)
    wake.touch()
    assert worker.wait(PATIENCE_SECONDS) == 0
    assert running() == []


def test_a_broken_handler_module_is_shown_and_the_others_work(service: Service) -> None:
    service.handlers({"broken": "import nothing_of_this_name", "appends": APPENDS})
    service.environ["IDS"] = str(service.folder / "ids")
    service.web()
    service.worker()
    service.signalbox("send box FILE.UPLOADED")
    until((service.folder / "ids").exists, "the other handler has run")
    assert "nothing_of_this_name" in service.log("worker.log")
    assert "dropped.broken" in service.signalbox("handlers list")


def test_a_kill_between_commit_and_answer_leaves_an_event_that_the_retry_only_counts(service: Service) -> None:
    web = service.web()
    body, headers = samples.forge("box", "FILE.UPLOADED", KEYS["box"], at=datetime.now(UTC), number=1)
    first = service.post("box", body, headers).json()
    service.kill(web)
    service.web()
    assert service.post("box", body, headers).json() == {"status": "duplicate", "event": first["event"]}
    assert [one["deliveries"] for one in events(service)] == [2]


def test_a_service_without_tables_keeps_nothing_and_says_come_again(service: Service) -> None:
    service.environ["DATABASE_URL"] = f"sqlite:///{service.folder}/other.db"
    service.web()
    body, headers = samples.forge("box", "FILE.UPLOADED", KEYS["box"], at=datetime.now(UTC), number=1)
    assert service.post("box", body, headers).status_code == 503
    assert httpx.get(f"{service.url}/readyz", trust_env=False, timeout=PATIENCE_SECONDS).status_code == 503
    worker = service.run("python wsgi.py worker", check=False)
    assert (worker.returncode, "signalbox db upgrade" in worker.stderr) == (1, True)
