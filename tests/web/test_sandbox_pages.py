"""The sandbox's own pages: its drive, actions by form, what was sent, faults, and who may not touch any of it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from receiver.sandbox import Answer, Plan, World, create_sandbox, world_of
from receiver.sandbox.actions import ACTIONS
from receiver.sandbox.faults import Faults
from receiver.sandbox.filestack_events import KINDS
from receiver.sandbox.pages import open_pages
from tests.installation import KEYS
from tests.sandbox.calls import Box, Controls
from tests.web.asked import answer as yes
from tests.web.asked import asks, confirm

INBOX = "http://127.0.0.1:8000"


@pytest.fixture
def answers() -> list[Answer]:
    """What the receiver answers next, before it takes everything."""
    return []


@pytest.fixture
def client(answers: list[Answer]) -> Iterator[FlaskClient]:
    plan = Plan(keys=KEYS, filestack_addresses=[f"{INBOX}/hooks/filestack"])
    app = create_sandbox(plan, post=lambda *_: answers.pop(0) if answers else Answer(200, "taken"))
    open_pages(app, inbox=INBOX)
    yield app.test_client()
    world_of(app).close()


@pytest.fixture
def world(client: FlaskClient) -> World:
    return world_of(client.application)


@pytest.fixture
def box(client: FlaskClient) -> Box:
    return Box(client)


@pytest.fixture
def controls(client: FlaskClient) -> Controls:
    return Controls(client)


def words(answer: TestResponse) -> str:
    """Give what somebody reads on the page."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.text))


def shown(client: FlaskClient, address: str = "/") -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return words(answer)


def do(client: FlaskClient, action: str, item: str, **more: str) -> TestResponse:
    """Do something at an item; what cannot be undone asks, and is confirmed."""
    answer = client.post("/do", data={"action": action, "item": item, **more}, follow_redirects=True)
    return client.post("/do", data=yes(answer.text), follow_redirects=True) if asks(answer.text) else answer


def test_an_empty_drive_says_how_to_begin(client: FlaskClient) -> None:
    page = shown(client)
    assert "BOX_API_URL=http://localhost .venv/bin/signalbox box create folder:1200 FILE.UPLOADED" in page
    assert "Nothing was sent yet." in page


def test_the_tree_shows_what_is_where_and_which_webhooks_watch_it(
    client: FlaskClient, box: Box, controls: Controls
) -> None:
    id_ = box.register("FILE.UPLOADED")
    controls.do("upload", "1200/Plans/lamp.pdf")
    page = client.get("/").text
    rows = re.findall(r'data-depth="(\d+)" id="at-\w+-(\d+)"', page)
    assert rows == [("0", "0"), ("1", "1200"), ("2", "1600000001"), ("3", "1600000002")]
    assert f"Folder 1200/ webhook {id_} 1200" in shown(client)


def test_an_item_says_who_hears_of_it_and_from_where(client: FlaskClient, box: Box, controls: Controls) -> None:
    id_ = box.register("FILE.UPLOADED", "FILE.RENAMED")
    controls.do("upload", "1200/lamp.pdf")
    page = shown(client, "/?item=file:1600000001")
    assert f"webhook {id_} of guest 1, on the folder Folder 1200, to http://127.0.0.1:8000/hooks/box" in page


def test_what_is_done_on_the_page_is_done_told_and_delivered(client: FlaskClient, box: Box, world: World) -> None:
    id_ = box.register("FILE.UPLOADED")
    answer = do(client, "upload", "folder:1200", name="2026/lamp.pdf")
    assert answer.request.args["item"] == "file:1600000002"
    assert "FOLDER.CREATED , FILE.UPLOADED : 1 event is on the way." in words(answer)
    world.courier.run_due()
    assert f"200 FILE.UPLOADED webhook {id_} → http://127.0.0.1:8000/hooks/box" in shown(client)


def test_what_nobody_asks_for_is_said_to_be_sent_to_nobody(client: FlaskClient) -> None:
    assert "nothing was sent" in words(do(client, "create", "folder:0", name="Inbox"))


@pytest.mark.parametrize(
    ("action", "more", "trigger"),
    [
        ("upload", {}, "FILE.UPLOADED"),
        ("preview", {}, "FILE.PREVIEWED"),
        ("download", {}, "FILE.DOWNLOADED"),
        ("lock", {}, "FILE.LOCKED"),
        ("rename", {"to": "old.pdf"}, "FILE.RENAMED"),
        ("move", {"to": "folder:1300"}, "FILE.MOVED"),
        ("copy", {"to": "folder:1300"}, "FILE.COPIED"),
        ("comment", {"step": "created", "text": "See page 2"}, "COMMENT.CREATED"),
        ("task", {"step": "created", "text": ""}, "TASK_ASSIGNMENT.CREATED"),
        ("share", {"step": "created"}, "SHARED_LINK.CREATED"),
        ("metadata", {"step": "created"}, "METADATA_INSTANCE.CREATED"),
        ("collaborate", {"step": "created"}, "COLLABORATION.CREATED"),
        ("sign", {"step": "declined"}, "SIGN_REQUEST.DECLINED"),
        ("set-off", {"to": "DOCGEN_DOCUMENT_GENERATION_STARTED"}, "DOCGEN_DOCUMENT_GENERATION_STARTED"),
        ("trash", {}, "FILE.TRASHED"),
        ("delete", {}, "FILE.DELETED"),
    ],
)
def test_the_page_has_a_form_for_every_action(
    client: FlaskClient, controls: Controls, action: str, more: dict[str, str], trigger: str
) -> None:
    controls.do("upload", "1200/lamp.pdf")
    controls.do("create", "1300")
    page = client.get("/?item=file:1600000001").text
    form = next(form for form in page.split("<form")[1:] if f'name="action" value="{action}"' in form)
    named = set(re.findall(r' name="(\w+)"', form.partition("</form>")[0]))
    assert named == {"action", "item"} | set(more)
    assert trigger in words(do(client, action, "file:1600000001", **more))


