"""The pages of bins: the table, one bin, one capture; all of it as text, whatever was sent."""

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from werkzeug.serving import make_server

from receiver import bins, service
from receiver.app import create_app
from receiver.errors import NotFoundError
from receiver.events import Headers
from receiver.sources import samples
from receiver.web.pages import bin_form
from receiver.web.snippets import as_curl
from tests import listings
from tests.installation import KEYS, settings
from tests.waiting import PATIENCE_SECONDS
from tests.web.asked import answer, asks, confirm

NAME = "brave-otter-41"
BINARY = bytes(range(256))
HTMX = {"HX-Request": "true", "HX-Target": "detail"}


@pytest.fixture
def engine(app: Flask) -> sa.Engine:
    found: sa.Engine = service.of(app).engine
    return found


@pytest.fixture
def served(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


def put(engine: sa.Engine, **changed: Any) -> str:
    """Record a request and give the path of its page."""
    told: dict[str, Any] = {
        "method": "POST",
        "path": "/below",
        "query": "",
        "client": "192.0.2.1",
        "headers": Headers(),
        "body": b"",
    }
    reply = bins.record(engine, NAME, bins.Request(**told | changed), now=datetime.now(UTC), may_make=True)
    return f"/bins/{NAME}/captures/{reply.capture_id}"


def test_before_the_first_bin_the_page_says_what_one_is_for(client: FlaskClient, database_url: str) -> None:
    assert "curl http://localhost/b/my-first-bin" in client.get("/bins").text
    strict = create_app(settings(database_url, AUTO_BINS=False))
    assert "my-first-bin" not in strict.test_client().get("/bins").text
    service.of(strict).engine.dispose()


def test_one_click_makes_a_bin_and_shows_how_to_send_to_it(client: FlaskClient) -> None:
    answer = client.post("/bins", follow_redirects=True)
    name = answer.request.path.removeprefix("/bins/")
    assert f"curl http://localhost/b/{name}/any/path" in answer.text
    assert "Waiting for the first request" in answer.text
    assert f"http://localhost/b/{name}" in client.get("/bins").text


def test_a_bin_can_be_named_and_a_bad_name_is_told(client: FlaskClient) -> None:
    assert client.post("/bins", data={"name": f" {NAME} "}).headers["Location"] == f"/bins/{NAME}"
    for name, said in ((NAME, "There is a bin"), ("No <b>", "small letters")):
        answer = client.post("/bins", data={"name": name})
        assert answer.status_code == 422
        assert said in answer.text
        assert "<b>" not in answer.text


def test_the_table_says_what_each_bin_does(client: FlaskClient, engine: sa.Engine) -> None:
    put(engine)
    bins.change(
        engine, NAME, {"status": 418, "delay_seconds": 1.5, "fail_every": 3, "fail_status": 503, "secret": "open"}
    )
    page = re.sub(r"<[^>]+>", "", client.get("/bins").text)
    assert "418 after 1.5 s, every 3rd 503, with its secret only" in page


def test_many_bins_come_page_by_page(client: FlaskClient, engine: sa.Engine) -> None:
    for number in range(51):
        bins.create(engine, name=f"bin-{number}", now=datetime.now(UTC))
    first = client.get("/bins").text
    older = re.search(r'href="(/bins\?cursor=\d+)"', first)
    assert older
    assert "bin-0<" not in first
    assert "bin-0<" in client.get(older[1]).text


def test_the_captures_of_a_bin_are_listed_newest_first(client: FlaskClient, engine: sa.Engine) -> None:
    put(engine, method="PUT", query="a=1", body=BINARY)
    put(engine, method="PURGE")
    page = client.get(f"/bins/{NAME}").text
    assert page.index(">PURGE<") < page.index(">PUT<")
    assert "?a=1" in page
    assert "256 bytes" in page


def test_older_captures_follow(client: FlaskClient, engine: sa.Engine) -> None:
    for number in range(52):
        put(engine, path=f"/n{number}")
    page = client.get(f"/bins/{NAME}").text
    assert ("/n2<" in page, "/n1<" in page) == (True, False)
    part = client.get(f"/bins/{NAME}?cursor=3", headers={"HX-Target": "older"}).text
    assert ("/n1<" in part, "<html" in part) == (True, False)
    assert "/n1<" in client.get(f"/bins/{NAME}?cursor=3").text


def test_a_capture_is_shown_whole(client: FlaskClient, engine: sa.Engine) -> None:
    headers = Headers([("Host", "localhost"), ("Authorization", "Bearer key"), ("X-Odd", "\x9b")])
    path = put(engine, query="page=2&q=%C3%A9", headers=headers, body=b'{"a": [1, {"b": "tea"}]}')
    page = client.get(path).text
    for shown in ("/below", "192.0.2.1", ">é<", "•••", "U+009B", ">tea<", "24 bytes"):
        assert shown in page
    assert "Bearer" not in page


def test_a_button_shows_the_headers_of_a_capture_in_clear(client: FlaskClient, engine: sa.Engine) -> None:
    path = put(engine, headers=Headers([("Host", "localhost"), ("X-Hub-Signature-256", "sha256=of-the-tests")]))
    masked = client.get(path).text
    (button,) = re.findall(r'href="([^"]*headers=clear)"', masked)
    clear = client.get(button).text
    assert ("sha256=of-the-tests" in masked, "sha256=of-the-tests" in clear) == (False, True)
    assert "headers=clear" not in clear


def test_htmx_gets_the_detail_alone(client: FlaskClient, engine: sa.Engine) -> None:
    path = put(engine)
    for address in (path, f"/bins/{NAME}/setup"):
        part = client.get(address, headers=HTMX).text
        assert part.startswith(f"<title>{NAME} · Signalbox</title>")
        assert "<html" not in part


def test_a_binary_body_is_shown_byte_for_byte(client: FlaskClient, engine: sa.Engine) -> None:
    path = put(engine, body=BINARY)
    dump = re.search(r'<pre class="wirebox raw hex"[^>]*>(.*?)</pre>', client.get(path).text, re.DOTALL)
    assert dump
    shown = bytes.fromhex("".join(line[10:59] for line in dump[1].splitlines()))
    assert shown == BINARY


def test_a_body_is_text_or_hex_as_the_address_asks(client: FlaskClient, engine: sa.Engine) -> None:
    path = put(engine, body=b'{"a":  1}')
    assert '{"a":  1}' not in client.get(path).text.replace("&#34;", '"')
    assert '{"a":  1}' in client.get(f"{path}?as=text").text.replace("&#34;", '"')
    assert "7b 22 61 22 3a 20 20 31" in client.get(f"{path}?as=hex").text


def test_a_body_is_downloaded_as_it_came_and_never_shown_by_the_browser(client: FlaskClient, engine: sa.Engine) -> None:
    answer = client.get(put(engine, body=b"<script>\xff") + "/body")
    assert answer.data == b"<script>\xff"
    assert answer.mimetype == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment")


HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}\u202e\x1b"


