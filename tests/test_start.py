"""What a process loads when it starts: a command only what it needs, and web everything before the first delivery."""

import json
import subprocess
import sys

import pytest

from config import ROOT
from receiver.cli import COMMANDS
from tests.installation import BOX_KEYS
from tests.waiting import PATIENCE_SECONDS

WEB = {"flask_smorest", "receiver.web.api.events", "receiver.web.pages.inbox", "receiver.web.site"}
SELDOM = {"alembic", "box_sdk_gen", "boxsdk", "celery", "gevent", "httpcore2", "httpx2", "sentry_sdk"}

COMMAND = "import atexit, sys, wsgi; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); wsgi.main()"

# What a first request loads anywhere is loaded by the one to /healthz.
TAKE_A_DELIVERY = """
import json, sys
from datetime import UTC, datetime
import wsgi
from receiver.sources import samples
client = wsgi.app.test_client()
client.get("/healthz")
body, headers = samples.forge("box", "FILE.UPLOADED", {"primary": sys.argv[1]}, at=datetime.now(UTC))
before = set(sys.modules)
answer = client.post("/hooks/box", data=body, headers=headers).json["status"]
print(json.dumps([answer, sorted(before), sorted(sys.modules.keys() - before)]))
"""


@pytest.fixture(autouse=True)
def environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"ENV": "development", "DATABASE_URL": database_url, "BOX_PRIMARY_KEY": BOX_KEYS["primary"]}
    for name, value in {**environ, "SENTRY_DSN": "", "CELERY_BROKER_URL": ""}.items():
        monkeypatch.setenv(name, value)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True
    )


def loaded_by(*words: str) -> set[str]:
    """Give the modules that a command has loaded when it ends."""
    return set(run("-c", COMMAND, *words).stderr.splitlines()[-1].split())


@pytest.mark.parametrize("option", ["--version", "-h"])
def test_what_is_said_of_all_commands_is_said_without_loading_one(option: str) -> None:
    loaded = loaded_by(option)
    assert "receiver.cli" in loaded
    assert [name for name in loaded if name.startswith("receiver.cli.")] == []
    assert loaded & {"config", "flask", "marshmallow", "rich", "sqlalchemy", "structlog"} == set()


@pytest.mark.parametrize("words", [("events", "list"), ("send", "-h"), ("worker", "-h")], ids=" ".join)
def test_a_command_loads_no_other_command(words: tuple[str, str]) -> None:
    commands = {f"receiver.cli.{module}" for module, _short_help in COMMANDS.values()}
    assert loaded_by(*words) & commands == {f"receiver.cli.{words[0]}"}


def test_a_command_that_reads_the_tables_loads_nothing_that_it_does_without() -> None:
    loaded = loaded_by("events", "list")
    assert {"receiver.storage.db", "receiver.observe.queries"} <= loaded
    assert loaded & (WEB | SELDOM) == set()


def test_web_loads_everything_before_the_first_delivery() -> None:
    answer, before, more = json.loads(run("-c", TAKE_A_DELIVERY, BOX_KEYS["primary"]).stdout)
    assert answer == "accepted"
    assert set(before) >= WEB
    assert more == []
