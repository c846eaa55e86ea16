"""Every command that makes requests, against each far end of the table: an exit code and a line, no traceback."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask

from config import ROOT
from receiver.cli import screen
from receiver.cli.listen import forwarder
from receiver.cli.listen.cursor import Cursor, held
from receiver.cli.listen.forwarder import forward
from receiver.cli.listen.remote import Far
from receiver.cli.sandbox import client
from receiver.errors import SignalboxError
from receiver.outbound import Client
from tests.cli.conftest import Signalbox
from tests.far_ends import FAR_ENDS, FarEnd, answers, misbehaving, within
from tests.installation import BOX_KEYS
from tests.waiting import PATIENCE_SECONDS

LONGEST = 1500
KEYS_OF_BOX = {"BOX_PRIMARY_KEY": BOX_KEYS["primary"], "ENV": "development"}
SECRET = "token-of-the-tests-of-signalbox"

far_ends = pytest.mark.parametrize("far_end", FAR_ENDS, ids=str)


def seconds(far_end: FarEnd) -> str:
    return str(within(far_end).total_seconds())


def is_fit_for_a_terminal(text: str) -> bool:
    return all(line.isprintable() and len(line) <= LONGEST for line in text.split("\n")) and SECRET not in text


@far_ends
def test_send_says_in_a_line_what_came_back(signalbox: Signalbox, far_end: FarEnd) -> None:
    with misbehaving(far_end) as url:
        result = signalbox("send", "box", "FILE.UPLOADED", "--to", url, "--within", seconds(far_end))
    said = result.stdout + result.stderr
    is_well = far_end.status in (200, 204) and not far_end.says and "is longer than" not in said
    assert result.exit_code == (0 if is_well else 1)
    assert far_end.says in said
    assert is_fit_for_a_terminal(said)
    assert "make run" not in said


@far_ends
def test_box_says_in_a_line_why_there_is_no_list(
    signalbox: Signalbox, app: Flask, far_end: FarEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    with misbehaving(far_end) as url:
        app.config.update(BOX_API_URL=url, BOX_DEVELOPER_TOKEN=SECRET)
        monkeypatch.setattr("receiver.cli.box.session._PAUSE", timedelta(milliseconds=1))
        result = signalbox("box", "--within", seconds(far_end), "list")
    assert result.exit_code == 1
    assert is_fit_for_a_terminal(result.stdout + result.stderr)
    assert "cannot be reached" not in result.stderr


@far_ends
def test_a_command_of_the_sandbox_says_in_a_line_that_there_is_none(
    signalbox: Signalbox, far_end: FarEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    if far_end.scheme != "http":
        pytest.skip("a sandbox has no TLS")
    monkeypatch.setattr(client, "PATIENCE", within(far_end))
    with misbehaving(far_end) as url:
        result = signalbox("sandbox", "--port", url.rpartition(":")[2], "log")
    assert result.exit_code == 1
    assert is_fit_for_a_terminal(result.stdout + result.stderr)
    assert "No sandbox answers" not in result.stderr
    assert "is no sandbox" in result.stderr


@far_ends
def test_doctor_says_in_a_line_what_is_there_instead_of_web(
    signalbox: Signalbox, far_end: FarEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.cli.doctor.checks.WEB_WITHIN", within(far_end))
    with misbehaving(far_end) as url:
        result = signalbox("doctor", "--url", url)
    assert result.exit_code == 1
    assert is_fit_for_a_terminal(result.stdout + result.stderr)


@far_ends
def test_to_listen_to_a_far_end_is_an_error_of_a_line(far_end: FarEnd) -> None:
    with misbehaving(far_end) as url:
        far = Far(url, SECRET, {}, within=within(far_end))
        for ask in (lambda: list(far.pages()), lambda: far.event("01ARZ3NDEKTSV4RRFFQ69G5FAV")):
            with pytest.raises(SignalboxError) as caught:
                ask()
            assert is_fit_for_a_terminal(str(caught.value))
        far.close()


def test_an_event_that_cannot_be_read_is_an_error_and_none_is_lost_for_it() -> None:
    item: dict[str, object] = {
        "id": "1",
        "type": "box:A",
        "source": "box",
        "body_base64": "e30=",
        "headers": [["A", "b"]],
    }
    wrong: list[dict[str, object]] = [
        {"id": "a b"},
        {"id": 7},
        {"body_base64": "%%"},
        {"headers": [7]},
        {"headers": None},
        {"source": "nobody"},
    ]
    for change in wrong:
        body = json.dumps(item | change).encode()
        end = FarEnd("an event", answers(body))
        with misbehaving(end) as url, pytest.raises(SignalboxError):
            Far(url, None, {}, within=within(end)).event("1")


class OneEvent(Far):
    """A Signalbox that has one event, over and over."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1", None, {}, within=timedelta(seconds=1))

    def pages(self) -> Iterator[list[dict[str, str]]]:
        yield [{"id": "1", "received_at": datetime.now(UTC).isoformat()}]

    def event(self, event_id: str) -> dict[str, object]:
        return {"id": event_id, "type": "box:A", "source": "box", "body_base64": "e30=", "headers": []}


