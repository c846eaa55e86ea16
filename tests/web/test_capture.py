"""Bins from outside: everything that can be sent is recorded, and answered as the bin is set up."""

import base64
import io
from collections.abc import Iterator
from threading import BoundedSemaphore
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from receiver import bins, service
from receiver.app import create_app
from receiver.storage import db
from receiver.storage.tables import captures
from receiver.web import capture
from receiver.web.page import now
from tests.installation import settings

pytestmark = pytest.mark.both_databases

NAME = "brave-otter-41"
BINARY = bytes(range(256))
LIMIT = 4096


@pytest.fixture
def app(database_url: str) -> Iterator[Flask]:
    app = create_app(settings(database_url, MAX_BODY_BYTES=LIMIT))
    yield app
    service.of(app).engine.dispose()


@pytest.fixture
def engine(app: Flask) -> sa.Engine:
    found: sa.Engine = service.of(app).engine
    return found


@pytest.fixture
def strict(database_url: str) -> Iterator[Flask]:
    """An installation where bins are made by hand."""
    app = create_app(settings(database_url, AUTO_BINS=False))
    yield app
    service.of(app).engine.dispose()


def set_up(engine: sa.Engine, **changes: Any) -> None:
    bins.create(engine, name=NAME, now=now(), changes=changes)  # type: ignore[arg-type]


def last(engine: sa.Engine) -> bins.Item:
    return bins.show_capture(engine, NAME, "last")


def kept(engine: sa.Engine) -> int:
    with db.reading(engine) as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(captures)).scalar_one())


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "PURGE", "X-ODD"])
def test_any_method_is_recorded_with_its_body_byte_for_byte(
    client: FlaskClient, engine: sa.Engine, method: str
) -> None:
    answer = client.open(f"/b/{NAME}/any/path?a=1&a=2", method=method, data=BINARY)
    assert (answer.status_code, answer.get_json()) == (200, {"status": "captured"})
    item = last(engine)
    assert (item["method"], item["path"], item["query"]) == (method, "/any/path", "a=1&a=2")
    assert base64.b64decode(item["body_base64"]) == BINARY


def test_head_is_recorded_and_answered_without_a_body(client: FlaskClient, engine: sa.Engine) -> None:
    answer = client.head(f"/b/{NAME}")
    assert (answer.status_code, answer.data) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(bins.STANDARD_BODY))
    assert last(engine)["method"] == "HEAD"


@pytest.mark.parametrize(
    "below", ["", "/", "//", "//a//b/", "/a%20b", "/%C3%A4%00%0A", "/../x", "/a%2Fb", "/%25", "/;a=(1)"]
)
def test_the_path_below_is_kept_as_it_was_written(client: FlaskClient, engine: sa.Engine, below: str) -> None:
    assert client.get(f"/b/{NAME}{below}").status_code == 200
    assert last(engine)["path"] == below


def test_where_a_server_gives_the_path_decoded_only_it_is_written_again(app: Flask, engine: sa.Engine) -> None:
    client = app.test_client()
    client.get("/", environ_overrides={"PATH_INFO": f"/b/{NAME}/\xe4 %", "RAW_URI": "", "REQUEST_URI": ""})
    assert last(engine)["path"] == "/%E4%20%25"


def test_an_address_written_for_a_proxy_has_the_same_path(app: Flask, engine: sa.Engine) -> None:
    raw = f"http://elsewhere.example/b/{NAME}/a%2Fb"
    app.test_client().get("/", environ_overrides={"PATH_INFO": f"/b/{NAME}/a/b", "RAW_URI": raw})
    assert last(engine)["path"] == "/a%2Fb"


def test_headers_are_kept_in_their_order(client: FlaskClient, engine: sa.Engine) -> None:
    client.post(f"/b/{NAME}", headers=[("X-Zebra", "1"), ("X-Ant", "\xe9"), ("X-Empty", "")])
    ours = [pair for pair in last(engine)["headers"] if pair[0].startswith("X-")]
    assert ours == [["X-Zebra", "1"], ["X-Ant", "\xe9"], ["X-Empty", ""]]


def test_a_form_is_recorded_with_its_files(client: FlaskClient, engine: sa.Engine) -> None:
    client.post(f"/b/{NAME}", data={"a": "1", "f": (io.BytesIO(BINARY), "x.bin")})
    item = last(engine)
    assert item["form"] == [["a", "1"]]
    assert [(file["filename"], file["bytes"]) for file in item["files"]] == [("x.bin", 256)]


def test_the_client_is_who_connected_and_behind_a_router_who_the_router_says(
    client: FlaskClient, database_url: str, engine: sa.Engine
) -> None:
    claimed = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7"}
    client.get(f"/b/{NAME}", headers=claimed)
    assert last(engine)["client"] == "127.0.0.1"
    production = create_app(settings(database_url, ENV="production"))
    production.test_client().get(f"/b/{NAME}", headers=claimed)
    service.of(production).engine.dispose()
    assert last(engine)["client"] == "198.51.100.7"


