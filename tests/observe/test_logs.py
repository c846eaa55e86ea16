"""One line for each delivery and attempt, and nothing in it that came from outside."""

import io
import json
import re
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from structlog.testing import capture_logs

from receiver.app import create_app
from receiver.errors import Discard
from receiver.events import Event
from receiver.inbox.rows import Inbox
from receiver.jobs.routing import Router
from receiver.jobs.worker import Worker
from receiver.observe import logs
from receiver.observe.log_writer import Lines
from receiver.sources import samples
from tests.installation import KEYS, Clock, arrive, settings
from tests.waiting import until


def forge(name: str = "FILE.UPLOADED") -> tuple[bytes, list[tuple[str, str]]]:
    return samples.forge("box", name, KEYS["box"], at=datetime.now(UTC), number=1)


def written(capsys: pytest.CaptureFixture[str]) -> list[str]:
    logs.LINES.write_out()
    return capsys.readouterr().err.splitlines()


def test_a_delivery_is_one_line_with_its_event_its_verdict_and_its_time(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client = create_app(settings(database_url)).test_client()
    body, headers = forge()
    before = datetime.now(UTC)
    event_id = client.post("/hooks/box", data=body, headers=headers).get_json()["event"]
    (line,) = map(json.loads, written(capsys))
    assert before <= datetime.fromisoformat(line.pop("timestamp")) <= datetime.now(UTC)
    assert line.pop("ms") >= 0
    assert line == {
        "event": "delivery",
        "level": "info",
        "verdict": "accepted",
        "event_id": event_id,
        "source": "box",
        "type": "box:FILE.UPLOADED",
        "verified_by": "primary",
    }


def test_a_duplicate_is_a_line_of_its_own(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    client = create_app(settings(database_url)).test_client()
    body, headers = forge()
    for _ in range(2):
        client.post("/hooks/box", data=body, headers=headers)
    assert [json.loads(line)["verdict"] for line in written(capsys)] == ["accepted", "duplicate"]


def test_a_level_above_info_leaves_out_what_went_well(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    client = create_app(settings(database_url, LOG_LEVEL="warning")).test_client()
    body, headers = forge()
    for sent in (body, samples.tampered(body)):
        client.post("/hooks/box", data=sent, headers=headers)
    assert [json.loads(line)["verdict"] for line in written(capsys)] == ["rejected"]


def test_lines_for_people_begin_with_the_time_of_day(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    client = create_app(settings(database_url, LOG_FORMAT="console")).test_client()
    body, headers = forge()
    client.post("/hooks/box", data=body, headers=headers)
    (line,) = written(capsys)
    assert re.match(r"\d\d:\d\d:\d\d \[info\] *delivery ", re.sub(r"\x1b\[[0-9;]*m", "", line))


def test_a_stream_that_was_closed_takes_no_later_line_down() -> None:
    lines, closed, later = Lines(), io.StringIO(), io.StringIO()
    lines.turn_to(closed, str)
    closed.close()
    lines.info(event="lost")
    until(lambda: not lines._waiting, "the line is taken")
    lines.turn_to(later, str)
    lines.info(event="told")
    until(lambda: "told" in later.getvalue(), "the line is written")


def test_what_waits_for_a_stream_that_was_closed_stops_nobody_from_turning_to_another() -> None:
    lines, closed, later = Lines(), io.StringIO(), io.StringIO()
    lines.turn_to(closed, str)
    lines.info(event="lost")
    closed.close()
    lines.turn_to(later, str)
    lines.info(event="told")
    lines.write_out()
    assert "lost" not in later.getvalue()
    until(lambda: "told" in later.getvalue(), "the line is written")


def test_where_there_is_no_standard_error_lines_are_let_go() -> None:
    lines = Lines()
    lines.turn_to(None, str)
    lines.info(event="lost")
    lines.write_out()
    assert not lines._waiting


def test_a_refusal_is_one_line_with_its_reason(client: FlaskClient) -> None:
    with capture_logs() as lines:
        client.post("/hooks/box", data=b"{}")
    assert [(line["verdict"], line["reason"]) for line in lines] == [("rejected", "signature_missing")]


def test_no_line_holds_a_body_a_header_or_a_key(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    client = create_app(settings(database_url)).test_client()
    body, headers = forge()
    for sent in (body, samples.tampered(body), b"MARK"):
        client.post("/hooks/box", data=sent, headers=[*headers, ("X-Mark", "MARK")])
    lines = written(capsys)
    assert len(lines) == 3
    secrets = [
        "MARK",
        *KEYS["box"].values(),
        *(value for name, value in headers if "SIGNATURE" in name and len(value) > 20),
    ]
    assert [secret for secret in secrets if secret in str(lines)] == []


def test_lines_for_programs_are_json(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    create_app(settings(database_url)).test_client().post("/hooks/box", data=b"{}")
    (line,) = map(json.loads, written(capsys))
    assert (line["verdict"], line["level"]) == ("rejected", "warning")


def test_a_dead_job_is_one_line_that_names_the_command_to_run_it_again(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    @router.on("*", attempts=1)
    def fails(event: Event) -> None:
        raise ValueError("no such index")

    logs.configure()
    arrive(inbox, clock)
    with capture_logs() as lines:
        Worker(engine, router, clock=clock).drain()
    line = next(line for line in lines if line["event"] == "dead job")
    assert (line["log_level"], line["replay"]) == ("error", f"signalbox jobs replay {line['job_id']}")
    assert line["error"] == "ValueError: no such index"


class Odd(Exception):
    """Says more in a line of its own."""

    def __init__(self) -> None:
        super().__init__("first line\nall that came")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError(""), "ValueError"),
        (ValueError("no such index"), "ValueError: no such index"),
        (Odd(), "tests.observe.test_logs.Odd: first line"),
        (Discard("not ours\nfor good"), "not ours"),
    ],
)
def test_of_an_error_the_name_and_the_first_line_are_logged(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock, error: Exception, line: str
) -> None:
    @router.on("*")
    def fails(event: Event) -> None:
        raise error

    logs.configure()
    arrive(inbox, clock)
    with capture_logs() as lines:
        Worker(engine, router, clock=clock).drain()
    assert next(one["error"] for one in lines if one["event"] == "attempt") == line