class GaveUpWaiting(Exception):
    """Raised where it would be tried again."""


@far_ends
def test_what_a_url_here_responds_with_is_recorded_whatever_it_is(
    app: Flask, far_end: FarEnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_up(_pause: object, why: str) -> None:
        raise GaveUpWaiting(why)

    monkeypatch.setattr(forwarder._Pause, "wait", give_up)
    cursor = Cursor.read(tmp_path / "cursor.json")
    since = datetime.now(UTC) - timedelta(minutes=1)
    with misbehaving(far_end) as url, Client(within=within(far_end), most=1000) as near, app.app_context():
        stream = forward(OneEvent(), cursor, near, url, since)
        try:
            one = next(stream)
        except (GaveUpWaiting, SignalboxError) as error:
            said, status = str(error), 0
        else:
            said, status = one.fault, one.status
    assert status == far_end.status or far_end.hangs
    assert is_fit_for_a_terminal(said)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a gigabyte without a length", "send box FILE.UPLOADED --to {url}"),
        ("a bomb in gzip", "box list"),
        ("a gigabyte", "listen --from {url} --to {url} --cursor {folder}/cursor"),
    ],
)
def test_a_process_ends_with_a_line_and_has_taken_little_memory(
    database_url: str, tmp_path: Path, name: str, words: str
) -> None:
    (far_end,) = (one for one in FAR_ENDS if one.name == name)
    with misbehaving(far_end) as url:
        environment = {**os.environ, "DATABASE_URL": database_url, "BOX_API_URL": url, **KEYS_OF_BOX}
        line = [sys.executable, "-c", MEASURED, sys.executable, "wsgi.py"]
        line += words.format(url=url, folder=tmp_path).split()
        ran = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    status, most_kb = map(int, ran.stdout.split()[-2:])
    assert status == 1
    assert "is longer than" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert most_kb < 400 * 1024  # of a gigabyte, it is nothing


# The memory of a process counts from what it was forked from: from this one, and not from that of all the tests.
MEASURED = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=sys.stderr).returncode
print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_on_a_terminal_a_command_says_what_it_waits_for_and_how_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = threading.Event()
    note = screen.note

    def tell(text: screen.Cell) -> None:
        note(text)
        said.set()

    monkeypatch.setattr(screen, "SOON", timedelta(0))
    monkeypatch.setattr(screen, "note", tell)
    monkeypatch.setenv("FORCE_COLOR", "1")  # to rich, a terminal
    with screen.waiting("http://far.example", most=timedelta(seconds=30)):
        assert said.wait(PATIENCE_SECONDS)
    assert "Waiting for http://far.example, 30 s at most." in capsys.readouterr().err
    monkeypatch.delenv("FORCE_COLOR")
    monkeypatch.setattr(screen, "note", note)
    with screen.waiting("http://far.example", most=timedelta(seconds=30)):
        assert not any(isinstance(one, threading.Timer) for one in threading.enumerate())


def test_a_second_one_with_the_same_cursor_says_so_and_ends(signalbox: Signalbox, tmp_path: Path) -> None:
    path = tmp_path / "below" / "cursor.json"
    words = ["--from", "http://127.0.0.1:1", "--to", "http://127.0.0.1:1", "--cursor", str(path)]
    with held(path):
        result = signalbox("listen", *words)
    assert (result.exit_code, "Another signalbox listen has the cursor" in result.stderr) == (1, True)
    with held(path):
        pass  # it is let go of at the end


def test_a_cursor_touches_no_other_file_and_follows_no_link(tmp_path: Path) -> None:
    mine, target = tmp_path / "cx.new", tmp_path / "target"
    mine.write_text("mine")
    target.write_text("target")
    path = tmp_path / "cx.json"
    (tmp_path / "cx.json.lock").symlink_to(target)
    with pytest.raises(SignalboxError, match="cannot be opened"), held(path):
        pass
    Cursor.read(path).pass_by(["a"])
    assert (mine.read_text(), target.read_text()) == ("mine", "target")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["cx.json", "cx.json.lock", "cx.new", "target"]


@pytest.mark.parametrize("kept", ["[]", "null", '{"known": 7}', '{"known": "abc"}', "[" * 200_000, "\udcff"])
def test_what_is_no_cursor_is_said_to_be_none(tmp_path: Path, kept: str) -> None:
    path = tmp_path / "cx.json"
    path.write_bytes(kept.encode("utf-8", "surrogateescape"))
    with pytest.raises(SignalboxError, match="is no cursor"):
        Cursor.read(path)
