"""The send page: a sample, edited and checked, signed right or wrong on purpose, and what was answered."""

import json
import re
from html import unescape
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from receiver import service
from receiver.app import create_app
from receiver.inbox.rows import Inbox
from receiver.sources import SOURCES, samples
from receiver.sources.spoil import faults_of
from tests import listings
from tests.installation import BOX_KEYS, FILESTACK_KEYS, Clock, arrive, settings

SECRETS = (*BOX_KEYS.values(), *FILESTACK_KEYS.values())


def text_of(page: str) -> str:
    """Give what stands in the editor, as a browser would read it."""
    found = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)
    assert found
    return unescape(found[1])


def form(client: FlaskClient, source: str = "box", name: str = "FILE.UPLOADED", **changed: Any) -> dict[str, Any]:
    """Give the form as the page offers it."""
    page = client.get("/send", query_string={"source": source, "name": name}).text
    return {"source": source, "name": name, "text": text_of(page), "fresh": "on"} | changed


def heads(page: str) -> list[str]:
    """Give status and verdict of every answer on the page."""
    return re.findall(r"</span> (\d{3} \w+)</strong>", page)


@pytest.mark.parametrize("source", SOURCES)
def test_every_name_has_a_sample_that_is_accepted(client: FlaskClient, engine: sa.Engine, source: str) -> None:
    for name in (*samples.names(source), "SOMETHING.NEW"):
        answer = client.post("/send", data=form(client, source, name))
        assert heads(answer.text) == ["200 accepted"], name
        event = listings.show_event(engine, "last")
        assert event["name"] == name
        assert f"/events/{event['id']}" in answer.text


def test_the_names_that_have_a_sample_are_offered(client: FlaskClient) -> None:
    page = client.get("/send?source=filestack").text
    assert all(f'<option value="{name}">' in page for name in samples.names("filestack"))


def test_an_edited_payload_is_sent_as_edited(client: FlaskClient, engine: sa.Engine) -> None:
    wish = form(client)
    payload = json.loads(wish["text"])
    payload["source"]["name"] = "Übersicht 🚂.pdf"
    client.post("/send", data=wish | {"text": json.dumps(payload, indent=4).replace("\n", "\r\n")})
    assert listings.show_event(engine, "last")["payload"]["source"]["name"] == "Übersicht 🚂.pdf"


def test_a_new_id_makes_another_event_and_the_same_one_a_duplicate(client: FlaskClient) -> None:
    wish = form(client)
    kept = {name: value for name, value in wish.items() if name != "fresh"}
    answers = [client.post("/send", data=data).text for data in (kept, kept, wish)]
    assert [heads(answer) for answer in answers] == [["200 accepted"], ["200 duplicate"], ["200 accepted"]]


def test_sent_twice_it_is_one_event_with_two_deliveries(client: FlaskClient, engine: sa.Engine) -> None:
    answer = client.post("/send", data=form(client, double="on"))
    assert heads(answer.text) == ["200 accepted", "200 duplicate"]
    assert listings.show_event(engine, "last")["deliveries"] == 2


@pytest.mark.parametrize(
    ("source", "key", "by"),
    [
        ("box", "", "primary"),
        ("box", "primary", "primary"),
        ("box", "secondary", "secondary"),
        ("filestack", "", "secret 1"),
        ("filestack", "secret 2", "secret 2"),
    ],
)
def test_it_is_signed_with_the_key_that_was_chosen(
    client: FlaskClient, engine: sa.Engine, source: str, key: str, by: str
) -> None:
    client.post("/send", data=form(client, source, key=key))
    assert listings.show_event(engine, "last")["verified_by"] == by


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_wrong_on_purpose_is_refused_for_it_and_linked(
    client: FlaskClient, engine: sa.Engine, source: str
) -> None:
    wish = form(client, source)
    for fault in faults_of(source):
        answer = client.post("/send", data=wish | {"fault": fault})
        item = listings.list_rejected(engine)["items"][0]
        assert heads(answer.text) == ["401 rejected"], fault
        assert item["reason"] == faults_of(source)[fault].reason
        assert f"/rejected/{item['id']}" in answer.text
        assert "refused as it should be" in answer.text


def test_what_cannot_be_read_is_signed_as_typed_quarantined_and_linked(client: FlaskClient, engine: sa.Engine) -> None:
    wish = form(client)
    for text in ("", "no JSON", "[1]", '{"a": NaN}', "[" * 3000, '{"trigger": 5}', '{"a": "\\ud800"}'):
        answer = client.post("/send", data=wish | {"text": text})
        item = listings.list_quarantined(engine)["items"][0]
        assert heads(answer.text) == ["422 quarantined"], text
        assert f"/quarantine/{item['id']}" in answer.text


def check(client: FlaskClient, source: str, text: str) -> str:
    data = {"source": source, "text": text}
    return client.post("/send/check", data=data, headers={"HX-Target": "check", "HX-Request": "true"}).text


def test_an_error_is_told_with_its_line_and_column(client: FlaskClient) -> None:
    part = check(client, "box", '{"a": 1\r\n "b": 2}')
    assert 'data-line="2" data-column="2"' in part
    assert "Line 2, column 2" in part
    assert 'data-valid="no"' in part
    assert "<textarea" not in part