def test_nothing_that_was_sent_is_more_than_text(client: FlaskClient, engine: sa.Engine) -> None:
    form = Headers([("Content-Type", "multipart/form-data; boundary=x"), (HOSTILE[:8], "<img src=x onerror=a>")])
    part = f'--x\r\nContent-Disposition: form-data; name="<u>"; filename="<s>.png"\r\n\r\n{HOSTILE}\r\n--x--\r\n'
    queries = ["%3Cscript%3E=javascript:alert(1)", "<script>"]
    bodies = [part.encode(), json.dumps({HOSTILE: HOSTILE, "u": "javascript:alert(1)"}).encode(), HOSTILE.encode()]
    for query in queries:
        for body in bodies:
            path = put(engine, method="<B>", path="/<i>", query=query, client="<u>", headers=form, body=body)
            for address in (path, f"{path}?as=text", f"/bins/{NAME}"):
                page = client.get(address).text
                for written in (
                    "<script>a",
                    "<script>=",
                    "<B>",
                    "<i>",
                    "<u>",
                    "<s>",
                    "<img",
                    'href="javascript',
                    "\u202e",
                ):
                    assert written not in page


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 10_000 + b"]" * 10_000,
        b"x" * (1024 * 1024),
        b'{"\\ud800": "\\udfff\\u0000"}',
        b"[" + b"1," * 300_000 + b"1]",
        b'"' + b"\\u0000" * 1000 + b'"',
        b"[1e999, NaN, " + b"9" * 5000 + b"]",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b'{"a": 1, "a": 2}',
        b"\r\n\r\n",
        b"0",
    ],
)
def test_no_body_is_too_odd_to_show(client: FlaskClient, engine: sa.Engine, body: bytes) -> None:
    path = put(engine, body=body)
    for address in (path, f"{path}?as=hex", f"{path}?as=text", f"{path}/curl"):
        answer = client.get(address)
        assert answer.status_code == 200
        assert len(answer.data) < 4_000_000


