"""Fixtures: a sandbox whose deliveries go straight into our own application, and callers of its two APIs."""

import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.serving import make_server

from receiver.sandbox import Answer, Plan, World, create_sandbox, world_of
from tests.installation import KEYS
from tests.sandbox.calls import Box, Controls, Post


@pytest.fixture
def sent() -> list[Post]:
    """Every delivery that the sandbox made, as it went out."""
    return []


@pytest.fixture
def answers() -> list[int]:
    """What the receiver answers next, before it is itself again."""
    return []


@pytest.fixture
def post(client: FlaskClient, sent: list[Post], answers: list[int]) -> Callable[..., Answer]:
    def into(address: str, body: bytes, headers: list[tuple[str, str]]) -> Answer:
        sent.append(Post(address, body, dict(headers)))
        if answers:
            return Answer(answers.pop(0), "as the test says")
        response = client.post(urlsplit(address).path, data=body, headers=headers)
        return Answer(response.status_code, response.get_data(as_text=True)[:300])

    return into


@pytest.fixture
def make(post: Callable[..., Answer]) -> Iterator[Callable[..., Flask]]:
    """Make sandboxes that are closed at the end."""
    made: list[Flask] = []

    def sandbox(**plan: Any) -> Flask:
        app = create_sandbox(Plan(**{"keys": KEYS} | plan), post=post)
        made.append(app)
        return app

    yield sandbox
    for app in made:
        world_of(app).close()


@pytest.fixture
def sandbox(make: Callable[..., Flask]) -> Flask:
    return make(filestack_addresses=["http://127.0.0.1:8000/hooks/filestack"])


@pytest.fixture
def world(sandbox: Flask) -> World:
    return world_of(sandbox)


@pytest.fixture
def box(sandbox: Flask) -> Box:
    return Box(sandbox.test_client())


@pytest.fixture
def controls(sandbox: Flask) -> Controls:
    return Controls(sandbox.test_client())


@pytest.fixture
def served(sandbox: Flask) -> Iterator[str]:
    """Serve the sandbox, and give the base URL for an SDK."""
    server = make_server("127.0.0.1", 0, sandbox, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()
