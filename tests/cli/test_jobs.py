"""`signalbox jobs`: which handler has which event, repeated and discarded."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from receiver import jobs, listing
from receiver.events import Event
from receiver.jobs import Routing
from receiver.routing import Router
from receiver.worker import Worker
from tests.cli.conftest import Keep, Signalbox


@pytest.fixture(autouse=True)
def two_jobs(keep: Keep, engine: sa.Engine, router: Router) -> None:
    """Job 1 waits for its second attempt, job 2 is done."""

    @router.on("box:*")
    def first_stumbles(event: Event) -> None:
        raise ValueError("no such folder")

    @router.on("box:*")
    def then_succeeds(event: Event) -> None: ...

    keep()
    Worker(engine, router).drain()


def states(engine: sa.Engine) -> list[str]:
    return [listing.show_job(engine, number)["state"] for number in (1, 2)]


def test_jobs_are_listed_a_line_each(signalbox: Signalbox) -> None:
    lines = [line.split()[:2] for line in signalbox("jobs", "list").stdout.splitlines()]
    assert lines == [["JOB", "STATE"], ["2", "done"], ["1", "waiting"]]


def test_options_narrow_a_listing_down(signalbox: Signalbox, engine: sa.Engine) -> None:
    page = listing.list_jobs(engine, state="done")
    assert json.loads(signalbox("jobs", "list", "--state", "done", "--json").stdout) == page
    (item,) = page["items"]
    assert json.loads(signalbox("jobs", "list", "--handler", item["handler"], "--json").stdout) == page
    assert len(json.loads(signalbox("jobs", "list", "--event", item["event"][-8:], "--json").stdout)["items"]) == 2


def test_a_job_is_shown_with_its_attempts_and_event(signalbox: Signalbox, engine: sa.Engine) -> None:
    shown = signalbox("jobs", "show", "1").stdout
    assert "ValueError: no such folder" in shown
    assert listing.show_job(engine, 1)["event"] in shown


def test_a_job_that_runs_says_for_how_long(signalbox: Signalbox, keep: Keep, engine: sa.Engine) -> None:
    began = datetime.now(UTC) - timedelta(minutes=8)
    jobs.route(engine, [Routing(keep(number=2), ["handlers.slow.search"])], began)
    jobs.claim(engine, worker="w", limit=1, now=began, lease=timedelta(hours=1))
    assert "for 8 min" in signalbox("jobs", "list", "--state", "running").stdout
    assert "for 8 min, since " in signalbox("jobs", "show", "3").stdout


def test_a_discarded_job_is_dead_with_its_reason(signalbox: Signalbox, engine: sa.Engine) -> None:
    result = signalbox("jobs", "discard", "1", "--reason", "the folder is gone")
    assert (result.exit_code, result.stdout) == (0, "job 1 is discarded\n")
    assert listing.show_job(engine, 1)["reason"] == "the folder is gone"
    assert "the folder is gone; once more: signalbox jobs replay 1" in signalbox("jobs", "show", "1").stdout


def test_what_is_done_cannot_be_discarded_and_that_is_exit_1(signalbox: Signalbox, engine: sa.Engine) -> None:
    result = signalbox("jobs", "discard", "1", "2")
    assert (result.exit_code, result.stderr) == (1, "job 2 is done or dead already\n")
    assert states(engine) == ["dead", "done"]


def test_replayed_jobs_wait_again(signalbox: Signalbox, engine: sa.Engine) -> None:
    result = signalbox("jobs", "replay", "1", "2")
    assert (result.exit_code, result.stdout) == (0, "job 1 runs again\njob 2 runs again\n")
    assert states(engine) == ["waiting", "waiting"]


def test_a_job_that_is_not_there_is_exit_1(signalbox: Signalbox) -> None:
    result = signalbox("jobs", "replay", "99")
    assert (result.exit_code, result.stderr) == (1, "Error: no job has the id 99\n")