@given(text=st.text(max_size=40), body=st.binary(max_size=60))
@limits(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_nothing_recorded_makes_a_page_fail(client: FlaskClient, engine: sa.Engine, text: str, body: bytes) -> None:
    wire = text.encode("utf-8", "surrogatepass").decode("latin-1").replace("\r", "").replace("\n", "")
    headers = Headers([("Content-Type", wire), ("X-Any", wire)])
    path = put(engine, query=json.dumps(text)[1:-1], headers=headers, body=body)
    assert client.get(path).status_code == 200
    assert client.get(f"{path}/curl").status_code == 200


@pytest.mark.parametrize(
    "address", ["/bins/nobody", "/bins/No", "/bins/nobody/setup", "/bins/nobody/captures/x", f"/bins/{NAME}/captures/x",
                f"/bins/{NAME}/captures/x/body", f"/bins/{NAME}/captures/x/curl", "/bins/nobody/live", "/bins?cursor=x"]
)  # fmt: skip
def test_what_is_not_there_is_404_with_a_sentence(client: FlaskClient, engine: sa.Engine, address: str) -> None:
    put(engine)
    answer = client.get(address, headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert "there is no" in answer.text or "no listing returned" in answer.text


def form(engine: sa.Engine, **changed: str) -> dict[str, str]:
    return bin_form.filled(bins.show_bin(engine, NAME)) | changed


def test_the_form_sets_a_bin_up(client: FlaskClient, engine: sa.Engine) -> None:
    put(engine)
    changed = {
        "status": "201",
        "headers": "X-A: b:c\r\n\r\nX-B:",
        "body": "one\r\ntwo",
        "delay_seconds": "0.5",
        "fail_every": "3",
        "keep_count": "7",
        "keep_seconds": "2 h",
        "secret": "open-sesame",
    }
    answer = confirm(client, f"/bins/{NAME}/setup", form(engine, **changed), follow_redirects=True)
    assert "Saved" in answer.text
    assert "sesame" not in answer.text
    item = bins.show_bin(engine, NAME)
    assert (item["status"], item["delay_seconds"], item["fail_every"]) == (201, 0.5, 3)
    assert (item["keep_count"], item["keep_seconds"], item["has_secret"]) == (7, 7200, True)
    assert item["headers"] == [["X-A", "b:c"], ["X-B", ""]]
    assert bin_form.filled(item)["body"] == "one\ntwo"


def test_a_form_that_is_sent_as_it_is_changes_nothing(client: FlaskClient, engine: sa.Engine) -> None:
    put(engine)
    for changes in ({"secret": "open", "keep_seconds": 90}, {"body": BINARY, "delay_seconds": 0.125}, {"body": b""}):
        before = bins.change(engine, NAME, changes)  # type: ignore[arg-type]
        client.post(f"/bins/{NAME}/setup", data=form(engine))
        assert bins.show_bin(engine, NAME) == before


def test_a_secret_is_taken_away_by_its_box(client: FlaskClient, engine: sa.Engine) -> None:
    put(engine)
    bins.change(engine, NAME, {"secret": "open"})
    question = client.post(f"/bins/{NAME}/setup", data=form(engine, no_secret="on")).text
    assert "The secret of now is gone. Anybody may send then." in question
    assert bins.show_bin(engine, NAME)["has_secret"] is True
    client.post(f"/bins/{NAME}/setup", data=answer(question))
    assert bins.show_bin(engine, NAME)["has_secret"] is False


def test_keeping_fewer_captures_asks_with_how_many_go(client: FlaskClient, engine: sa.Engine) -> None:
    for _ in range(5):
        put(engine)
    question = client.post(f"/bins/{NAME}/setup", data=form(engine, keep_count="2")).text
    assert asks(question) == f"Save how {NAME} is set up?"
    assert "3 captures of 5 go with the next request." in question
    assert bins.show_bin(engine, NAME)["keep_count"] == 500
    client.post(f"/bins/{NAME}/setup", data=answer(question))
    assert bins.show_bin(engine, NAME)["keep_count"] == 2


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("status", "abc"),
        ("status", "99"),
        ("delay_seconds", "-1"),
        ("delay_seconds", "31"),
        ("fail_every", "٣"),
        ("keep_count", "0"),
        ("keep_seconds", "soon"),
        ("keep_seconds", "9999999w"),
        ("headers", "no colon"),
        ("headers", "X A: 1"),
        ("headers", "X-A: 1\rX-B: 2"),
        ("headers", "Transfer-Encoding: chunked"),
        ("secret", "ä"),
    ],
)
def test_what_cannot_be_is_told_beside_its_field_and_what_was_written_stays(
    client: FlaskClient, engine: sa.Engine, field: str, text: str
) -> None:
    put(engine)
    before = bins.show_bin(engine, NAME)
    answer = client.post(f"/bins/{NAME}/setup", data=form(engine, **{field: text, "body": "kept <b>"}))
    assert answer.status_code == 422
    assert answer.text.count('aria-invalid="true"') == 1
    assert "kept &lt;b&gt;" in answer.text
    assert bins.show_bin(engine, NAME) == before


