"""The API keeps what /api/openapi.json promises, whatever it is asked: schemathesis makes the requests.

`API_EXAMPLES` says how many for each operation, the same ones each time; 1,000 take eight minutes.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import schemathesis
import sqlalchemy as sa
from flask import Flask
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from receiver import service
from receiver.app import create_app
from tests.installation import Clock, settings
from tests.stock import stock

EXAMPLES = int(os.environ.get("API_EXAMPLES", "10"))
TOKEN = "token-of-the-tests-of-signalbox"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
ACCEPTED = ["2xx", "3xx", "401", "403", "404", "409", "429"]


# One run after another, each on tables of its own. What deletes runs by itself, or soon there would be little to find;
# and without asking again for what was given, or soon there would be nothing to delete.
EACH_BY_ITSELF = {"examples": {"enabled": True}, "coverage": {"enabled": True}, "stateful": {"enabled": False}}
RUNS: dict[str, dict[str, Any]] = {
    "what is kept": {"without": ["DELETE"], "phases": EACH_BY_ITSELF},
    "what deletes": {
        "without": ["GET", "PATCH", "POST"],
        "phases": EACH_BY_ITSELF | {"fuzzing": {"extra-data-sources": {"responses": False}}},
    },
    "one after the other": {
        "without": [],
        "phases": {
            "examples": {"enabled": False},
            "coverage": {"enabled": False},
            "fuzzing": {"enabled": False},
            "stateful": {"generation": {"max-examples": max(5, EXAMPLES // 4)}},
        },
    },
}


def config(run: dict[str, Any], captures: list[str], *, seed: int) -> SchemathesisConfig:
    without = [{"include-method": run["without"], "enabled": False}] if run["without"] else []
    return SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "generation": {"max-examples": EXAMPLES, "database": "none"},
            "phases": run["phases"],
            "auth": {"openapi": {"token": {"bearer": TOKEN}}},
            "dictionaries": {"bins": {"values": ["orders"]}, "captures": {"values": [*captures, "last"]}},
            "checks": CHECKS,
            "operations": [*OPERATIONS, *without],
        }
    )


CHECKS = {
    # It asks without a token, in a way that schemathesis 4.32 has for the network only (`max_redirects` is no option
    # of a WSGI request). test_auth.py asks every route without one.
    "ignored_auth": {"enabled": False},
    "positive_data_acceptance": {"expected-statuses": ACCEPTED},
}
OPERATIONS = [
    {
        # What no schema can say is refused by 422 as well: headers that are the server's own, or too long together.
        "include-name": ["POST /api/bins", "PATCH /api/bins/{name}"],
        "checks": {"positive_data_acceptance": {"expected-statuses": [*ACCEPTED, "422"]}},
    },
    {
        # Its DELETE empties the bin: what was there is gone, and the bin is not.
        "include-name": ["GET /api/bins/{name}/captures"],
        "checks": {"use_after_free": {"enabled": False}},
    },
    {
        # A capture is found by two names that belong together.
        "include-path": ["/api/bins/{name}/captures/{id}", "/api/bins/{name}/captures/{id}/body"],
        "parameters": {
            "path.name": {"dictionary": "bins", "probability": 0.9},
            "path.id": {"dictionary": "captures", "probability": 0.7},
        },
    },
]


@dataclass
class Outcome:
    """What came of a run: how often which operation answered which status, and everything that was not as promised."""

    statuses: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    failures: set[str] = field(default_factory=set)

    def take(self, event: events.EngineEvent) -> None:
        if isinstance(event, events.NonFatalError | events.FatalError):
            self.failures.add(str(getattr(event, "value", None) or getattr(event, "exception", event)))
        elif isinstance(event, events.ScenarioFinished):
            self._take_scenario(event)

    def _take_scenario(self, scenario: events.ScenarioFinished) -> None:
        for case_id, node in scenario.recorder.cases.items():
            interaction = scenario.recorder.interactions.get(case_id)
            if interaction is not None and interaction.response is not None:
                self.statuses[node.value.operation.label][interaction.response.status_code] += 1
            for check in scenario.recorder.checks.get(case_id, ()):
                if found := check.failure_info:
                    self.failures.add(f"{check.name}: {found.failure.message}\n{found.code_sample}")


@pytest.fixture
def guarded(database_url: str) -> Iterator[Flask]:
    app = create_app(settings(database_url, ADMIN_PASSWORD="x" * 20, API_TOKEN=TOKEN, LOG_LEVEL="error"))
    yield app
    service.of(app).engine.dispose()


def ask(app: Flask, engine: sa.Engine, run: str, *, until_asked: str = "") -> Outcome:
    """Return what a run brought; where chance has left out an operation that is wanted, of another run as well."""
    known = stock(engine, Clock())
    outcome = Outcome()
    for seed in range(EXAMPLES, EXAMPLES + 10):
        found = config(RUNS[run], known["captures"], seed=seed)
        schema = schemathesis.openapi.from_wsgi("/api/openapi.json", app, config=found, headers=BEARER)
        for event in from_schema(schema).execute():
            outcome.take(event)
        if outcome.failures or not until_asked or until_asked in outcome.statuses:
            break
    print({operation: dict(found) for operation, found in outcome.statuses.items()})
    return outcome


def read_document(app: Flask) -> Any:
    return app.test_client().get("/api/openapi.json", headers=BEARER).get_json()


@pytest.mark.parametrize("run", ["what is kept", "what deletes"])
def test_every_operation_answers_as_the_document_says(guarded: Flask, engine: sa.Engine, run: str) -> None:
    outcome = ask(guarded, engine, run)
    assert outcome.failures == set()
    described = read_document(guarded)["paths"]
    operations = {f"{name.upper()} {path}" for path, item in described.items() for name in item if name != "parameters"}
    wanted = {operation for operation in operations if operation.partition(" ")[0] not in RUNS[run]["without"]}
    assert set(outcome.statuses) == wanted
    for operation, found in outcome.statuses.items():
        assert any(200 <= status < 300 for status in found), operation
        assert found[404] or "{" not in operation, operation


def test_what_was_made_is_there_and_what_was_deleted_is_not(guarded: Flask, engine: sa.Engine) -> None:
    outcome = ask(guarded, engine, "one after the other", until_asked="POST /api/bins")
    assert outcome.failures == set()
    assert "POST /api/bins" in outcome.statuses


def test_the_document_is_valid_openapi(guarded: Flask) -> None:
    OPENAPI_31_VALIDATOR.validate(read_document(guarded))