def test_the_check_says_what_the_receiver_would(client: FlaskClient) -> None:
    for source, text, said in (
        ("box", "", "Empty."),
        ("box", "[]", "Not a JSON object."),
        ("box", "{}", "trigger"),
        ("box", '{"trigger": "A B"}', "May hold no spaces"),
        ("filestack", '{"action": 7}', "Not a valid string."),
        ("filestack", '{"action": "fp.upload"}', "id</span> Missing data"),
        ("filestack", '{"a": "\\ud800"}', "UTF-8"),
        ("box", '{"trigger": "X.NEW", "id": "1"}', "Unknown trigger"),
        ("box", '{"a": 1, "a": ' + "9" * 5000 + "}", "too many digits"),
        ("box", "[" * 100_000, "Nested deeper"),
        ("filestack", '{"action":"<script>alert(1)</script>"}', "&lt;script&gt;"),
    ):
        part = check(client, source, text)
        assert said in part, text[:40]
        assert "<script" not in part


def test_a_sample_checks_without_a_complaint(client: FlaskClient) -> None:
    assert 'data-valid="yes"' in check(client, "box", form(client)["text"])


def test_without_javascript_the_check_is_a_page_that_keeps_what_was_typed(client: FlaskClient) -> None:
    page = client.post("/send/check", data={"source": "box", "name": "X", "text": '{"a": </textarea>'}).text
    assert text_of(page) == '{"a": </textarea>'
    assert "Line 1, column 7" in page


def test_an_event_can_be_edited_and_sent_again(client: FlaskClient, inbox: Inbox, engine: sa.Engine) -> None:
    event_id = arrive(inbox, Clock(), "filestack", "fp.converse")
    page = client.get(f"/send?from={event_id}").text
    assert json.loads(text_of(page)) == listings.show_event(engine, event_id)["payload"]
    assert 'value="fp.converse"' in page
    assert client.get("/send?from=01KQT0R5V0ZX3M8N6B1C9D7F2G").status_code == 404


def test_what_would_not_be_seen_in_the_editor_is_written_as_its_number(client: FlaskClient, engine: sa.Engine) -> None:
    name = "FILE.\u202eDAOLPU\x07"
    page = client.get("/send", query_string={"source": "box", "name": name}).text
    assert '"trigger": "FILE.\\u202eDAOLPU\\u0007"' in text_of(page)


def test_one_click_sends_a_sample_and_goes_on(client: FlaskClient, engine: sa.Engine) -> None:
    answer = client.post("/send/sample", data={"source": "filestack", "next": "/?type=filestack:*"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/?type=filestack:*")
    assert listings.show_event(engine, "last")["type"] == "filestack:fp.upload"
    client.post("/send/sample", data={"source": "box", "name": "COMMENT.CREATED", "next": "/"})
    assert listings.show_event(engine, "last")["type"] == "box:COMMENT.CREATED"


@pytest.mark.parametrize("following", ["//evil.example", "https://evil.example", "/\\evil.example", ""])
def test_one_click_leads_nowhere_else(client: FlaskClient, following: str) -> None:
    answer = client.post("/send/sample", data={"source": "box", "next": following})
    assert answer.headers["Location"] == "/"


def test_a_source_that_is_off_names_its_setting_and_sends_nothing(database_url: str) -> None:
    app = create_app(settings(database_url, BOX_PRIMARY_KEY=None, BOX_SECONDARY_KEY=None))
    client = app.test_client()
    page = client.get("/send?source=box").text
    assert "BOX_PRIMARY_KEY" in page
    assert "<textarea" not in page
    assert "filestack" in client.get("/send").text
    assert client.post("/send", data={"source": "box", "text": "{}"}).status_code == 404
    answer = client.post("/send/sample", data={"source": "box", "next": "/"})
    assert answer.headers["Location"] == "/send?source=box"
    service.of(app).engine.dispose()


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"source": "nobody"},
        {"source": "box", "key": "tertiary", "text": "{}"},
        {"source": "filestack", "fault": "version", "text": "{}"},
        {"source": "box", "fault": "\0", "text": "{}"},
    ],
)
def test_what_the_form_never_offers_is_not_found(client: FlaskClient, data: dict[str, str]) -> None:
    assert client.post("/send", data=data).status_code == 404


def test_a_body_that_is_too_long_is_answered_as_it_would_be(database_url: str) -> None:
    app = create_app(settings(database_url, MAX_BODY_BYTES=2000))
    client = app.test_client()
    answer = client.post("/send", data={"source": "filestack", "text": '{"action": "' + "a" * 2500 + '"}'})
    assert heads(answer.text) == ["413 error"]
    assert "MAX_BODY_BYTES" in answer.text
    service.of(app).engine.dispose()


def test_a_part_is_asked_for_by_htmx_alone(client: FlaskClient) -> None:
    answer = client.post("/send", data=form(client), headers={"HX-Target": "answer", "HX-Request": "true"})
    assert answer.text.lstrip().startswith('<section id="answer"')


def test_no_key_is_on_any_page(client: FlaskClient) -> None:
    pages = [client.get("/send").text, client.get("/send?source=filestack").text]
    pages += [client.post("/send", data=form(client, source)).text for source in SOURCES]
    pages.append(client.post("/send", data=form(client, fault="tampered")).text)
    assert not any(secret in page for page in pages for secret in SECRETS)
