"""The OpenAPI description of Box's Webhooks API, held against the sandbox: schemathesis finds nothing.

tests/vectors/box_webhooks_openapi.json says itself in what it differs from Box's own. More requests for each operation:

    API_EXAMPLES=500 make test ARGS=tests/sandbox/test_openapi.py
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig

from receiver.sandbox import Answer, Plan, create_sandbox
from tests.sandbox.calls import ADDRESS, FOLDER

EXAMPLES = int(os.environ.get("API_EXAMPLES", "10"))
DESCRIPTION = Path(__file__).parents[1] / "vectors" / "box_webhooks_openapi.json"
TOKEN = {"Authorization": "Bearer one"}

# What no schema can say (that an address is an address, a marker one of ours) Box answers 400; the description says so.
CONFIG = SchemathesisConfig.from_dict(
    {"checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "400", "404", "409"]}}}
)
QUIET = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)

app = create_sandbox(Plan(keys={}), post=lambda *_: Answer(200, ""))


def _schema() -> Any:
    description = json.loads(DESCRIPTION.read_text(encoding="utf-8")) | {"servers": [{"url": "/2.0"}]}
    schema = schemathesis.openapi.from_dict(description, config=CONFIG)
    schema.app = app
    return schema


schema = _schema()
TRIGGERS = schema.raw_schema["components"]["schemas"]["Trigger"]["enum"]


def _whatever_is_sent(method: str, path: str) -> Any:
    """Give a test that nothing that anybody sends is answered otherwise than described.

    One for each operation, under a name of its own: of tests of one name, pytest-xdist runs one.
    """

    @schema.include(method=method, path=path).parametrize()  # type: ignore[untyped-decorator]
    @QUIET
    def answer_as_described(case: Any) -> None:
        case.call_and_validate(headers=TOKEN)

    return answer_as_described


test_whatever_asks_for_the_list_is_answered_as_described = _whatever_is_sent("GET", "/webhooks")
test_whatever_makes_a_webhook_is_answered_as_described = _whatever_is_sent("POST", "/webhooks")
test_whatever_asks_for_a_webhook_is_answered_as_described = _whatever_is_sent("GET", "/webhooks/{webhook_id}")
test_whatever_changes_a_webhook_is_answered_as_described = _whatever_is_sent("PUT", "/webhooks/{webhook_id}")
test_whatever_deletes_a_webhook_is_answered_as_described = _whatever_is_sent("DELETE", "/webhooks/{webhook_id}")


def test_that_is_every_operation_of_the_description() -> None:
    operations = [(path, method) for path, item in schema.raw_schema["paths"].items() for method in item]
    assert sorted(operations) == [
        ("/webhooks", "get"),
        ("/webhooks", "post"),
        ("/webhooks/{webhook_id}", "delete"),
        ("/webhooks/{webhook_id}", "get"),
        ("/webhooks/{webhook_id}", "put"),
    ]


def _webhook(client: Any) -> str:
    """Give the id of a webhook that is there."""
    known = client.get("/2.0/webhooks", headers=TOKEN).get_json()["entries"]
    if known:
        return str(known[0]["id"])
    body = {"target": FOLDER, "address": ADDRESS, "triggers": ["FILE.TRASHED"]}
    return str(client.post("/2.0/webhooks", headers=TOKEN, json=body).get_json()["id"])


@pytest.mark.parametrize(
    ("path", "method"),
    [("/webhooks", "POST"), ("/webhooks/{webhook_id}", "GET"), ("/webhooks/{webhook_id}", "PUT"),
     ("/webhooks/{webhook_id}", "DELETE")],
)  # fmt: skip
def test_what_is_there_is_answered_as_described(path: str, method: str) -> None:
    operation = schema[path][method]

    # What schemathesis makes up is never a webhook that exists or an address that is right: here it is.
    @QUIET
    @given(operation.as_strategy(), st.data())
    def run(case: Any, data: Any) -> None:
        if "webhook_id" in path:
            case.path_parameters = {"webhook_id": _webhook(app.test_client())}
        if isinstance(case.body, dict):
            case.body["address"] = ADDRESS
            case.body["target"] = {"type": "folder", "id": str(data.draw(st.integers(1, 10**6)))}
            case.body["triggers"] = data.draw(st.lists(st.sampled_from(TRIGGERS), min_size=1))
        response = case.call(headers=TOKEN)
        case.validate_response(response)
        assert response.status_code in (200, 201, 204, 400, 409)

    run()