def test_the_cookie_of_our_pages_and_the_secret_are_not_kept(app: Flask, engine: sa.Engine) -> None:
    set_up(engine, secret="open-sesame")
    sent = {"HTTP_COOKIE": "signalbox=admin; a=1; signalbox=admin;my-signalbox=2", "HTTP_X_BIN_SECRET": "guess"}
    app.test_client(use_cookies=False).get(f"/b/{NAME}?a=1&secret=open-sesame&b", environ_overrides=sent)
    came = bins.read_capture(engine, NAME, "last").request
    assert came.headers["Cookie"] == "[hidden]; a=1; [hidden];my-signalbox=2"
    assert came.headers["X-Bin-Secret"] == "[hidden]"
    assert came.query == "a=1&secret=[hidden]&b"


@pytest.mark.parametrize(
    "sent",
    [
        {"headers": {"X-Bin-Secret": "open+sesame%"}},
        {"query_string": "secret=open%2Bsesame%25"},
        {"query_string": "secret=wrong&%73ecret=open+sesame%25"},
    ],
)
def test_a_request_with_the_secret_is_kept(client: FlaskClient, engine: sa.Engine, sent: dict[str, Any]) -> None:
    set_up(engine, secret="open+sesame%")
    assert client.post(f"/b/{NAME}", **sent).status_code == 200
    assert "sesame" not in str(last(engine))


@pytest.mark.parametrize(
    "sent", [{}, {"headers": {"X-Bin-Secret": "\xff"}}, {"query_string": "secret=%FF&secret"}, {"query_string": "&=&"}]
)
def test_a_request_without_the_secret_is_refused_and_not_kept(
    client: FlaskClient, engine: sa.Engine, sent: dict[str, Any]
) -> None:
    set_up(engine, secret="open-sesame")
    answer = client.post(f"/b/{NAME}", data=b"x", **sent)
    assert answer.status_code == 401
    assert "X-Bin-Secret" in answer.get_json()["detail"]
    assert kept(engine) == 0


def test_a_query_of_a_bin_without_a_secret_is_left_alone(client: FlaskClient, engine: sa.Engine) -> None:
    client.get(f"/b/{NAME}?secret=a")
    assert last(engine)["query"] == "secret=a"


def test_the_answer_is_as_the_bin_is_set_up(client: FlaskClient, engine: sa.Engine) -> None:
    headers = [["Content-Type", "image/x"], ["X-A", "1"], ["X-A", "2"], ["Location", "http://["], ["Set-Cookie", "a=b"]]
    set_up(engine, status=302, headers=headers, body=BINARY)
    answer = client.post(f"/b/{NAME}")
    assert (answer.status_code, answer.data) == (302, BINARY)
    assert [list(pair) for pair in answer.headers][: len(headers)] == headers


def test_an_answer_without_a_type_has_none(client: FlaskClient, engine: sa.Engine) -> None:
    set_up(engine, headers=[], body=b"<script>")
    assert "Content-Type" not in client.get(f"/b/{NAME}").headers


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_may_have_no_body_has_none(client: FlaskClient, engine: sa.Engine, status: int) -> None:
    set_up(engine, status=status, body=b"not this")
    answer = client.get(f"/b/{NAME}")
    assert (answer.status_code, answer.data, "Content-Length" in answer.headers) == (status, b"", False)


@pytest.mark.parametrize("status", range(200, 600, 23))
def test_any_status_is_answered(client: FlaskClient, engine: sa.Engine, status: int) -> None:
    set_up(engine, status=status)
    assert client.get(f"/b/{NAME}").status_code == status


