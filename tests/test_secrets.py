"""What is secret is compared in constant time: `hmac.compare_digest` decides, and no `==` beside it.

How long a comparison takes cannot be tested on a shared machine. So the tests put a liar in the place of
`compare_digest`: where it says that nothing is the same, nothing may open.
"""

import ast
import hmac
import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from receiver import bins, service
from receiver.app import create_app
from receiver.events import Verified
from receiver.service import KEYS_HEADER, fingerprint_of_keys
from receiver.sources import SOURCES
from tests.installation import KEYS, ROOT, Clock, delivery, settings

PASSWORD = "open-sesame-of-the-tests"
TOKEN = "token-of-the-tests-of-signalbox"
AGES: dict[str, Any] = {"max_age": settings("")["BOX_MAX_AGE"], "max_skew": settings("")["CLOCK_SKEW"]}


class Liar:
    """Is `hmac`, but that it says what it is told to of any two values."""

    def __init__(self, said: bool) -> None:
        self._said = said

    def __getattr__(self, name: str) -> Any:
        return getattr(hmac, name)

    def compare_digest(self, _one: object, _other: object) -> bool:
        return self._said


@pytest.mark.parametrize(("source", "name"), [("box", "FILE.UPLOADED"), ("filestack", "fp.upload")])
@pytest.mark.parametrize("said", [True, False])
def test_what_compare_digest_says_of_a_signature_is_what_counts(
    source: str, name: str, said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    came = delivery(source, name, at=Clock()())
    keys = {slot: f"another {key}" for slot, key in KEYS[source].items()} if said else KEYS[source]
    assert isinstance(SOURCES[source].verify(came, keys, **AGES), Verified) is not said
    monkeypatch.setattr(f"receiver.sources.{source}.hmac", Liar(said))
    assert isinstance(SOURCES[source].verify(came, keys, **AGES), Verified) is said


@pytest.fixture
def guarded(database_url: str) -> Any:
    app = create_app(settings(database_url, ENV="production", ADMIN_PASSWORD=PASSWORD, API_TOKEN=TOKEN))
    yield app
    service.of(app).engine.dispose()


def log_in(client: FlaskClient) -> int:
    return client.post("/login", data={"password": PASSWORD}, base_url="https://localhost").status_code


def test_compare_digest_decides_on_the_password(guarded: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    assert log_in(guarded.test_client()) == 302
    monkeypatch.setattr("receiver.web.auth.hmac", Liar(False))
    assert log_in(guarded.test_client()) == 401


def test_compare_digest_decides_on_what_a_session_says(guarded: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    client = guarded.test_client()
    log_in(client)
    assert client.get("/", base_url="https://localhost").status_code == 200
    monkeypatch.setattr("receiver.web.auth.hmac", Liar(False))
    assert client.get("/", base_url="https://localhost").status_code == 302


def test_compare_digest_decides_on_the_token(guarded: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    client, headers = guarded.test_client(), {"Authorization": f"Bearer {TOKEN}"}
    assert client.get("/api/events", headers=headers).status_code == 200
    monkeypatch.setattr("receiver.web.auth.hmac", Liar(False))
    assert client.get("/api/events", headers=headers).status_code == 401


def test_compare_digest_decides_on_the_secret_of_a_bin(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = service.of(app).engine
    bins.create(engine, now=Clock()(), name="brave-otter-41", changes={"secret": "open-sesame"})
    client, headers = app.test_client(), {"X-Bin-Secret": "open-sesame"}
    assert client.get("/b/brave-otter-41", headers=headers).status_code == 200
    monkeypatch.setattr("receiver.bins.recording.hmac", Liar(False))
    assert client.get("/b/brave-otter-41", headers=headers).status_code == 401


def test_compare_digest_decides_on_the_fingerprint_of_keys(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    client, headers = app.test_client(), {KEYS_HEADER: fingerprint_of_keys(app) or ""}
    assert client.get("/readyz", headers=headers).get_json()["keys"] == "same"
    monkeypatch.setattr("receiver.web.health.hmac", Liar(False))
    assert client.get("/readyz", headers=headers).get_json()["keys"] == "others"


_SECRET = re.compile(r"(?<![A-Z])(signature|secret|token|password|digest|fingerprint|hmac|mac)s?(?![A-Z])")


def plain_comparisons(source: str) -> list[str]:
    """Give what a program compares by `==`, `!=` or `in` although a name in it says that it is secret.

    To ask whether it is empty, or None, tells nobody anything.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare) or not any(isinstance(one, _PLAIN) for one in node.ops):
            continue
        sides = [node.left, *node.comparators]
        is_empty = any(isinstance(side, ast.Constant) and not side.value for side in sides)
        if not is_empty and any(_SECRET.search(name) for side in sides for name in _names(side)):
            found.append(ast.unparse(node))
    return found


_PLAIN = (ast.Eq, ast.NotEq, ast.In, ast.NotIn)


def _names(side: ast.expr) -> list[str]:
    inner = list(ast.walk(side))
    return [one.id for one in inner if isinstance(one, ast.Name)] + [
        one.attr for one in inner if isinstance(one, ast.Attribute)
    ]


def test_nothing_secret_is_compared_by_an_operator() -> None:
    found = {str(path): plain_comparisons(path.read_text()) for path in sorted((ROOT / "receiver").rglob("*.py"))}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "line", ["_signature(key, message) == given", "given != self.digest", "API_token == x", "x in (config.password, 1)"]
)
def test_a_plain_comparison_would_be_found(line: str) -> None:
    assert plain_comparisons(f"if {line}: pass") == [line]


@pytest.mark.parametrize("line", ["secret == ''", "hmac.compare_digest(signature, given)", "token is None", "a == b"])
def test_what_tells_nobody_anything_is_not_taken_for_one(line: str) -> None:
    assert plain_comparisons(f"if {line}: pass") == []
