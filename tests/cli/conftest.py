"""Fixtures: the `signalbox` command over the application of a test, and a server in front of it."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from flask.cli import ScriptInfo
from werkzeug.serving import make_server

from receiver import service
from receiver.app import create_app_without_web
from receiver.cli import cli
from receiver.events import Verified
from receiver.inbox.rows import Inbox
from receiver.sources import SOURCES
from receiver.web import site
from tests.installation import delivery, settings

Signalbox = Callable[..., Result]
Keep = Callable[..., str]


@pytest.fixture
def app(database_url: str) -> Iterator[Flask]:
    """What a command gets: nothing in it answers requests, unless the test is `served`."""
    app = create_app_without_web(settings(database_url))
    yield app
    service.of(app).engine.dispose()


@pytest.fixture
def signalbox(app: Flask) -> Signalbox:
    """Run a command and give its output, standard error apart, and its exit code."""

    def run(*words: str) -> Result:
        info = ScriptInfo(create_app=lambda: app)
        return CliRunner().invoke(cli, words, obj=info, prog_name="signalbox", catch_exceptions=False)

    return run


@pytest.fixture
def keep(inbox: Inbox) -> Keep:
    """Keep a sample as an event that came just now, and give its id."""

    def accept(type_: str = "box:FILE.UPLOADED", number: int = 1) -> str:
        source, _, name = type_.partition(":")
        came = delivery(source, name, at=datetime.now(UTC), number=number)
        return inbox.accept(came, SOURCES[source].parse(came), Verified("primary")).event_id

    return accept


@pytest.fixture
def served(app: Flask) -> Iterator[str]:
    """Serve the application, where its own settings say that it is, and give the address."""
    site.register(app, app.config)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    app.config["PORT"] = server.port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()
