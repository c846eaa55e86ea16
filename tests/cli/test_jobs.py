"""`signalbox jobs`: which handler has which event, repeated and discarded."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from flask import Flask
from flask.cli import ScriptInfo

from receiver.cli import cli
from receiver.events import Event
from receiver.jobs import store as jobs
from receiver.jobs.routing import Router
from receiver.jobs.store import Routing, bury
from receiver.jobs.worker import Worker
from tests import listings
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
    return [listings.show_job(engine, number)["state"] for number in (1, 2)]


def test_jobs_are_listed_a_line_each(signalbox: Signalbox) -> None:
    lines = [line.split()[:2] for line in signalbox("jobs", "list").stdout.splitlines()]
    assert lines == [["JOB", "STATE"], ["2", "done"], ["1", "waiting"]]


def test_options_narrow_a_listing_down(signalbox: Signalbox, engine: sa.Engine) -> None:
    page = listings.list_jobs(engine, state="done")
    assert json.loads(signalbox("jobs", "list", "--state", "done", "--json").stdout) == page
    (item,) = page["items"]
    assert json.loads(signalbox("jobs", "list", "--handler", item["handler"], "--json").stdout) == page
    assert len(json.loads(signalbox("jobs", "list", "--event", item["event"][-8:], "--json").stdout)["items"]) == 2


def test_a_job_is_shown_with_its_attempts_and_event(signalbox: Signalbox, engine: sa.Engine) -> None:
    shown = signalbox("jobs", "show", "1").stdout
    assert "ValueError: no such folder" in shown
    assert listings.show_job(engine, 1)["event"] in shown


def test_the_reason_of_a_failure_is_the_first_line_of_the_message(
    signalbox: Signalbox, keep: Keep, engine: sa.Engine, router: Router
) -> None:
    @router.on("filestack:*")
    def asks(event: Event) -> None:
        try:
            raise KeyError("id")
        except KeyError as error:
            raise ValueError("429 Too Many Requests\nSee https://acme.example/429") from error

    event_id = keep("filestack:fp.upload")
    Worker(engine, router).drain()
    for shown in (signalbox("jobs", "show", "3").stdout, signalbox("events", "show", event_id).stdout):
        lines = [line.strip() for line in shown.splitlines()]
        at = next(number for number, line in enumerate(lines) if line.endswith("ValueError: 429 Too Many Requests"))
        assert lines[at + 1 : at + 3] == ["See https://acme.example/429", "caused by KeyError: 'id'"]
    listed = signalbox("jobs", "list").stdout
    assert "ValueError: 429" in listed
    assert "acme.example" not in listed


def test_a_job_that_runs_says_for_how_long(signalbox: Signalbox, keep: Keep, engine: sa.Engine) -> None:
    began = datetime.now(UTC) - timedelta(minutes=8)
    jobs.route(engine, [Routing(keep(number=2), ["handlers.slow.search"])], began)
    jobs.claim(engine, worker="w", limit=1, now=began, lease=timedelta(hours=1))
    assert "for 8 min" in signalbox("jobs", "list", "--state", "running").stdout
    assert "for 8 min, since " in signalbox("jobs", "show", "3").stdout


def test_a_discarded_job_is_dead_with_its_reason(signalbox: Signalbox, engine: sa.Engine) -> None:
    result = signalbox("jobs", "discard", "1", "--reason", "the folder is gone")
    assert (result.exit_code, result.stdout) == (0, "job 1 is discarded\n")
    assert listings.show_job(engine, 1)["reason"] == "the folder is gone"
    assert "the folder is gone; once more: signalbox jobs replay 1" in signalbox("jobs", "show", "1").stdout


def test_what_is_done_cannot_be_discarded_and_that_is_exit_1(signalbox: Signalbox, engine: sa.Engine) -> None:
    result = signalbox("jobs", "discard", "1", "2")
    assert (result.exit_code, result.stderr) == (1, "job 2 is done or discarded already\n")
    assert states(engine) == ["dead", "done"]


def test_replayed_jobs_wait_again(signalbox: Signalbox, engine: sa.Engine) -> None:
    result = signalbox("jobs", "replay", "1", "2")
    assert (result.exit_code, result.stdout) == (0, "job 1 runs again\njob 2 runs again\n")
    assert states(engine) == ["waiting", "waiting"]


@pytest.fixture
def dead(engine: sa.Engine) -> str:
    """Bury job 1, and give the name of its handler."""
    bury(engine, 1, reason="no such folder")
    return str(listings.show_job(engine, 1)["handler"])


def answering(app: Flask, answer: str, *words: str) -> Result:
    return CliRunner().invoke(cli, words, obj=ScriptInfo(create_app=lambda: app), input=answer)


def test_dead_letters_are_replayed_by_their_handler_once_somebody_says_yes(
    app: Flask, engine: sa.Engine, dead: str
) -> None:
    result = answering(app, "n\n", "jobs", "replay", "--handler", dead)
    assert (result.exit_code, states(engine)) == (1, ["dead", "done"])
    assert f"Replay 1 dead letter of {dead}?" in result.stderr
    result = answering(app, "y\n", "jobs", "replay", "--handler", dead)
    assert (result.exit_code, result.stdout, states(engine)) == (0, "1 job runs again\n", ["waiting", "done"])


@pytest.mark.parametrize("which", [("--all",), ("--type", "box:FILE.*"), ("--since", "2d"), ("--until", "2050-01-01")])
def test_dead_letters_are_replayed_by_type_and_time_or_all_and_what_is_done_is_not(
    signalbox: Signalbox, engine: sa.Engine, dead: str, which: tuple[str, ...]
) -> None:
    assert json.loads(signalbox("jobs", "replay", *which, "--yes", "--json").stdout) == {"jobs": 1}
    assert states(engine) == ["waiting", "done"]


def test_where_no_dead_letter_is_like_that_nobody_is_asked(signalbox: Signalbox, dead: str) -> None:
    result = signalbox("jobs", "replay", "--handler", dead, "--until", "2d")
    assert (result.exit_code, result.stderr) == (0, "No dead letter is like that.\n")
    assert json.loads(signalbox("jobs", "replay", "--until", "2d", "--json").stdout) == {"jobs": 0}


def test_a_handler_that_nobody_knows_is_not_one_without_dead_letters(signalbox: Signalbox) -> None:
    result = signalbox("jobs", "replay", "--handler", "handlers.nothing.like_this", "--yes")
    assert (result.exit_code, "no handler is named handlers.nothing.like_this" in result.stderr) == (1, True)


@pytest.mark.parametrize("which", [(), ("1", "--all"), ("--all", "--since", "2d"), ("1", "--type", "box:*")])
def test_what_to_replay_is_said_in_one_way(signalbox: Signalbox, which: tuple[str, ...]) -> None:
    result = signalbox("jobs", "replay", *which)
    assert (result.exit_code, "Say one of these: ids, or filters" in result.stderr) == (2, True)


def test_json_is_not_asked_and_tells_how_many_of_the_named_run_again(signalbox: Signalbox, dead: str) -> None:
    assert signalbox("jobs", "replay", "--all", "--json").exit_code == 2
    assert json.loads(signalbox("jobs", "replay", "1", "2", "--json").stdout) == {"jobs": 2}


def test_discarding_what_runs_says_that_the_run_goes_on(signalbox: Signalbox, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE jobs SET state = 'running' WHERE id = 1")
    result = signalbox("jobs", "discard", "1")
    assert (result.exit_code, result.stdout) == (0, "job 1 is discarded\n")
    assert result.stderr == "job 1 was running: what it does now goes on to its end, and counts for nothing.\n"


@pytest.mark.parametrize("given", ["abc", "0", "-1", "1.5"])
def test_what_is_no_number_of_a_job_is_told_where_they_are(signalbox: Signalbox, given: str) -> None:
    result = signalbox("jobs", "show", "--", given)
    assert (result.exit_code, f"'{given}' is not the number of a job" in result.stderr) == (2, True)


def test_a_job_that_is_not_there_is_exit_1(signalbox: Signalbox) -> None:
    result = signalbox("jobs", "replay", "99")
    assert (result.exit_code, result.stderr) == (1, "Error: no job has the id 99\n")


def test_a_job_without_a_time_says_for_what_it_waits(signalbox: Signalbox, engine: sa.Engine, keep: Keep) -> None:
    now = datetime.now(UTC)
    jobs.route(engine, [Routing(keep(), ["old.gone", "old.paused"])], now)
    jobs.pause_handler(engine, "old.paused", now)
    Worker(engine, Router()).drain()
    listed, shown = signalbox("jobs", "list").stdout, signalbox("events", "show", "last").stdout
    for said in ("waits: no running worker has loaded old.gone", "waits: old.paused is paused"):
        assert said in listed
        assert said in shown
    (gone,) = listings.list_jobs(engine, handler="old.gone")["items"]
    assert "waits: no running worker has loaded old.gone" in signalbox("jobs", "show", str(gone["id"])).stdout


def test_a_dead_letter_is_discarded_kept_with_when_and_why_and_brought_back(
    signalbox: Signalbox, engine: sa.Engine, dead: str
) -> None:
    assert signalbox("jobs", "discard", "1", "--reason", "the folder is gone").stdout == "job 1 is discarded\n"
    assert signalbox("jobs", "list", "--state", "dead").stderr == "No jobs.\n"
    assert signalbox("jobs", "list", "--state", "discarded").stdout.splitlines()[1].split()[:2] == ["1", "discarded"]
    for words in (("jobs", "show", "1"), ("events", "show", "last")):
        assert "the folder is gone, at 20" in signalbox(*words).stdout
    again = signalbox("jobs", "discard", "1")
    assert (again.exit_code, again.stderr) == (1, "job 1 is done or discarded already\n")
    assert signalbox("jobs", "discard", "1", "--undo").stdout == "job 1 is a dead letter again\n"
    assert len(listings.list_jobs(engine, state="dead")["items"]) == 1


def test_dead_letters_are_discarded_by_filters_once_somebody_says_yes(
    app: Flask, signalbox: Signalbox, engine: sa.Engine, dead: str
) -> None:
    asked = answering(app, "n\n", "jobs", "discard", "--handler", dead)
    assert (asked.exit_code, f"Discard 1 dead letter of {dead}?" in asked.stderr) == (1, True)
    assert len(listings.list_jobs(engine, state="dead")["items"]) == 1
    assert signalbox("jobs", "discard", "--all", "--json").exit_code == 2
    assert json.loads(signalbox("jobs", "discard", "--all", "--yes", "--json").stdout) == {"jobs": 1}
    assert listings.list_jobs(engine, state="dead")["items"] == []
    assert signalbox("jobs", "discard", "--all").stderr == "No dead letter is like that.\n"


@pytest.mark.parametrize("which", [(), ("1", "--all"), ("--all", "--since", "2d"), ("--all", "--undo")])
def test_what_to_discard_is_said_in_one_way(signalbox: Signalbox, which: tuple[str, ...]) -> None:
    assert signalbox("jobs", "discard", *which).exit_code == 2
