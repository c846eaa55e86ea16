"""`signalbox handlers test`: one run of one handler, with its outcome, and nothing written about it."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from receiver.cli import installation
from receiver.errors import Discard, Retry
from receiver.events import Event
from receiver.jobs.routing import Router
from receiver.jobs.worker import Worker
from tests import listings
from tests.cli.conftest import Keep, Signalbox

NAME = f"{__name__}.index_file"
came: list[Event] = []
outcomes: list[BaseException] = []


def index_file(event: Event) -> None:
    print("indexing")
    came.append(event)
    for error in outcomes:
        raise error


@pytest.fixture(autouse=True)
def connected(monkeypatch: pytest.MonkeyPatch) -> Iterator[Router]:
    """A router of this test's own, in which the function above is a handler."""
    router = Router()
    router.on("box:FILE.*")(index_file)
    monkeypatch.setattr(installation, "router", router)
    yield router
    came.clear()
    outcomes.clear()


def test_a_kept_event_is_given_to_the_handler_and_nothing_is_written(
    signalbox: Signalbox, engine: sa.Engine, keep: Keep
) -> None:
    event_id = keep()
    result = signalbox("handlers", "test", NAME, "last")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"done  {event_id}  box:FILE.UPLOADED  ")
    assert "indexing" in result.stderr
    assert [event.id for event in came] == [event_id]
    assert listings.show_event(engine, event_id)["jobs"] == []


def test_without_an_event_it_gets_a_sample_of_what_it_wants_with_changes(signalbox: Signalbox) -> None:
    assert signalbox("handlers", "test", NAME, "--set", "source.name=a.pdf").exit_code == 0
    assert came[0].type.startswith("box:FILE.")
    assert came[0].payload["source"]["name"] == "a.pdf"


def test_a_sample_of_something_else_is_given_all_the_same_and_that_is_said(signalbox: Signalbox) -> None:
    result = signalbox("handlers", "test", NAME, "--sample", "filestack:fp.upload")
    assert f"{NAME} does not want filestack:fp.upload: no worker would give it this." in result.stderr
    assert came[0].type == "filestack:fp.upload"


@pytest.mark.parametrize(
    ("error", "outcome", "words"),
    [
        (ValueError("no such folder"), "failed", "ValueError: no such folder"),
        (Discard("not ours"), "discarded", "not ours"),
        (Retry(after=timedelta(minutes=5)), "retry", "again in 5 min"),
        (SystemExit(3), "failed", "SystemExit: 3"),
    ],
)
def test_how_it_ended_is_said_with_its_words_and_is_the_exit_status(
    signalbox: Signalbox, error: BaseException, outcome: str, words: str
) -> None:
    outcomes.append(error)
    result = signalbox("handlers", "test", NAME, "--json")
    said = json.loads(result.stdout)
    assert (result.exit_code, said["outcome"]) == (1, outcome)
    assert said["error"].rstrip().endswith(words)
    assert said["milliseconds"] >= 0


def test_a_traceback_begins_in_the_handler(signalbox: Signalbox) -> None:
    outcomes.append(ValueError("no such folder"))
    lines = signalbox("handlers", "test", NAME).stdout.splitlines()
    assert lines[1] == "  Traceback (most recent call last):"
    assert "test_trial.py" in lines[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["last", "--sample", "box:FILE.UPLOADED"], "not both"),
        (["--sample", "nothing"], "'nothing' is no type"),
        (["--set", "source"], "write PATH=VALUE"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(signalbox: Signalbox, words: list[str], said: str) -> None:
    result = signalbox("handlers", "test", NAME, *words)
    assert (result.exit_code, said in result.stderr) == (2, True)


def test_a_handler_that_is_not_there_gets_a_hint(signalbox: Signalbox) -> None:
    result = signalbox("handlers", "test", NAME.replace("index", "indx"))
    assert result.exit_code == 1
    assert f"did you mean {NAME}" in result.stderr


async def later(event: Event) -> None: ...


def produce(event: Event) -> Iterator[None]:
    yield


async def stream(event: Event) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("give", [later, produce, stream])
def test_a_handler_that_returns_what_is_still_to_be_run_has_failed_as_in_a_worker(
    signalbox: Signalbox, engine: sa.Engine, keep: Keep, connected: Router, give: Callable[[Event], object]
) -> None:
    router = connected

    @router.on("*")
    def passes_on(event: Event) -> object:
        return give(event)

    name = next(one.name for one in router.handlers() if one.name.endswith(".passes_on"))
    event_id = keep()
    result = signalbox("handlers", "test", name, "last", "--json")
    Worker(engine, router).drain()
    (job,) = [one for one in listings.show_event(engine, event_id)["jobs"] if one["handler"] == name]
    tried = json.loads(result.stdout)
    assert (result.exit_code, tried["outcome"]) == (1, "failed")
    assert (job["attempts"][0]["outcome"], job["attempts"][0]["error"]) == ("failed", tried["error"])


def test_a_handler_that_cannot_run_is_refused_as_in_a_worker(
    signalbox: Signalbox, app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = Router()
    monkeypatch.setattr("receiver.on", fresh.on)
    monkeypatch.setattr(installation, "router", fresh)
    (tmp_path / "cannot_run.py").write_text("from receiver import on\n\n@on('*')\nasync def later(event): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    app.config["HANDLERS"] = ("cannot_run",)
    result = signalbox("handlers", "test", "cannot_run.later")
    assert result.exit_code == 1
    assert "cannot_run does not import: receiver.errors.HandlerError: cannot_run.later is async" in result.stderr
