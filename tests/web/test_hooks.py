"""Every answer of the contract's table, for what providers send and for what they never should."""

import gzip
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from receiver import service
from receiver.sources import SOURCES, samples
from receiver.storage.tables import events, quarantined, rejected
from receiver.web import loopback
from receiver.web.hooks import ShortWay
from tests.installation import BOX_KEYS, KEYS

pytestmark = pytest.mark.both_databases

ClientWith = Callable[..., FlaskClient]
EVERY_NAME = [(source, name) for source in SOURCES for name in samples.names(source)]


def forge(source: str = "box", name: str = "FILE.UPLOADED", **changed: Any) -> tuple[bytes, list[tuple[str, str]]]:
    told: dict[str, Any] = {"at": datetime.now(UTC), "number": 1} | changed
    return samples.forge(source, name, KEYS[source], **told)


def sign(source: str, body: bytes) -> list[tuple[str, str]]:
    return SOURCES[source].sign(body, KEYS[source], at=datetime.now(UTC))


def post(client: FlaskClient, source: str, body: bytes, headers: list[tuple[str, str]]) -> TestResponse:
    return client.post(f"/hooks/{source}", data=body, headers=headers)


def count(app: Flask, table: sa.Table) -> int:
    service.of(app).inbox.refusals.write_out()
    with service.of(app).engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


@pytest.mark.parametrize(("source", "name"), EVERY_NAME)
def test_every_name_that_we_know_is_accepted(client: FlaskClient, source: str, name: str) -> None:
    response = post(client, source, *forge(source, name))
    assert (response.status_code, response.get_json()["status"]) == (200, "accepted")


@pytest.mark.parametrize(("source", "name"), [("box", "ROCKET.LAUNCHED"), ("filestack", "fp.teleport")])
def test_a_name_invented_tomorrow_is_accepted(client: FlaskClient, source: str, name: str) -> None:
    assert post(client, source, *forge(source, name)).status_code == 200


def test_a_second_delivery_of_an_event_is_told_the_id_of_the_first(client: FlaskClient) -> None:
    first = post(client, "box", *forge())
    again = post(client, "box", *forge())
    assert again.get_json() == {"status": "duplicate", "event": first.get_json()["event"]}


def test_a_wrong_signature_is_refused_with_a_code_and_a_sentence(app: Flask, client: FlaskClient) -> None:
    body, headers = forge()
    response = post(client, "box", samples.tampered(body), headers)
    answer = response.get_json()
    assert (response.status_code, answer["status"], answer["reason"]) == (401, "rejected", "signature_mismatch")
    assert answer["detail"].endswith((".", "?"))
    assert (count(app, events), count(app, rejected)) == (0, 1)


def test_a_refusal_never_says_what_would_have_been_right(client: FlaskClient) -> None:
    body, headers = forge()
    right = [value for name, value in headers if "SIGNATURE-" in name and len(value) > 20]
    text = post(
        client, "box", body, [line for line in headers if "PRIMARY" not in line[0] and "SECONDARY" not in line[0]]
    ).text
    wrong = post(client, "box", samples.tampered(body), headers).text
    for secret in [*right, *BOX_KEYS.values()]:
        assert secret not in text + wrong


def test_a_stale_delivery_is_refused(client: FlaskClient) -> None:
    response = post(client, "box", *forge(at=datetime.now(UTC) - timedelta(minutes=11)))
    assert response.get_json()["reason"] == "timestamp_stale"


def test_no_headers_at_all_are_refused(client: FlaskClient) -> None:
    assert post(client, "filestack", b"{}", []).get_json()["reason"] == "signature_missing"


def test_a_header_sent_twice_with_two_values_is_refused(client: FlaskClient) -> None:
    body, headers = forge("filestack", "fp.upload")
    response = post(client, "filestack", body, [*headers, ("FS-Timestamp", "1")])
    assert response.get_json()["reason"] == "header_conflict"


def test_a_header_sent_twice_with_one_value_is_one_header(client: FlaskClient) -> None:
    body, headers = forge("filestack", "fp.upload")
    assert post(client, "filestack", body, headers + headers).status_code == 200


def test_a_verified_body_that_is_not_this_providers_message_is_quarantined(app: Flask, client: FlaskClient) -> None:
    body = b'{"hello": "world"}'
    response = post(client, "box", body, sign("box", body))
    assert response.status_code == 422
    assert response.get_json()["status"] == "quarantined"
    assert "trigger" in response.get_json()["errors"]
    assert (count(app, events), count(app, quarantined)) == (0, 1)