def test_actions_that_the_page_of_a_file_has_no_form_for_are_on_other_pages(
    client: FlaskClient, controls: Controls
) -> None:
    controls.do("upload", "1200/lamp.pdf")
    pages = client.get("/?item=file:1600000001").text + client.get("/?item=folder:1200").text
    for action in ("lock", "trash"):
        controls.do(action, "1200/lamp.pdf")
        pages += client.get("/?item=file:1600000001").text
    assert {name for name in ACTIONS if f'name="action" value="{name}"' not in pages} == set()


@pytest.mark.parametrize("name", list(KINDS))
def test_everything_of_filestack_is_a_button(client: FlaskClient, world: World, name: str) -> None:
    page = client.get("/?item=filestack").text
    assert f'name="action" value="{name}"' in page
    way = KINDS[name].ways[-1] if KINDS[name].ways else ""
    answer = client.post("/filestack", data={"action": name, "way": way}, follow_redirects=True)
    assert KINDS[name].name in words(answer)
    assert world.courier.run_due() > 0


def test_what_is_refused_is_said_above_the_item(client: FlaskClient, controls: Controls) -> None:
    controls.do("upload", "1200/lamp.pdf")
    wish = {"action": "rename", "item": "file:1600000001", "to": "a/b"}
    for headers, status in (({}, 400), ({"HX-Request": "true"}, 200)):
        answer = client.post("/do", data=wish, headers=headers)
        assert (answer.status_code, "is not a valid name" in words(answer)) == (status, True)
        assert "lamp.pdf" in words(answer)


def test_a_delivery_that_failed_says_what_came_back_and_when_it_comes_again(
    client: FlaskClient, box: Box, controls: Controls, world: World, answers: list[Answer]
) -> None:
    box.register("FILE.UPLOADED")
    answers.append(Answer(503, "<b>down</b>"))
    controls.do("upload", "1200/lamp.pdf")
    world.courier.run_due()
    answer = client.get("/")
    assert "503 FILE.UPLOADED" in words(answer)
    assert re.search(r"&lt;b&gt;down&lt;/b&gt;; delivery 2 in 1[0-9]\.\d s", answer.text)


def test_what_was_sent_is_given_alone(client: FlaskClient) -> None:
    part = client.get("/?item=folder:1", headers={"HX-Request": "true", "HX-Target": "sent"}).text
    assert "<html" not in part
    assert part.count('id="sent"') == 1


def test_what_waits_to_be_sent_is_there_with_its_time(client: FlaskClient, box: Box, world: World) -> None:
    box.register("FILE.UPLOADED")
    world.set_faults(Faults(delay=240))
    do(client, "upload", "folder:1200", name="lamp.pdf")
    assert "not sent yet FILE.UPLOADED" in shown(client)
    assert "What is sent is spoilt: delay 240" in shown(client)


def test_a_webhook_is_given_up(client: FlaskClient, box: Box, world: World) -> None:
    id_ = box.register("FILE.UPLOADED")
    question = client.post(f"/give-up/{id_}", data={"item": "folder:1200"}).text
    assert asks(question) == f"Give up the webhook {id_} on folder:1200?"
    assert len(world.registrations.all()) == 1
    answer = client.post(f"/give-up/{id_}", data=yes(question), follow_redirects=True)
    assert "WEBHOOK.DELETED : 1 event is on the way." in words(answer)
    assert world.registrations.all() == []


def test_deleting_for_good_asks_with_what_is_in_it(client: FlaskClient, world: World) -> None:
    do(client, "upload", "folder:1200", name="letters/lamp.pdf")
    do(client, "upload", "folder:1200", name="letters/stove.pdf")
    folder = next(item for item in world.drive.all() if item.name == "letters")
    question = client.post("/do", data={"action": "delete", "item": f"folder:{folder.id}"}).text
    assert asks(question) == "Delete the folder letters and the 2 things in it for good?"
    assert all(item.state == "active" for item in world.drive.all())
    client.post("/do", data=yes(question))
    assert "letters" not in client.get("/").text