def test_clearing_and_deleting_ask_with_the_number_and_say_it_afterwards(
    client: FlaskClient, engine: sa.Engine
) -> None:
    for _ in range(3):
        put(engine)
    page = client.get(f"/bins/{NAME}/setup").text
    assert "Clear 3 captures" in page
    assert f"Delete {NAME} with 3 captures" in page
    assert asks(client.post(f"/bins/{NAME}/clear").text) == f"Delete 3 captures of the bin {NAME}?"
    assert "3 captures deleted" in confirm(client, f"/bins/{NAME}/clear", follow_redirects=True).text
    put(engine)
    assert asks(client.post(f"/bins/{NAME}/delete").text) == f"Delete the bin {NAME} and its 1 capture?"
    gone = confirm(client, f"/bins/{NAME}/delete", follow_redirects=True).text
    assert f"The bin {NAME} is deleted, with 1 capture." in gone


def test_nothing_is_deleted_by_a_question(client: FlaskClient, engine: sa.Engine) -> None:
    put(engine)
    for way in ("clear", "delete"):
        client.post(f"/bins/{NAME}/{way}")
        assert bins.show_bin(engine, NAME)["kept"] == 1


def test_what_came_after_the_question_is_not_cleared(client: FlaskClient, engine: sa.Engine) -> None:
    put(engine)
    question = client.post(f"/bins/{NAME}/clear").text
    late = put(engine, method="LATE")
    client.post(f"/bins/{NAME}/clear", data=answer(question))
    assert bins.show_bin(engine, NAME)["kept"] == 1
    assert client.get(late).status_code == 200


