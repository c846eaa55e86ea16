"""The inbox: one line an event, narrowed by the address, and all that came from outside is text."""

import html
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from receiver import service
from receiver.app import create_app
from receiver.events import Delivery, Event, Headers, Reason, Refused, Unread, Verified
from receiver.inbox.rows import Inbox
from receiver.jobs.routing import Router
from receiver.jobs.worker import Worker
from receiver.observe import queries
from receiver.sources import SOURCES
from receiver.sources.summary import About
from receiver.storage import search
from receiver.web.pages import filters, list_rows
from tests.installation import delivery, settings

pytestmark = pytest.mark.both_databases

Keep = Callable[..., str]
ROW = re.compile(r'<a class="row".*?</a>', re.DOTALL)


@pytest.fixture
def keep(inbox: Inbox) -> Keep:
    """Keep a sample, of some time ago, and give the id of its event."""

    def accept(type_: str = "box:FILE.UPLOADED", number: int = 1, body: bytes = b"", **ago: float) -> str:
        source, _, name = type_.partition(":")
        came = delivery(source, name, at=datetime.now(UTC) - timedelta(**ago), number=number)
        came = replace(came, body=body or came.body)
        return inbox.accept(came, SOURCES[source].parse(came), Verified("primary")).event_id

    return accept


def shown(page: str) -> list[str]:
    """Give the ids of the lines, as they stand."""
    return [found for row in ROW.findall(page) for found in re.findall(r'data-id="(\w+)"', row)]


def words_of(row: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", row)).split())


def test_an_event_is_one_line(client: FlaskClient, keep: Keep) -> None:
    kept = keep(number=3)
    (row,) = ROW.findall(client.get("/").text)
    assert words_of(row).endswith(" Box box FILE.UPLOADED Fahrplan 3 🚂.pdf 2.1 kB primary not routed yet …")
    assert f'href="/events/{kept}"' in row
    assert all(part in row for part in ('hx-target="#detail"', 'hx-push-url="true"', "data-row"))


def test_a_line_says_what_became_of_its_jobs(
    client: FlaskClient, keep: Keep, engine: sa.Engine, router: Router
) -> None:
    @router.on("*")
    def succeed(event: Event) -> None: ...

    @router.on("*", attempts=1)
    def stumble(event: Event) -> None:
        raise ValueError

    keep()
    Worker(engine, router, clock=lambda: datetime.now(UTC)).drain()
    (row,) = ROW.findall(client.get("/").text)
    assert "2 jobs: 1 dead, 1 done" in row
    assert re.findall(r'href="#mark-(\w+)"', row) == ["dead", "done"]


def test_many_jobs_are_counted_instead_of_drawn() -> None:
    line = list_rows.Line(1, "A", "box", "box:X", datetime.now(UTC), "primary", About(""), "routed", 1, 0, {"done": 6})
    assert line.marks == [("done", 0)] * 6
    assert replace(line, job_counts={"done": 6, "dead": 2}).marks == [("dead", 2), ("done", 6)]


def test_a_line_says_that_it_came_again_and_drifts(client: FlaskClient, inbox: Inbox, engine: sa.Engine) -> None:
    came = delivery("box", "FILE.UPLOADED", at=datetime.now(UTC))
    came = replace(came, body=came.body.replace(b'"source"', b'"new":1,"source"', 1))
    for _ in range(3):
        inbox.accept(came, SOURCES["box"].parse(came), Verified("primary"))
    Worker(engine, Router(), clock=lambda: datetime.now(UTC)).drain()
    (row,) = ROW.findall(client.get("/").text)
    assert "3 deliveries" in row
    assert "Drift: 1 field" in row
    assert "no handler wanted it" in row


def test_the_address_filters(client: FlaskClient, keep: Keep) -> None:
    file, folder, upload = keep(), keep("box:FOLDER.CREATED", hours=2), keep("filestack:fp.upload")
    for query, wanted in {
        "source=box": [folder, file],
        "type=box:FILE.*": [file],
        "source=box&type=*&since=1h": [file],
        "since=1h": [upload, file],
        "until=1h": [folder],
        "q=Depot": [folder],
        "state=accepted": [upload, folder, file],
        "state=dead": [],
        "source=&type=&q=": [upload, folder, file],
    }.items():
        assert shown(client.get(f"/?{query}").text) == wanted, query


def test_the_filter_stays_in_the_form_and_in_every_link(client: FlaskClient, keep: Keep) -> None:
    kept = keep()
    page = client.get("/?source=box&q=%22Fahrplan").text
    assert 'value="&#34;Fahrplan"' in page
    assert '<option value="box" selected>' in page
    page = client.get("/?source=box&q=Fahrplan+1").text
    assert f'href="/events/{kept}?source=box&amp;q=Fahrplan+1"' in page
    assert 'href="/rejected?source=box&amp;q=Fahrplan+1"' in page


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("type=FILE.UPLOADED", "Write a type with its source"),
        ("since=yesterday", "Write 15m, 2h or 3d"),
        ("until=99999999999w", "Write 15m, 2h or 3d"),
        ("since=0001-01-01T00:00%2B14:00", "Write 15m, 2h or 3d"),
        ("until=2h&since=1h", "This is not after since"),
        ("source=dropbox", "The sources are box and filestack"),
        ("state=lost", "There is no such state"),
        ("cursor=x", "No list led to this address"),
    ],
)
def test_a_filter_that_makes_no_sense_is_explained_beside_it(
    client: FlaskClient, keep: Keep, query: str, sentence: str
) -> None:
    kept = keep()
    answer = client.get(f"/?{query}")
    assert answer.status_code == 200
    assert sentence in answer.text
    name = query.partition("=")[0]
    assert f'id="{name}-problem"' in answer.text
    assert name == "cursor" or 'aria-invalid="true"' in answer.text
    assert shown(answer.text) == ([kept] if name == "cursor" else [])
    assert name == "cursor" or "Nothing is listed: a filter above makes no sense." in words_of(answer.text)