def test_an_answer_waits_as_long_as_it_is_to_and_the_request_is_kept_before(
    client: FlaskClient, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(engine, delay_seconds=0.05)
    waits: list[tuple[float, int]] = []

    def sleep(seconds: float) -> None:
        waits.append((seconds, kept(engine)))

    monkeypatch.setattr(capture, "time", SimpleNamespace(sleep=sleep))
    assert client.get(f"/b/{NAME}").status_code == 200
    assert waits == [(0.05, 1)]


def test_where_too_many_answers_wait_the_next_does_not(
    client: FlaskClient, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(engine, delay_seconds=30)
    nobody = BoundedSemaphore(1)
    nobody.acquire()
    monkeypatch.setattr(capture, "_waiting", nobody)
    waits: list[float] = []
    monkeypatch.setattr(capture, "time", SimpleNamespace(sleep=waits.append))
    assert client.get(f"/b/{NAME}").status_code == 200
    assert waits == []


def test_every_second_request_fails_if_it_is_to(client: FlaskClient, engine: sa.Engine) -> None:
    set_up(engine, fail_every=2, fail_status=503)
    answers = [client.get(f"/b/{NAME}") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 503, 200, 503]
    assert "failed" in answers[1].get_json()["status"]
    assert kept(engine) == 4


def test_no_answer_of_a_bin_can_act_as_one_of_our_pages(client: FlaskClient, strict: Flask, engine: sa.Engine) -> None:
    set_up(engine, headers=[["Content-Security-Policy", "default-src *"], ["X-Content-Type-Options", "x"]], secret="a")
    for answer in (
        client.get(f"/b/{NAME}?secret=a"),
        client.get(f"/b/{NAME}"),
        client.post(f"/b/{NAME}?secret=a", data=b"x" * (LIMIT + 1)),
        strict.test_client().get("/b/nobody"),
    ):
        assert "sandbox" in answer.headers.getlist("Content-Security-Policy")
        assert answer.headers.getlist("X-Content-Type-Options") == ["nosniff"]


@pytest.mark.parametrize("stated", [True, False])
def test_a_body_over_the_limit_is_refused_and_its_beginning_kept(
    client: FlaskClient, engine: sa.Engine, stated: bool
) -> None:
    chunked = {
        "input_stream": io.BytesIO(b"x" * (LIMIT + 1)),
        "environ_overrides": {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""},
    }
    sent: dict[str, Any] = {"data": b"x" * (LIMIT + 1)} if stated else chunked
    answer = client.post(f"/b/{NAME}", **sent)
    assert (answer.status_code, answer.is_json) == (413, True)
    found = last(engine)
    assert (found["method"], found["answered"], found["is_cut"]) == ("POST", 413, True)
    assert found["announced_bytes"] == (LIMIT + 1 if stated else None)
    assert b"x" * 1000 in base64.b64decode(found["body_base64"])


def test_a_capture_that_is_cut_says_so_on_its_page(client: FlaskClient, engine: sa.Engine) -> None:
    client.post(f"/b/{NAME}", data=b"x" * 3_000_000)
    page = client.get(f"/bins/{NAME}/captures/{last(engine)['id']}").text
    assert "cut: the first" in page


def test_a_body_of_the_limit_is_kept_chunked_too(client: FlaskClient, engine: sa.Engine) -> None:
    body = b"x" * LIMIT
    client.post(f"/b/{NAME}", input_stream=io.BytesIO(body), environ_overrides={"wsgi.input_terminated": True})
    assert base64.b64decode(last(engine)["body_base64"]) == body


def test_where_bins_are_made_by_hand_an_unknown_one_is_404_and_says_how(strict: Flask) -> None:
    answer = strict.test_client().post(f"/b/{NAME}")
    assert answer.status_code == 404
    assert f"signalbox bins create {NAME}" in answer.get_json()["detail"]


@pytest.mark.parametrize(
    "name", ["UPPER", "-x", "x" * 61, "%00", "%0A", "a%0a", "..", "%ED%A0%80", "a.b", "'", "%2F", ""]
)
def test_a_name_that_no_bin_can_have_is_404(client: FlaskClient, engine: sa.Engine, name: str) -> None:
    answer = client.post(f"/b/{name}", data=b"x")
    assert (answer.status_code, answer.get_json()["status"]) == (404, "error")
    assert kept(engine) == 0


def test_what_cannot_be_stored_is_503_with_a_time_to_come_again(client: FlaskClient, engine: sa.Engine) -> None:
    with db.writing(engine) as connection:
        connection.execute(sa.text("DROP TABLE captures"))
    answer = client.post(f"/b/{NAME}")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "captures" not in answer.text


def test_bins_are_open_to_everybody_in_production_too(strict: Flask, database_url: str) -> None:
    set_up(service.of(strict).engine)
    app = create_app(
        settings(database_url, ENV="production", ADMIN_PASSWORD="p" * 10, API_TOKEN="t" * 20, AUTO_BINS=False)
    )
    answer = app.test_client().post(
        f"/b/{NAME}", environ_base={"REMOTE_ADDR": "192.0.2.1"}, headers={"Origin": "https://elsewhere.example"}
    )
    service.of(app).engine.dispose()
    assert answer.status_code == 200


@given(
    method=st.text(st.sampled_from("ABCXYZ!#$%&'*+-.^_`|~019"), min_size=1, max_size=60),
    path=st.text(st.characters(min_codepoint=0, max_codepoint=255), max_size=60),
    query=st.text(st.characters(min_codepoint=0, max_codepoint=255), max_size=60),
    header=st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30),
    body=st.binary(max_size=LIMIT + 10),
)
@limits(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_nothing_that_can_be_sent_is_a_500_or_kept_otherwise(
    client: FlaskClient, engine: sa.Engine, method: str, path: str, query: str, header: str, body: bytes
) -> None:
    environ = {"PATH_INFO": f"/b/{NAME}/{path}", "QUERY_STRING": query, "HTTP_X_BIN_SECRET": header}
    answer = client.open(
        f"/b/{NAME}", method=method, data=body, headers={"Content-Type": header}, environ_overrides=environ
    )
    assert answer.status_code == (413 if len(body) > LIMIT else 200)
    if answer.status_code == 200:
        item = last(engine)
        assert base64.b64decode(item["body_base64"]) == body
        assert unquote_to_bytes(item["path"]) == f"/{path}".encode("latin-1")