def test_a_bin_that_got_more_since_the_question_asks_again_and_then_about_what_is_to_come_too(
    client: FlaskClient, engine: sa.Engine
) -> None:
    put(engine)
    question = client.post(f"/bins/{NAME}/delete").text
    put(engine)
    again = client.post(f"/bins/{NAME}/delete", data=answer(question)).text
    assert asks(again) == f"Delete the bin {NAME} and its 2 captures?"
    assert "What comes until you answer is deleted too." in again
    put(engine)
    assert client.post(f"/bins/{NAME}/delete", data=answer(again)).status_code == 303
    assert client.get(f"/bins/{NAME}").status_code == 404


def test_a_question_is_a_page_to_a_browser_and_a_part_to_the_script(client: FlaskClient, engine: sa.Engine) -> None:
    put(engine)
    page = client.post(f"/bins/{NAME}/delete").text
    part = client.post(f"/bins/{NAME}/delete", headers={"HX-Request": "true", "HX-Target": "question"}).text
    assert "<!doctype html>" in page
    assert "<html" not in part
    assert asks(part) == asks(page)
    assert answer(part) == answer(page)


def test_what_is_too_old_is_not_shown(client: FlaskClient, engine: sa.Engine) -> None:
    old = bins.Request(method="OLD", path="", query="", client="", headers=Headers(), body=b"")
    bins.record(engine, NAME, old, now=datetime(2026, 5, 4, tzinfo=UTC), may_make=True)
    bins.change(engine, NAME, {"keep_seconds": 60})
    assert ">OLD<" not in client.get(f"/bins/{NAME}").text


def box_delivery() -> dict[str, Any]:
    body, lines = samples.forge("box", "FILE.UPLOADED", KEYS["box"], at=datetime.now(UTC), number=1)
    return {"headers": Headers(lines), "body": body}


def test_a_capture_is_sent_on_to_a_source(client: FlaskClient, engine: sa.Engine) -> None:
    page = confirm(client, put(engine, **box_delivery()) + "/forward", {"source": "box"}).text
    (event,) = listings.list_events(engine)["items"]
    assert event["id"] in page
    assert "<html" in page


def test_a_capture_is_sent_on_to_a_url(client: FlaskClient, engine: sa.Engine, served: str) -> None:
    path = put(engine, body=BINARY, headers=Headers([("X-A", "1"), ("Authorization", "Bearer key")]))
    data = {"url": f"{served}/b/other/there"}
    question = client.post(f"{path}/forward", data=data).text
    assert asks(question) == f"Send POST /below again, to {data['url']}?"
    assert "its credentials stay here" in question
    with pytest.raises(NotFoundError):
        bins.show_bin(engine, "other")
    part = client.post(f"{path}/forward", data=answer(question), headers={"HX-Target": "forwarded"}).text
    assert "<code>200</code>" in part
    assert "<html" not in part
    came = bins.read_capture(engine, "other", "last").request
    assert (came.path, came.body) == ("/there", BINARY)
    assert "Authorization" not in came.headers
    confirm(client, f"{path}/forward", data | {"secrets": "on"})
    assert bins.read_capture(engine, "other", "last").request.headers["Authorization"] == "Bearer key"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"source": "nobody"}, "no such source"),
        ({"url": "javascript:alert(1)"}, "only to http:// and https://"),
        ({"url": ""}, "only to http:// and https://"),
        ({}, "only to http:// and https://"),
        ({"url": "http://nobody.invalid/"}, "no address"),
    ],
)
def test_why_a_capture_was_not_sent_on_is_told(
    client: FlaskClient, engine: sa.Engine, data: dict[str, str], said: str
) -> None:
    answer = confirm(client, put(engine) + "/forward", data)
    assert answer.status_code == 200
    assert said in answer.text