def test_looking_makes_nothing(client: FlaskClient, world: World) -> None:
    for address in ("/?item=folder:9999", "/?item=file:1", "/?item=&did=<b>&sent=x", "/?item=folder:%00"):
        shown(client, address)
    assert [item.id for item in world.drive.all()] == ["0"]


def test_names_are_text(client: FlaskClient, controls: Controls) -> None:
    controls.do("upload", "<script>alert(1).pdf")
    page = client.get("/?item=file:1600000001").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_faults_stand_until_they_are_ended(client: FlaskClient, world: World) -> None:
    client.post("/faults", data={"duplicates": "2", "delay": "x", "rotating": "primary", "wrong_key": "on"})
    assert world.faults() == Faults(duplicates=2, rotating="primary", wrong_key=True)
    assert 'name="wrong_key" checked' in client.get("/faults").text
    client.post("/faults", data={"duplicates": "2", "none": "1"})
    assert world.faults() == Faults()


def test_the_clock_is_moved(client: FlaskClient, world: World) -> None:
    before = world.clock.now()
    assert asks(client.post("/clock", data={"skip": "15 days"}).text) == "Move the clock of the sandbox 15 days ahead?"
    assert (world.clock.now() - before).days == 0
    confirm(client, "/clock", {"skip": "15 days"})
    client.post("/clock", data={"skip": "never"})
    assert (world.clock.now() - before).days == 15


def test_the_next_calls_of_the_api_are_refused_and_that_is_forgotten(client: FlaskClient, box: Box) -> None:
    client.post("/refusals", data={"status": "429", "times": "2", "retry_after": "3"})
    assert "The next 2 calls are answered 429, with Retry-After 3." in shown(client, "/faults")
    assert box.call("GET").status_code == 429
    client.post("/refusals", data={"none": "1"})
    assert box.call("GET").status_code == 200


def test_a_session_ends_and_tokens_are_revoked(client: FlaskClient, box: Box, world: World) -> None:
    box.register("FILE.UPLOADED")
    question = client.post("/users", data={"name": "guest 1", "revoke": "1"}).text
    assert asks(question) == "Revoke the tokens of guest 1, and remove its 1 webhook?"
    assert len(world.registrations.all()) == 1
    confirm(client, "/users", {"name": "guest 1", "expire": "1"})
    assert "guest 1 guest, over 1" in shown(client, "/faults")
    confirm(client, "/users", {"name": "guest 1", "revoke": "1"})
    assert [event["name"] for event in world.courier.events()] == ["WEBHOOK.DELETED"]
    assert client.post("/users", data={"name": "nobody"}).status_code == 303


CROSS_SITE: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
]


@pytest.mark.parametrize("headers", CROSS_SITE)
def test_a_page_of_another_site_can_send_nothing(client: FlaskClient, world: World, headers: dict[str, str]) -> None:
    json: dict[str, Any] = {"action": "upload", "item": "lamp.pdf"}
    for address in ("/do", "/filestack", "/give-up/1", "/faults", "/clock", "/refusals", "/users", "/2.0/webhooks"):
        assert client.post(address, data={"action": "upload", "item": "a"}, headers=headers).status_code == 403, address
    assert client.post("/sandbox/actions", json=json, headers=headers).status_code == 403
    assert client.put("/sandbox/faults", json={}, headers=headers).status_code == 403
    assert len(world.drive.all()) == 1


def test_every_address_that_changes_something_is_behind_that(client: FlaskClient) -> None:
    rules = client.application.url_map.iter_rules()
    for rule in rules:
        for method in (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}:
            address = re.sub(r"<[^>]*>", "1", rule.rule)
            answer = client.open(address, method=method, headers={"Sec-Fetch-Site": "cross-site"})
            assert (rule.rule, answer.status_code) == (rule.rule, 403)


def test_a_name_that_somebody_points_here_opens_no_page(client: FlaskClient) -> None:
    for address in ("/", "/faults"):
        assert client.get(address, headers={"Host": "rebound.example:8100"}).status_code == 403
    sent = client.post(
        "/sandbox/actions",
        json={"action": "upload", "item": "lamp.pdf"},
        headers={"Host": "rebound.example:8100", "Origin": "http://rebound.example:8100"},
    )
    assert sent.status_code == 403
    for host in ("127.0.0.1:8100", "localhost:8100", "[::1]:8100", "192.0.2.7:8100"):
        assert client.get("/", headers={"Host": host}).status_code == 200


def test_a_program_may_call_the_api_by_whatever_name_its_network_has(client: FlaskClient) -> None:
    headers = {"Host": "sandbox:8100", "Authorization": "Bearer one"}
    assert client.get("/2.0/webhooks", headers=headers).status_code == 200
    assert client.get("/sandbox/items", headers=headers).status_code == 200


def test_pages_load_and_run_nothing_but_their_own(client: FlaskClient) -> None:
    answer = client.get("/", headers={"Host": "127.0.0.1:8100"})
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 127.0.0.1:8100/static/" in policy
    assert "unsafe" not in policy
    for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', answer.text):
        with client.get(address) as file:
            assert file.status_code == 200
    assert not re.search(r' (?:src|action)="(?!/)| style="|<style| on\w+="', answer.text)