NOT_READABLE = [
    b"",
    b"not json",
    b"[]",
    b"null",
    b'"text"',
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b"{",
    b'{"trigger": NaN}',
    b'{"trigger": "A", "x": Infinity}',
    b'{"trigger": "A", "x": 1e999}',
    b'{"trigger": null}',
    b'{"trigger": "\\ud800"}',
    b'{"trigger": "\\u0000"}',
    b'{"trigger": ""}',
    b'{"trigger": "a b"}',
    b'{"trigger": "' + b"x" * 201 + b'"}',
    b'{"trigger": "A", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"trigger": "A", "x": ' + b"9" * 5000 + b"}",
]


@pytest.mark.parametrize("body", NOT_READABLE, ids=lambda body: repr(body[:30]))
def test_what_cannot_be_read_is_quarantined_with_each_field_named(client: FlaskClient, body: bytes) -> None:
    response = post(client, "box", body, sign("box", body))
    assert response.status_code == 422
    assert response.get_json()["errors"]


ODD_BUT_READABLE = [
    b'{"trigger": "A"}',
    b'{"trigger": "A", "trigger": "B"}',
    b'{"trigger": "A", "id": "\\ud800", "webhook": {"id": "\\u0000"}}',
    b'{"trigger": "A", "id": {"x": [1]}, "webhook": 7, "created_at": 9, "source": null}',
    b'{"trigger": "A", "id": "' + b"x" * 10_000 + b'"}',
    b'{"trigger": "A", "created_at": "9999-99-99T99:99:99Z", "x": ' + b"[" * 90 + b"]" * 90 + b"}",
    ' {"trigger": "Ä", "x": "😀"} '.encode(),
]


@pytest.mark.parametrize("body", ODD_BUT_READABLE, ids=lambda body: repr(body[:40]))
def test_what_is_odd_but_readable_is_accepted(client: FlaskClient, body: bytes) -> None:
    assert post(client, "box", body, sign("box", body)).status_code == 200


def test_an_unknown_source_is_not_found_and_the_answer_names_those_that_are(client: FlaskClient) -> None:
    response = client.post("/hooks/dropbox")
    assert response.status_code == 404
    assert "box, filestack" in response.get_json()["detail"]