def test_in_production_nothing_is_sent_to_this_machine(database_url: str, served: str) -> None:
    token = "token-of-the-tests-of-signalbox"
    app = create_app(settings(database_url, ENV="production", ADMIN_PASSWORD="p" * 10, API_TOKEN=token))
    path = put(service.of(app).engine)
    headers = {"Authorization": f"Bearer {token}"}
    answer = app.test_client().post(f"{path}/forward", data={"url": f"{served}/b/other", "yes": "yes"}, headers=headers)
    service.of(app).engine.dispose()
    assert "private network" in answer.text


REQUESTS: list[dict[str, Any]] = [
    {"method": "GET", "path": ""},
    {"method": "HEAD", "path": "/a"},
    {"method": "PURGE", "path": "/a/../[b]{c}", "query": "a='1'&b=%20"},
    {"body": b"it's\n$HOME `id` \\n @file\n", "headers": Headers([("X-Empty", ""), ("X-Odd", "a'\"\xe9$(id)")])},
    {"body": b"@/etc/passwd"},
    {"body": BINARY * 5, "headers": Headers([("Content-Type", "image/x"), ("User-Agent", "me")])},
    {"body": b"\x1b[31m", "method": "PUT"},
    {"body": b"x" * 131_071},
    {"body": b"x" * 131_072},
    {"body": b"it's $HOME `id` %s \\n\n" * 20_000},
    {"body": "tête".encode(), "headers": Headers([("Accept", "text/plain"), ("Content-Type", "text/plain")])},
]


@pytest.mark.parametrize("told", REQUESTS, ids=[str(number) for number in range(len(REQUESTS))])
def test_the_command_to_paste_sends_the_same_again(engine: sa.Engine, served: str, told: dict[str, Any]) -> None:
    first = bins.read_capture(engine, NAME, put(engine, **told).rpartition("/")[2]).request
    command = as_curl.write(first, f"{served}/b/{NAME}")
    assert command.replace("\n", "").isprintable()
    subprocess.run(["bash"], input=command.encode(), check=True, capture_output=True, timeout=PATIENCE_SECONDS)
    again = bins.read_capture(engine, NAME, "last").request
    assert (again.method, again.path, again.query, again.body) == (first.method, first.path, first.query, first.body)
    ours = [pair for pair in again.headers.pairs if pair[0] not in ("Host", "Content-Length")]
    assert sorted(ours) == sorted(first.headers.pairs)


def test_the_command_to_paste_has_no_credentials(client: FlaskClient, engine: sa.Engine) -> None:
    secrets = [
        ("Authorization", "Bearer key"),
        ("Cookie", "a=b"),
        ("X-Bin-Secret", "[hidden]"),
        ("X-Gitlab-Token", "t"),
    ]
    headers = Headers([*secrets, ("X-A", "1")])
    command = client.get(put(engine, headers=headers) + "/curl")
    assert command.mimetype == "text/plain"
    assert "X-A" in command.text
    assert not re.search("Bearer|Cookie|Secret|Token", command.text)


def test_new_captures_are_told_to_an_open_page(client: FlaskClient, engine: sa.Engine) -> None:
    put(engine, method="FIRST")
    put(engine, method="SECOND")
    answer = client.get(f"/bins/{NAME}/live?after=1")
    told = ""
    for chunk in answer.response:
        told += chunk if isinstance(chunk, str) else chunk.decode()
        if "SECOND" in told:
            break
    answer.close()
    assert answer.mimetype == "text/event-stream"
    assert "id: 2\nevent: came\n" in told
    assert "FIRST" not in told


def test_a_page_that_was_away_for_long_is_told_to_look_anew(client: FlaskClient, engine: sa.Engine) -> None:
    for _ in range(60):
        put(engine)
    answer = client.get(f"/bins/{NAME}/live?after=1")
    told = ""
    for chunk in answer.response:
        told += chunk if isinstance(chunk, str) else chunk.decode()
        if "event:" in told:
            break
    answer.close()
    assert "id: 60\nevent: more\n" in told
