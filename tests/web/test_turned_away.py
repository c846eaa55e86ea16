"""What is refused before anybody looks at a signature: counted, kept, and shown with what mends it."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from receiver import service
from receiver.inbox.refusals import BEGINNING
from receiver.observe import metrics
from receiver.observe.logs import LINES
from receiver.sources import samples
from receiver.storage import db
from tests import listings
from tests.installation import KEYS

pytestmark = pytest.mark.both_databases

LIMIT = 2000
TOO_LONG = b'{"trigger": "' + b"x" * 2 * BEGINNING


@pytest.fixture
def client(client_with: Callable[..., FlaskClient]) -> FlaskClient:
    return client_with(MAX_BODY_BYTES=LIMIT, FILESTACK_SECRETS=())


def refused(client: FlaskClient) -> list[Any]:
    service.of(client.application).inbox.refusals.write_out()
    items: list[Any] = listings.list_rejected(service.of(client.application).engine)["items"]
    return items


def chunked(client: FlaskClient, path: str, body: bytes) -> Any:
    over = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""}
    return client.post(path, input_stream=io.BytesIO(body), environ_overrides=over)


@pytest.mark.parametrize(
    ("ask", "status", "reason", "source"),
    [
        (lambda client: client.post("/hooks/box", data=TOO_LONG), 413, "body_too_long", "box"),
        (lambda client: chunked(client, "/hooks/box", TOO_LONG), 413, "body_too_long", "box"),
        (lambda client: client.post("/hooks/nowhere", data=b"{}"), 404, "no_such_source", "unknown"),
        (lambda client: client.post("/hooks/a/b", data=b"{}"), 404, "no_such_source", "unknown"),
        (lambda client: client.post("/hooks/filestack", data=b"{}"), 404, "source_off", "filestack"),
        (lambda client: client.put("/hooks/box", data=b"{}"), 405, "method_not_allowed", "box"),
        (
            lambda client: client.post("/hooks/box", data=b"{}", headers={"Content-Encoding": "gzip"}),
            415,
            "compressed",
            "box",
        ),
        (
            lambda client: client.post(
                "/hooks/box", input_stream=io.BytesIO(b"{"), environ_overrides={"CONTENT_LENGTH": "9"}
            ),
            400,
            "cut_off",
            "box",
        ),
    ],
)
def test_a_request_that_is_turned_away_leaves_a_trace(
    client: FlaskClient, ask: Any, status: int, reason: str, source: str
) -> None:
    assert ask(client).status_code == status
    (found,) = refused(client)
    assert (found["status"], found["reason"], found["source"]) == (status, reason, source)
    assert found["path"].startswith("/hooks/")
    service.of(client.application).tally.write_out()
    totals = metrics.read_totals(service.of(client.application).engine)
    assert (f"{source}/{reason}", 1) in [(one.subject, one.counted) for one in totals if one.kind == "refused"]
    assert f'signalbox_refused_total{{reason="{reason}",source="{source}"}} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize("send", [FlaskClient.post, chunked])
def test_of_a_body_that_is_too_long_the_beginning_is_kept_and_said_to_be_cut(client: FlaskClient, send: Any) -> None:
    send(client, "/hooks/box", **{"data" if send is FlaskClient.post else "body": TOO_LONG})
    (found,) = refused(client)
    assert found["is_cut"]
    assert found["announced_bytes"] == (len(TOO_LONG) if send is FlaskClient.post else None)
    page = client.get(f"/rejected/{found['id']}").text
    assert "MAX_BODY_BYTES" in page
    assert "cut: the first" in page
    assert "Verify again" not in page
    assert TOO_LONG.startswith(client.get(f"/rejected/{found['id']}/body").data)
    assert client.get("/rejected").status_code == 200


@pytest.mark.parametrize("path", ["/hooks/box", "/hooks/nowhere"])
def test_what_is_cut_or_meant_no_source_can_neither_be_verified_nor_let_in(client: FlaskClient, path: str) -> None:
    client.post(path, data=TOO_LONG)
    (found,) = refused(client)
    at = f"/api/rejected/{found['id']}"
    assert client.post(f"{at}/verify").get_json()["verifies"] is False
    assert client.post(f"{at}/release", json={"unverified": True}).status_code == 409
    assert client.get(f"/rejected/{found['id']}").status_code == 200
    assert client.get(at).status_code == 200
    assert len(refused(client)) == 1


def test_what_came_while_no_key_was_set_is_let_in_once_it_is(
    client: FlaskClient, client_with: Callable[..., FlaskClient]
) -> None:
    body, headers = samples.forge("filestack", "fp.upload", KEYS["filestack"], at=datetime.now(UTC), number=1)
    assert client.post("/hooks/filestack", data=body, headers=headers).status_code == 404
    (found,) = refused(client)
    assert "FILESTACK_SECRETS" in client.get(f"/rejected/{found['id']}").text
    answer = client_with().post(f"/api/rejected/{found['id']}/release", json={})
    assert (answer.status_code, answer.get_json()["status"]) == (200, "accepted"), answer.text


def test_what_plainly_is_not_for_us_is_counted_and_not_kept(client: FlaskClient) -> None:
    client.get("/wp-login.php")
    assert refused(client) == []
    service.of(client.application).tally.write_out()
    assert 'signalbox_refused_total{reason="404",source="elsewhere"} 1.0' in client.get("/metrics").text


def test_a_flood_writes_few_lines_and_says_how_many_more_there_were(
    client_with: Callable[..., FlaskClient], capsys: pytest.CaptureFixture[str]
) -> None:
    client = client_with()
    LINES.write_out()
    capsys.readouterr()
    here = service.of(client.application).inbox.refusals
    with here._writing:  # so that all are of one interval
        for _ in range(50):
            client.post("/hooks/box", data=b"{}")
    here.write_out()
    LINES.write_out()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    alone = sum(line["event"] == "delivery" for line in lines)
    more = sum(line["more"] for line in lines if line["event"] == "refusals")
    assert alone + more == 50
    assert alone < 15


def test_a_refusal_is_answered_while_nobody_can_write(app: Flask) -> None:
    with db.writing(service.of(app).engine):
        assert app.test_client().post("/hooks/box", data=b"{}").status_code == 401
        assert app.test_client().post("/hooks/nowhere", data=b"{}").status_code == 404
