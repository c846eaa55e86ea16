"""`signalbox sandbox`: the stand-in as a process, and the commands that act in it, over HTTP."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import httpx
import pytest
import sqlalchemy as sa
from click.testing import Result
from flask import Flask
from flask.cli import ScriptInfo
from werkzeug.serving import make_server

from receiver.cli import cli
from receiver.cli.installation import command
from receiver.cli.sandbox import suggestions
from receiver.observe import queries
from receiver.sandbox import Plan, Token, World, create_sandbox, world_of
from receiver.sandbox.phrases import coming
from tests.acceptance.service import free_port
from tests.cli.conftest import Signalbox
from tests.installation import KEYS
from tests.waiting import PATIENCE_SECONDS, until

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[..., Result]


class Running:
    """A sandbox with its thread, at an address, in front of the application of the test."""

    def __init__(self, receiver: str) -> None:
        self.receiver = receiver
        plan = Plan(
            keys=KEYS,
            filestack_addresses=[f"{receiver}/hooks/filestack"],
            speed=600,
            tokens=[Token(name="ada", token="one")],
        )
        self.app = create_sandbox(plan)
        self.server = make_server("127.0.0.1", 0, self.app, threaded=True)
        self.url = f"http://127.0.0.1:{self.server.port}"

    @property
    def world(self) -> World:
        return world_of(self.app)

    def call(self, method: str = "GET", **body: object) -> httpx.Response:
        headers = {"Authorization": "Bearer one"}
        url = f"{self.url}/2.0/webhooks"
        return httpx.request(method, url, headers=headers, json=body or None, trust_env=False, timeout=PATIENCE_SECONDS)

    def register(self, *triggers: str) -> str:
        target = {"id": "1200", "type": "folder"}
        made = self.call("POST", target=target, address=f"{self.receiver}/hooks/box", triggers=triggers)
        return str(made.json()["id"])


@pytest.fixture
def running(served: str) -> Iterator[Running]:
    running = Running(served)
    thread = threading.Thread(target=running.server.serve_forever, args=(0.01,))
    thread.start()
    running.world.start()
    yield running
    running.server.shutdown()
    thread.join()
    running.server.server_close()
    running.world.stop()


@pytest.fixture
def sandbox(running: Running, signalbox: Signalbox) -> Command:
    """Run a command at the sandbox of the test."""

    def run(*words: str) -> Result:
        return signalbox("sandbox", "--port", str(running.server.port), *words)

    return run


def test_an_action_says_what_it_set_off_and_what_the_receiver_answered(
    sandbox: Command, running: Running, engine: sa.Engine
) -> None:
    id_ = running.register("FILE.UPLOADED")
    result = sandbox("do", "upload", "1200/lamp.pdf")
    first, second = result.stdout.splitlines()
    assert first.startswith("FILE.UPLOADED  Folder 1200/lamp.pdf (file ")
    assert second.startswith(f"✓ 200  FILE.UPLOADED  to webhook {id_}, {running.receiver}/hooks/box  ")
    assert queries.show_event(engine, "last")["payload"]["source"]["name"] == "lamp.pdf"


def test_an_action_that_no_webhook_asks_for_says_so(sandbox: Command) -> None:
    result = sandbox("do", "create", "Inbox")
    assert (result.exit_code, "nothing was sent" in result.stderr) == (0, True)


def test_an_action_that_cannot_be_done_is_one_sentence_and_exit_1(sandbox: Command) -> None:
    result = sandbox("do", "trash", "none.pdf")
    assert (result.exit_code, result.stderr.startswith("Error: There is no none.pdf in the drive")) == (1, True)


def test_a_trigger_that_is_misspelt_is_told_with_the_one_that_was_meant(sandbox: Command) -> None:
    sandbox("do", "upload", "1200/a.pdf")
    result = sandbox("do", "set-off", "1200/a.pdf", "FILE.UPLAODED")
    assert (result.exit_code, "did you mean FILE.UPLOADED" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        ("rename", "1200/a.pdf", "b.pdf"),
        ("comment", "1200/a.pdf", "--text", "Points are set"),
        ("comment", "1200/a.pdf", "--as", "created", "--by", "Ben Ruiz"),
        ("sign", "1200/a.pdf", "--as", "declined"),
        ("collaborate", "1200"),
        ("set-off", "1200/a.pdf", "FILE.LOCKED"),
    ],
)
def test_every_kind_of_action_can_be_typed(sandbox: Command, words: tuple[str, ...]) -> None:
    sandbox("do", "upload", "1200/a.pdf")
    assert sandbox("do", *words).exit_code == 0


def test_an_action_can_be_spoilt(sandbox: Command, running: Running, engine: sa.Engine) -> None:
    running.register("FILE.UPLOADED")
    line = sandbox("do", "upload", "1200/é.pdf", "--reserialise", "--delay", "30s").stdout.splitlines()[1]
    assert line.startswith("✗ 401")
    assert "  rejected, signature_mismatch; delivery 2 " in line
    until(lambda: queries.list_rejected(engine)["items"], "it is kept a moment later")


def test_an_action_as_json_is_one_document(sandbox: Command, running: Running) -> None:
    running.register("FILE.UPLOADED")
    document = json.loads(sandbox("do", "upload", "1200/a.pdf", "--count", "3", "--json").stdout)
    assert len(document["set_off"]) == len(document["events"]) == len(document["deliveries"]) == 3


def test_without_waiting_it_says_where_to_look(sandbox: Command, running: Running) -> None:
    running.register("FILE.UPLOADED")
    result = sandbox("do", "upload", "1200/a.pdf", "--no-wait")
    assert "signalbox sandbox log" in result.stderr


def test_something_happens_at_filestack(sandbox: Command, engine: sa.Engine) -> None:
    result = sandbox("filestack", "upload", "--as", "transit", "--filename", "lamp.png", "--client", "Box")
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["fp.upload", "fp.upload", "✓", "✓"]
    assert [item["type"] for item in queries.list_events(engine)["items"]] == ["filestack:fp.upload"] * 2


def test_the_log_lists_deliveries(sandbox: Command, running: Running) -> None:
    running.register("FILE.UPLOADED")
    sandbox("do", "upload", "1200/a.pdf", "--lose-answers", "1")
    until(lambda: len(json.loads(sandbox("log", "--json").stdout)["items"]) == 2, "the retry")
    lines = sandbox("log").stdout.splitlines()
    assert lines[0].split()[-2:] == ["AND", "THEN"]
    assert "delivery 2" in lines[1]
    assert "delivery 2 followed" in lines[2]


def test_an_empty_log_says_so(sandbox: Command) -> None:
    assert "Nothing was sent yet" in sandbox("log").stderr


def test_the_drive_is_listed_with_what_is_in_the_trash(sandbox: Command) -> None:
    sandbox("do", "upload", "a/b.pdf")
    sandbox("do", "trash", "a/b.pdf")
    lines = sandbox("drive").stdout.splitlines()
    assert [line.split()[2:] for line in lines[1:]] == [["a"], ["a/b.pdf", "trashed"]]
    assert json.loads(sandbox("drive", "--json").stdout)["items"]


def test_the_clock_is_moved(sandbox: Command, running: Running) -> None:
    before = running.world.clock.now()
    assert sandbox("skip", "15d").stdout.startswith("It is 20")
    assert (running.world.clock.now() - before).days >= 15


def test_a_span_that_is_none_is_a_usage_error(sandbox: Command) -> None:
    result = sandbox("skip", "soon")
    assert (result.exit_code, "write 90s, 5m, 2h or 15d" in result.stderr) == (2, True)


def test_faults_stand_until_they_are_ended(sandbox: Command) -> None:
    assert sandbox("faults", "--duplicates", "2", "--wrong-key").stdout == "From now on: duplicates 2, wrong_key.\n"
    assert sandbox("faults").stdout == "From now on nothing goes wrong on purpose.\n"


def test_the_next_calls_are_refused(sandbox: Command, running: Running) -> None:
    said = sandbox("refuse", "429", "--times", "2", "--retry-after", "1").stdout
    assert said == "The next 2 calls are answered 429.\n"
    assert [running.call().status_code for _ in range(3)] == [429, 429, 200]


def test_a_session_ends_and_a_webhook_tells_no_more(sandbox: Command, running: Running, engine: sa.Engine) -> None:
    running.register("FILE.UPLOADED")
    assert sandbox("expire", "ada").stdout.startswith("1 webhooks of ada tell no more than NO_ACTIVE_SESSION")
    sandbox("do", "upload", "1200/a.pdf")
    assert queries.show_event(engine, "last")["type"] == "box:NO_ACTIVE_SESSION"


@pytest.mark.parametrize("command", ["revoke", "give-up"])
def test_a_webhook_is_removed_and_says_so(sandbox: Command, running: Running, engine: sa.Engine, command: str) -> None:
    id_ = running.register("FILE.UPLOADED")
    result = sandbox(command, {"revoke": "ada", "give-up": id_}[command])
    assert "WEBHOOK.DELETED is on its way" in result.stdout
    until(lambda: queries.list_events(engine)["items"], "the event")
    assert queries.show_event(engine, "last")["type"] == "box:WEBHOOK.DELETED"


def test_the_state_is_one_document_without_tokens(sandbox: Command, running: Running) -> None:
    running.register("FILE.UPLOADED")
    state = json.loads(sandbox("state").stdout)
    assert [user["name"] for user in state["users"]] == ["ada"]
    assert '"one"' not in json.dumps(state)


def test_where_no_sandbox_is_the_command_that_starts_one_is_named(signalbox: Signalbox) -> None:
    result = signalbox("sandbox", "--port", str(free_port()), "log")
    assert (result.exit_code, "signalbox sandbox starts one" in result.stderr) == (1, True)


def test_where_something_else_answers_that_is_said(signalbox: Signalbox, served: str) -> None:
    result = signalbox("sandbox", "--port", served.rpartition(":")[2], "drive")
    assert result.exit_code == 1
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "words",
    [
        ("--token", "ada"),
        ("--token", "=x"),
        ("--token", "ada=one,king"),
        ("--speed", "0"),
        ("--filestack-to", "nowhere"),
        ("--last-page", "never"),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(signalbox: Signalbox, words: tuple[str, str]) -> None:
    assert signalbox("sandbox", *words).exit_code == 2


def test_a_port_that_is_taken_is_named(signalbox: Signalbox, served: str) -> None:
    result = signalbox("sandbox", "--port", served.rpartition(":")[2])
    assert (result.exit_code, "--port names another port" in result.stderr) == (1, True)


def test_a_file_that_is_no_state_is_refused(signalbox: Signalbox, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, but somebody's notes")
    result = signalbox("sandbox", "--port", "0", "--state", str(tmp_path / "notes.txt"))
    assert (result.exit_code, "--state takes a file" in result.stderr) == (1, True)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_process_says_where_it_is_serves_and_ends_when_it_is_told(tmp_path: Path, end: signal.Signals) -> None:
    command = [sys.executable, "wsgi.py", "sandbox", "--port", "0", "--state", str(tmp_path / "s.db")]
    environ = {**os.environ, "BOX_PRIMARY_KEY": "key", "DATABASE_URL": f"sqlite:///{tmp_path}/x.db"}
    with (tmp_path / "log").open("wb") as output:
        process = subprocess.Popen(
            [*command, "--token", "ada=one,developer", "--speed", "600"],
            cwd=ROOT,
            env=environ,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        log = tmp_path / "log"
        found = until(lambda: re.search(r"listens on (\S+?),", log.read_text()), "where it is")
        answer = httpx.get(
            f"{found[1]}/2.0/webhooks",
            headers={"Authorization": "Bearer one"},
            trust_env=False,
            timeout=PATIENCE_SECONDS,
        )
        assert answer.json()["entries"] == []
        assert httpx.get(f"{found[1]}/2.0/webhooks", trust_env=False, timeout=PATIENCE_SECONDS).status_code == 401
        assert "A pretend drive of Box" in httpx.get(f"{found[1]}/", trust_env=False, timeout=PATIENCE_SECONDS).text
    finally:
        process.send_signal(end)
        assert process.wait(PATIENCE_SECONDS) == 0
    assert "Traceback" not in log.read_text()


def test_the_setting_says_where_the_sandbox_is(running: Running, app: Flask, signalbox: Signalbox) -> None:
    app.config["BOX_API_URL"] = running.url
    assert signalbox("sandbox", "drive").exit_code == 0
    taken = signalbox("sandbox")
    assert (taken.exit_code, f"{running.url} cannot be used" in taken.stderr) == (1, True)


@pytest.mark.parametrize(
    ("port", "changed", "before", "at"),
    [
        (8100, {}, "", ""),
        (8123, {}, "BOX_API_URL=http://127.0.0.1:8123 ", " --port 8123"),
        (8123, {"BOX_API_URL": "http://127.0.0.1:8123"}, "", ""),
        (8100, {"ENV": "production"}, "BOX_API_URL=http://127.0.0.1:8100 ", ""),
    ],
)
def test_what_it_suggests_reaches_it(
    app: Flask, monkeypatch: pytest.MonkeyPatch, port: int, changed: dict[str, str], before: str, at: str
) -> None:
    for name in ("HOST", "PORT", "BOX_API_URL"):
        monkeypatch.delenv(name, raising=False)
    app.config |= changed
    with app.app_context(), click.Context(cli, obj=ScriptInfo(create_app=lambda: app)):
        lines = suggestions(f"http://127.0.0.1:{port}").replace(command(), "signalbox").splitlines()
    assert lines == [
        f"  {before}signalbox box create folder:1200 FILE.UPLOADED",
        f"  signalbox sandbox{at} do upload 1200/lamp.pdf",
        f"  signalbox sandbox{at} log",
    ]


def test_what_it_suggests_does_without_the_variables_of_its_own_shell(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOST", raising=False)
    monkeypatch.setenv("PORT", "8431")
    monkeypatch.setenv("BOX_API_URL", "http://127.0.0.1:8123")
    app.config |= {"PORT": 8431, "BOX_API_URL": "http://127.0.0.1:8123"}
    with app.app_context(), click.Context(cli, obj=ScriptInfo(create_app=lambda: app)):
        lines = suggestions("http://127.0.0.1:8123").replace(command(), "signalbox").splitlines()
    assert lines == [
        "  PORT=8431 BOX_API_URL=http://127.0.0.1:8123 signalbox box create folder:1200 FILE.UPLOADED",
        "  signalbox sandbox --port 8123 do upload 1200/lamp.pdf",
        "  signalbox sandbox --port 8123 log",
    ]


def test_what_another_receiver_answers_is_shown_as_it_begins() -> None:
    refused = {"delivered": False, "number": 1, "next_at": None, "state": "failed", "next_in_seconds": None}
    assert coming({**refused, "answer": "<h1>Bad gateway</h1>"}) == "<h1>Bad gateway</h1>; delivery 1 was the last"