def test_a_filter_that_only_events_have_lists_no_rejected_delivery(client: FlaskClient, inbox: Inbox) -> None:
    came = delivery("box", "FILE.UPLOADED", at=datetime.now(UTC))
    rejected = inbox.reject(came, Refused(Reason.SIGNATURE_MISMATCH, "No key matches."))
    assert shown(client.get("/rejected").text) == [rejected]
    page = client.get("/rejected?type=box:*&state=dead").text
    assert "Only events have a type." in page
    assert "Only events have a state." in page
    assert shown(page) == []


def test_a_list_that_a_filter_makes_no_sense_of_is_not_live(client: FlaskClient, keep: Keep) -> None:
    keep()
    assert "data-live" not in client.get("/?state=lost").text
    assert client.get("/live?state=lost").status_code == 400


@pytest.mark.parametrize("text", ["%00", "%ff", "%F0%9F%9A%82", "' OR 1=1 --", "%", "_", "\\", "<script>"])
@pytest.mark.parametrize("name", [*filters.OF_EVENTS, "cursor"])
def test_nothing_in_an_address_is_an_error(client: FlaskClient, keep: Keep, name: str, text: str) -> None:
    keep()
    for root in filters.ROOTS.values():
        answer = client.get(f"{root}?{name}={text}")
        assert answer.status_code == 200
        assert "<script>" not in answer.text.replace("<script src", "")


def test_older_events_follow_without_gap_while_more_arrive(client: FlaskClient, keep: Keep) -> None:
    ids = [keep(number=number) for number in range(queries.LIMIT * 2 + 7)]
    found: list[str] = []
    address = "/?source=box"
    while address:
        page = client.get(address).text
        found += shown(page)
        keep(number=1000 + len(found))
        link = re.search(r'id="older"><a href="([^"]+)"', page)
        address = html.unescape(link[1]) if link else ""
    assert found == ids[::-1]


def test_htmx_gets_what_is_to_be_appended_and_nothing_else(client: FlaskClient, keep: Keep) -> None:
    for number in range(queries.LIMIT + 1):
        keep(number=number)
    page = client.get("/").text
    (address,) = re.findall(r'hx-get="([^"]+)" hx-target="#older"', page)
    part = client.get(html.unescape(address), headers={"HX-Request": "true", "HX-Target": "older"}).text
    assert "<html" not in part
    assert len(shown(part)) == 1
    assert re.search(r'href="/events/\w+"', part)


