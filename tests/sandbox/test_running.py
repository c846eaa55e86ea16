"""The sandbox as it really runs: its thread, its clock, its HTTP, its file."""

import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from receiver.errors import SignalboxError
from receiver.sandbox import Answer, Clock, Plan, World, create_sandbox, world_of
from receiver.sandbox.post import post
from tests.installation import KEYS
from tests.installation import Clock as Wall
from tests.sandbox.calls import Box, Controls
from tests.waiting import PATIENCE_SECONDS, until


def test_the_clock_runs_as_fast_as_it_is_told() -> None:
    wall = Wall()
    clock = Clock(speed=600, wall=wall)
    began = clock.now()
    wall.pass_by(seconds=12)
    assert clock.now() - began == timedelta(hours=2)
    assert clock.true_span(timedelta(hours=2)) == timedelta(seconds=12)


def test_the_clock_can_be_moved_ahead_and_never_back() -> None:
    clock = Clock(wall=Wall())
    began = clock.now()
    clock.skip(timedelta(days=3))
    clock.skip(timedelta(days=-5))
    assert clock.now() - began == timedelta(days=3)


def test_a_clock_goes_on_from_where_another_run_had_come_to() -> None:
    later = datetime(2030, 1, 1, tzinfo=UTC)
    assert Clock(wall=Wall(), not_before=later).now() == later


@pytest.fixture
def running() -> Iterator[Callable[..., tuple[Flask, World]]]:
    """Start sandboxes with a thread of their own, and end them."""
    started: list[World] = []

    def start(**options: Any) -> tuple[Flask, World]:
        app = create_sandbox(Plan(keys=KEYS, speed=options.pop("speed", 100_000)), **options)
        world_of(app).start()
        started.append(world_of(app))
        return app, world_of(app)

    yield start
    for world in started:
        world.stop()


def test_the_thread_delivers_and_comes_again_until_it_counts(running: Callable[..., Any]) -> None:
    answers = [503, 503, 200]
    told: list[dict[str, Any]] = []
    app, _ = running(post=lambda *_: Answer(answers.pop(0), ""), told=told.append)
    Box(app.test_client()).register("FILE.UPLOADED")
    Controls(app.test_client()).do("upload", "1200/a.pdf")
    until(lambda: len(told) == 3, "three tries")
    assert [(one["number"], one["delivered"]) for one in told] == [(1, False), (2, False), (3, True)]


def test_a_receiver_that_hangs_holds_nobody_up(running: Callable[..., Any]) -> None:
    is_over, sent = threading.Event(), []

    def hang(address: str, _body: bytes, _headers: list[tuple[str, str]]) -> Answer:
        sent.append(address)
        if address.endswith("/slow"):
            is_over.wait(PATIENCE_SECONDS)
        return Answer(200, "")

    app, _ = running(post=hang, speed=1)
    box = Box(app.test_client())
    for target, path in (("1", "slow"), ("2", "quick")):
        made = box.create({"id": target, "type": "folder"}, address=f"http://127.0.0.1:1/{path}")
        assert made.status_code == 201
    Controls(app.test_client()).do("upload", "1/a.pdf")
    Controls(app.test_client()).do("upload", "2/a.pdf")
    until(lambda: "http://127.0.0.1:1/quick" in sent, "the quick one is sent")
    is_over.set()


def test_moving_the_clock_wakes_the_thread(running: Callable[..., Any]) -> None:
    told: list[dict[str, Any]] = []
    app, _ = running(post=lambda *_: Answer(500, ""), told=told.append, speed=1)
    controls = Controls(app.test_client())
    Box(app.test_client()).register("FILE.UPLOADED")
    controls.do("upload", "1200/a.pdf")
    until(lambda: len(told) == 1, "the first try")
    controls.post("/clock", seconds=7200)
    until(lambda: len(told) == 13, "the last try")


def test_where_nobody_listens_that_is_the_answer() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        answer = post(f"http://127.0.0.1:{probe.getsockname()[1]}/", b"{}", [])
    assert answer.status is None
    assert "refused" in answer.said


def test_what_answers_with_nonsense_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer_nonsense() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"nonsense\r\n\r\n")

        thread = threading.Thread(target=answer_nonsense)
        thread.start()
        answer = post(f"http://127.0.0.1:{server.getsockname()[1]}/", b"{}", [])
        thread.join()
    assert answer.status is None
    assert answer.said


@pytest.mark.parametrize("content", [b"this is no database at all", b""])
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(content)
    if content:
        with pytest.raises(SignalboxError, match="--state"):
            create_sandbox(Plan(keys={}, state=path))
        assert path.read_bytes() == content
    else:
        world_of(create_sandbox(Plan(keys={}, state=path))).close()


def test_two_sandboxes_cannot_have_one_file(tmp_path: Path) -> None:
    first = create_sandbox(Plan(keys={}, state=tmp_path / "state.db"))
    with pytest.raises(SignalboxError, match="another sandbox"):
        create_sandbox(Plan(keys={}, state=tmp_path / "state.db"))
    world_of(first).close()


def test_the_controls_take_json_only_so_that_no_web_page_can_reach_them(sandbox: Flask) -> None:
    body = '{"action": "upload", "item": "a.pdf"}'
    refused = sandbox.test_client().post("/sandbox/actions", data=body, content_type="text/plain")
    assert (refused.status_code, "application/json" in refused.get_json()["error"]) == (400, True)


def test_the_controls_say_what_there_is(controls: Controls) -> None:
    assert {"/sandbox/actions", "/sandbox/deliveries", "/sandbox/state"} <= set(controls.get("/")["addresses"])


def test_a_user_that_nobody_knows_is_named_with_those_that_are_known(box: Box, controls: Controls) -> None:
    box.register()
    assert "Known are: guest 1" in controls.refused("/tokens/expire", name="ada")


def test_a_webhook_that_is_not_there_cannot_be_given_up(controls: Controls) -> None:
    assert "no webhook 77" in controls.refused("/webhooks/77/give-up")