def test_a_source_without_a_key_is_off_and_the_answer_names_the_setting(client_with: ClientWith) -> None:
    response = client_with(FILESTACK_SECRETS=()).post("/hooks/filestack", data=b"{}")
    assert response.status_code == 404
    assert "FILESTACK_SECRETS" in response.get_json()["detail"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_another_method_is_refused_and_told_which_one_to_use(client: FlaskClient, method: str) -> None:
    response = client.open("/hooks/box", method=method)
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


def test_who_looks_at_a_hook_in_a_browser_is_told_what_it_is_for(client: FlaskClient) -> None:
    response = client.get("/hooks/box", headers={"Accept": "text/html"})
    assert (response.status_code, response.mimetype) == (405, "application/json")
    assert response.get_json()["detail"].startswith("Providers post their deliveries here")


def test_what_this_process_gives_to_its_own_hook_has_no_connection_to_answer_on(app: Flask) -> None:
    assert isinstance(app.wsgi_app, ShortWay)
    app.wsgi_app.answer_past_gunicorn(object(), is_ending=lambda: False)
    with app.app_context():
        assert loopback.deliver("box", *forge()).verdict == "accepted"


def test_a_slash_at_the_end_of_the_address_does_no_harm(client: FlaskClient) -> None:
    body, headers = forge()
    assert client.post("/hooks/box/", data=body, headers=headers).status_code == 200


def test_a_body_at_the_limit_is_taken_and_one_over_it_is_not(client_with: ClientWith) -> None:
    client = client_with(MAX_BODY_BYTES=2000)
    body = b'{"trigger": "A", "x": "%s"}'
    fits = body % (b"x" * (2000 - len(body) + 2))
    assert post(client, "box", fits, sign("box", fits)).status_code == 200
    assert post(client, "box", fits + b" ", sign("box", fits + b" ")).status_code == 413


def chunked(client: FlaskClient, source: str, body: bytes, headers: list[tuple[str, str]]) -> TestResponse:
    """Post without a length, as a WSGI server hands a chunked body over."""
    return client.post(
        f"/hooks/{source}",
        input_stream=io.BytesIO(body),
        headers=headers,
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": ""},
    )


def test_a_chunked_body_is_taken(client: FlaskClient) -> None:
    assert chunked(client, "box", *forge()).status_code == 200


def test_a_chunked_body_over_the_limit_is_refused(client_with: ClientWith) -> None:
    assert chunked(client_with(MAX_BODY_BYTES=100), "box", *forge()).status_code == 413


def test_a_client_that_stops_half_way_makes_no_event(app: Flask, client: FlaskClient) -> None:
    body, headers = forge()
    response = client.post(
        "/hooks/box",
        input_stream=io.BytesIO(body[:100]),
        headers=headers,
        environ_overrides={"CONTENT_LENGTH": str(len(body))},
    )
    assert response.status_code == 400
    assert (count(app, events), count(app, rejected)) == (0, 1)


@pytest.mark.parametrize(
    "encoding", ["gzip", "X-GZIP", "deflate", "br", " zstd ", "compress", "identity, gzip", "utf-8,br"]
)
def test_a_compressed_body_is_refused_clearly(client: FlaskClient, encoding: str) -> None:
    body, headers = forge()
    response = post(client, "box", gzip.compress(body), [*headers, ("Content-Encoding", encoding)])
    assert response.status_code == 415
    assert "Content-Encoding" in response.get_json()["detail"]


@pytest.mark.parametrize("encoding", ["", "identity", "utf-8", "UTF8", "aes128gcm-of-nobody", ",", "identity, utf-8"])
def test_an_encoding_that_compresses_nothing_keeps_no_delivery_out(client: FlaskClient, encoding: str) -> None:
    body, headers = forge()
    assert post(client, "box", body, [*headers, ("Content-Encoding", encoding)]).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "nonsense"])
def test_the_content_type_does_not_matter(client: FlaskClient, kind: str) -> None:
    body, headers = forge()
    lines = [line for line in headers if line[0].lower() != "content-type"]
    assert client.post("/hooks/box", data=body, headers=[*lines, ("Content-Type", kind)]).status_code == 200


def test_a_database_that_is_away_is_answered_503_with_a_time_to_come_back(app: Flask, client: FlaskClient) -> None:
    with service.of(app).engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE events RENAME TO elsewhere")
    response = post(client, "box", *forge())
    assert (response.status_code, response.headers["Retry-After"]) == (503, "10")
    assert "events" not in response.text


@pytest.mark.sqlite_only
def test_a_file_that_no_writer_can_lock_is_answered_503_with_a_time_to_come_back(
    app: Flask, client: FlaskClient
) -> None:
    Path(f"{service.of(app).engine.url.database}-turn").mkdir()
    response = post(client, "box", *forge())
    assert (response.status_code, response.headers["Retry-After"]) == (503, "10")


def test_an_address_that_is_nowhere_is_answered_in_json(client: FlaskClient) -> None:
    assert client.get("/nowhere").get_json()["status"] == "error"


header_names = st.sampled_from(
    [name for source in SOURCES for name, _ in sign(source, b"{}")] + ["Content-Type", "Content-Length-X", "X-Any"]
)
header_values = st.one_of(
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=100),
    st.sampled_from(["", "1", "HmacSHA256", "2026-05-04T12:00:00Z", "9" * 20, "A" * 10_000, "a,b", "=", "\x00", "é"]),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("trigger", "id", "webhook", "source", "created_at", "action", "text", "uuid", "timestamp", "status")
envelopes = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, json_values))
bodies = st.one_of(st.binary(max_size=200), envelopes.map(lambda value: json.dumps(value).encode()))


@limits(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=300)
@given(
    source=st.sampled_from(sorted(SOURCES)),
    body=bodies,
    headers=st.lists(st.tuples(header_names, header_values), max_size=8),
    signed=st.booleans(),
)
def test_no_input_of_any_kind_gives_a_500(
    client: FlaskClient, source: str, body: bytes, headers: list[tuple[str, str]], signed: bool
) -> None:
    lines = sign(source, body) if signed else headers
    response = post(client, source, body, lines)
    assert response.status_code in ({200, 422} if signed else {200, 401, 415})
    assert response.is_json