def test_a_page_of_older_events_is_not_live_and_leads_back(client: FlaskClient, keep: Keep) -> None:
    keep()
    assert "data-live" in client.get("/").text
    older = client.get("/?cursor=1").text
    assert "data-live" not in older
    assert '<a href="/" data-row>Newest</a>' in older


def test_a_search_that_takes_too_long_says_how_far_it_got(
    client: FlaskClient, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    oldest = keep(number=77, body=b"")
    for number in range(100, 100 + 2 * search.FIRST_STEP_OF_SEARCH):
        keep(number=number)
    monkeypatch.setattr(search, "PATIENCE", timedelta(0))
    page = client.get("/?q=Fahrplan+77").text
    assert "32 of about 65 events." in words_of(page)
    assert "Searched back to" in page
    while not shown(page):
        address = re.search(r'<a href="([^"]+)"[^>]*>Go on</a>', page)
        assert address
        page = client.get(html.unescape(address[1])).text
    assert shown(page) == [oldest]


def test_rejected_deliveries_stand_beside_with_their_reason_in_words(client: FlaskClient, inbox: Inbox) -> None:
    came = delivery("box", "FILE.UPLOADED", at=datetime.now(UTC))
    kept = inbox.reject(came, Refused(Reason.SIGNATURE_MISMATCH, "No key matches."))
    assert '<small data-count="rejected">1</small>' in client.get("/").text
    (row,) = ROW.findall(client.get("/rejected").text)
    assert words_of(row).endswith(
        " Box box Not signed with our keys says of itself: FILE.UPLOADED Fahrplan 1 🚂.pdf signature_mismatch"
    )
    assert f'href="/rejected/{kept}"' in row


def test_every_reason_has_its_words() -> None:
    assert set(list_rows.REASONS) == {reason.value for reason in (*Reason, *Unread)}


def test_quarantined_deliveries_stand_beside_with_what_is_wrong(client: FlaskClient, inbox: Inbox) -> None:
    came = delivery("box", "FILE.UPLOADED", at=datetime.now(UTC))
    inbox.quarantine(came, Verified("primary"), {"trigger": ["Missing data for required field."]})
    (row,) = ROW.findall(client.get("/quarantine").text)
    assert "trigger: Missing data for required field." in row


@pytest.mark.parametrize(
    ("source", "body", "claim"),
    [
        ("box", rb'{"trigger": "FILE.MOVED", "source": {"name": "<b>\u202elamp</b>"}}', "FILE.MOVED <b>U+202Elamp</b>"),
        ("box", b'{"trigger": ["FILE.MOVED"], "source": [[]]}', ""),
        ("box", rb'{"trigger": "\ud800"}', "U+D800"),
        ("filestack", b'{"action": "fp.upload", "text": {"filename": "lamp.jpg"}}', "fp.upload lamp.jpg"),
        ("filestack", b'{"action": 1, "text": "lamp.jpg"}', ""),
        ("box", b'{"trigger": "FILE.MOVED", "x": "' + b"x" * list_rows.LONGEST_READ + b'"}', ""),
        ("box", b"[" * 100_000, ""),
        ("box", b"\xff", ""),
        ("box", b"[]", ""),
        ("box", b"", ""),
    ],
)
def test_what_a_refused_body_says_of_itself_stands_in_its_line(
    client: FlaskClient, inbox: Inbox, source: str, body: bytes, claim: str
) -> None:
    came = Delivery(source=source, body=body, headers=Headers(), received_at=datetime.now(UTC))
    inbox.reject(came, Refused(Reason.SIGNATURE_MISSING, "None."))
    inbox.quarantine(came, Verified("primary"), {"body": ["Odd."]})
    for root in ("/rejected", "/quarantine"):
        (row,) = ROW.findall(client.get(root).text)
        assert words_of(row.replace("<b>", "")).count("says of itself") == bool(claim)
        assert "<b>" not in row
        found = re.search(
            r'<span class="claim clip".*?>(.*?)</span>\s*(?:<small|<span class="extra"|</a>)', row, re.DOTALL
        )
        assert found
        said = html.unescape(re.sub(r"<[^>]+>", "", found[1]))
        assert said.removeprefix("says of itself: ").strip() == claim


def test_more_than_a_hundred_are_not_counted(client: FlaskClient, inbox: Inbox) -> None:
    came = delivery("box", "FILE.UPLOADED", at=datetime.now(UTC))
    for _ in range(100):
        inbox.reject(came, Refused(Reason.SIGNATURE_MISSING, "None."))
    assert '<small data-count="rejected">99+</small>' in client.get("/").text


HOSTILE = '</span><script>alert(1)</script>\\u202egnp.exe\\u0000" onmouseover=x'


def test_what_came_is_text_in_the_list(client: FlaskClient, keep: Keep) -> None:
    body = delivery("box", "FILE.UPLOADED", at=datetime.now(UTC)).body
    name = HOSTILE.replace('"', '\\"')
    keep(body=re.sub(rb'"name":"Fahrplan[^"]*"', f'"name":"{name}"'.encode().replace(b"\\", b"\\\\"), body))
    (row,) = ROW.findall(client.get("/").text)
    assert "<script" not in row
    assert "U+202E" in row
    assert "U+0000" in row
    assert 'onmouseover=x"' not in row


def test_what_came_is_text_among_the_quarantined(client: FlaskClient, inbox: Inbox) -> None:
    came = delivery("box", "FILE.UPLOADED", at=datetime.now(UTC))
    inbox.quarantine(came, Verified("primary"), {"<script>\u202e": ["<b>\x1b"]})
    (row,) = ROW.findall(client.get("/quarantine").text)
    assert "<script>" not in row
    assert "<b>" not in row
    assert "U+001B" in row


def test_the_empty_inbox_says_where_to_deliver_and_how_to_try(client: FlaskClient) -> None:
    page = client.get("/", base_url="http://localhost:8000").text
    assert "<code>http://localhost:8000/hooks/box</code>" in page
    assert "<code>http://localhost:8000/hooks/filestack</code>" in page
    assert "<code>.venv/bin/signalbox send box FILE.UPLOADED</code>" in page
    assert '<form method="post" action="/send/sample"><input type="hidden" name="source" value="box">' in page


def test_an_empty_list_says_what_is_there_now_and_nothing_of_before(client: FlaskClient) -> None:
    assert "Nothing is quarantined now." in client.get("/quarantine").text
    assert "No rejected delivery is kept." in client.get("/rejected").text
    for root in ("/quarantine", "/rejected"):
        assert "so far" not in client.get(root).text


def test_the_line_for_a_shell_names_a_port_that_no_other_shell_would_look_at(client: FlaskClient) -> None:
    for address in ("/", "/stats"):
        page = client.get(address, base_url="http://127.0.0.1:8431").text
        assert re.search(r"signalbox send box FILE.UPLOADED[^<]* --to http://127.0.0.1:8431</code>", page)


def test_a_source_that_is_off_says_what_turns_it_on(database_url: str) -> None:
    app = create_app(settings(database_url, FILESTACK_SECRETS=()))
    page = app.test_client().get("/").text
    assert "Off. Set <code>FILESTACK_SECRETS</code> to turn it on." in page
    assert 'value="filestack">' not in re.sub(r"<option.*?</option>", "", page)
    service.of(app).engine.dispose()


def test_what_is_selected_is_marked_and_shown_with_its_list(app: Flask, client: FlaskClient, keep: Keep) -> None:
    kept = keep()
    keep("filestack:fp.upload")
    page = client.get(f"/events/{kept}?source=box").text
    assert shown(page) == [kept]
    (row,) = ROW.findall(page)
    assert 'aria-current="true"' in row
    assert '<body class="panes inbox selected">' in page


def test_going_back_searches_for_nothing(client: FlaskClient, keep: Keep) -> None:
    keep()
    page = client.get("/?q=Fahrplan", headers={"HX-Request": "true", "HX-History-Restore-Request": "true"}).text
    assert shown(page) == []
    assert 'id="detail"' in page
