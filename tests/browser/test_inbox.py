"""The inbox and the event page, as somebody uses them: live, by keys, with what is copied in the clipboard."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from receiver.sources import samples
from tests.acceptance.service import Service
from tests.browser.visitor import Visitor
from tests.installation import KEYS

LEFT_EDGES = "all => all.map((one) => Math.round(one.getBoundingClientRect().left))"
NAMES_AND_COLUMNS = """all => all.map((one) => {
    const { scrollWidth, clientWidth } = one.querySelector(".clip");
    return [{ scrollWidth, clientWidth }, one.clientWidth];
})"""
PLACES_OF_JOBS = """lines => lines.map((line) => [".handler", ".says"].map((part) => {
    const { x, y } = line.querySelector(part).getBoundingClientRect();
    return { x, y };
}))"""


@pytest.fixture
def send(service: Service) -> Callable[..., str]:
    """Deliver a sample, and give the id of its event."""

    def deliver(source: str, name: str, **changed: Any) -> str:
        payload = samples.sample(source, name, at=datetime.now(UTC), number=1)
        payload = samples.renewed(source, payload) | changed
        body, lines = samples.forge(source, payload, KEYS[source], at=datetime.now(UTC))
        return str(service.post(source, body, lines).json()["event"])

    return deliver


def row(page: Page, event_id: str) -> Locator:
    return page.locator(f'.row[data-id="{event_id}"]')


def detail(page: Page) -> Locator:
    return page.locator("#detail")


def test_an_event_sent_from_the_shell_appears_by_itself_and_its_jobs_turn_done(
    service: Service, visitor: Visitor
) -> None:
    page = visitor.open("/")
    expect(page.locator(".row").first).to_be_visible()
    page.evaluate("window.isTheSamePage = true")
    (sent,) = json.loads(service.signalbox("send box FILE.UPLOADED --json"))["items"]
    came = row(page, sent["answer"]["event"])
    expect(came).to_be_visible()
    expect(page.locator(".row").first).to_have_attribute("data-id", sent["answer"]["event"])
    expect(came.locator(".jobs .mark.done")).to_have_count(4)
    expect(came.locator(".jobs .mark:not(.done)")).to_have_count(0)
    assert page.evaluate("window.isTheSamePage")


def test_how_many_events_there_are_follows_what_comes(visitor: Visitor, send: Callable[..., str]) -> None:
    page = visitor.open("/")
    before = detail(page).get_by_role("heading", level=1).inner_text()
    send("box", "FILE.UPLOADED")
    expect(detail(page).get_by_role("heading", level=1)).not_to_have_text(before)
    expect(detail(page).get_by_role("heading", level=1)).to_have_text(re.compile(r"^(About )?[\d,]+ events$"))


@pytest.mark.parametrize("width", [1000, 1280, 1600])
def test_columns_align_and_a_name_takes_all_of_its_own_before_it_is_cut(visitor: Visitor, width: int) -> None:
    page = visitor.open("/", width=width)
    expect(page.locator(".row").first).to_be_visible()
    for column in (".type", ".about", ".jobs"):
        assert len(set(page.locator(f".row > {column}").evaluate_all(LEFT_EDGES))) == 1
    for name, column in page.locator(".row .about").evaluate_all(NAMES_AND_COLUMNS):
        assert name["scrollWidth"] <= name["clientWidth"] or name["clientWidth"] >= column - 1


def test_what_became_of_a_job_stands_below_its_handlers_name_where_there_is_no_room_beside(
    visitor: Visitor, send: Callable[..., str]
) -> None:
    page = visitor.open(f"/events/{send('box', 'FILE.UPLOADED')}", width=380)
    expect(page.locator(".job-line .mark.done")).to_have_count(4)
    places = page.locator(".job-line").evaluate_all(PLACES_OF_JOBS)
    below = [(name["x"], says["x"]) for name, says in places if says["y"] > name["y"] + 8]
    assert below
    assert all(abs(name - says) <= 1.5 for name, says in below), below


def test_a_filter_is_in_the_address_and_back_takes_it_away(visitor: Visitor) -> None:
    page = visitor.open("/")
    page.get_by_label("Source").select_option("filestack")
    expect(page).to_have_url(re.compile(r"/\?source=filestack$"))
    assert set(page.locator(".row .source").evaluate_all("all => all.map((one) => one.title)")) == {"filestack"}
    page.get_by_label("Type", exact=True).fill("filestack:fp.upload")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/\?(?=.*source=filestack)(?=.*type=filestack%3Afp\.upload)"))
    assert set(page.locator(".row .type").all_inner_texts()) == {"fp.upload"}
    page.go_back()
    expect(page).to_have_url(re.compile(r"/\?source=filestack$"))
    page.go_back()
    expect(page.locator('.row .source[title="box"]').first).to_be_visible()
    assert page.url.endswith("/")


def test_the_slash_goes_to_the_search_and_finds_text_in_the_payload(visitor: Visitor, send: Callable[..., str]) -> None:
    kept = send("box", "FILE.RENAMED", additional_info={"old_name": "Kesselhaus"})
    page = visitor.open("/")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("Kesselhaus")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/\?q=Kesselhaus$"))
    expect(page.locator(".row")).to_have_count(1)
    expect(row(page, kept)).to_be_visible()


def test_j_k_and_enter_walk_the_list_and_open_an_event(visitor: Visitor) -> None:
    page = visitor.open("/?type=box:FILE.PREVIEWED")
    ids = page.locator(".row").evaluate_all("rows => rows.map((row) => row.dataset.id)")
    for key in "jjk":
        page.keyboard.press(key)
    expect(row(page, ids[0])).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(rf"/events/{ids[1]}\?type="))
    expect(detail(page).get_by_role("heading", level=1)).to_have_text("box:FILE.PREVIEWED")
    expect(row(page, ids[1])).to_have_attribute("aria-current", "true")
    page.go_back()
    expect(page).to_have_url(re.compile(r"/\?type="))
    expect(page.locator(".row[aria-current]")).to_have_count(0)


def test_the_payload_folds_and_its_paths_can_be_copied(visitor: Visitor, send: Callable[..., str]) -> None:
    page = visitor.open(f"/events/{send('box', 'FILE.UPLOADED')}")
    branch = detail(page).locator("li.branch", has=page.get_by_text("created_by", exact=True)).last
    value = branch.get_by_text("ada.moss@signal.example").first
    expect(value).to_be_visible()
    branch.locator("summary").first.click()
    expect(value).to_be_hidden()
    branch.locator("summary").first.click()
    branch.get_by_role("button", name="login").first.click()
    expect(page.get_by_role("status").filter(has_text="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").endswith("created_by.login")


def test_d_compares_with_the_one_before_and_back_shows_the_event_again(
    visitor: Visitor, send: Callable[..., str]
) -> None:
    send("box", "TASK_ASSIGNMENT.CREATED", note="first")
    page = visitor.open(f"/events/{send('box', 'TASK_ASSIGNMENT.CREATED', note='second')}")
    page.keyboard.press("d")
    expect(page).to_have_url(re.compile(r"/diff$"))
    expect(detail(page).get_by_role("heading", name="Payload")).to_be_visible()
    changed = detail(page).locator("tr.changed").filter(has_text="note")
    assert [text.strip() for text in changed.locator("td").all_inner_texts()] == ['"first"', '"second"']
    page.go_back()
    expect(detail(page).get_by_role("heading", level=1)).to_have_text("box:TASK_ASSIGNMENT.CREATED")


def test_c_copies_the_event_as_curl(service: Service, visitor: Visitor, send: Callable[..., str]) -> None:
    page = visitor.open(f"/events/{send('box', 'FILE.UPLOADED')}")
    page.keyboard.press("c")
    expect(page.get_by_role("status").filter(has_text="Copied as cURL")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert f"{{SIGNALBOX_URL:-{service.url}}}/hooks/box" in copied
    assert KEYS["box"]["primary"] not in copied


def test_r_replays_and_the_attempts_are_there_without_a_reload(visitor: Visitor, send: Callable[..., str]) -> None:
    event_id = send("box", "FOLDER.CREATED")
    page = visitor.open(f"/events/{event_id}?tab=jobs")
    attempts = detail(page).locator(".attempts > li")
    expect(attempts).to_have_count(2)
    page.evaluate("window.isTheSamePage = true")
    page.keyboard.press("r")
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text("Replay box:FOLDER.CREATED to 2 handlers?")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="2 jobs")).to_be_visible()
    expect(attempts).to_have_count(4)
    assert page.evaluate("window.isTheSamePage")


def test_the_question_mark_lists_the_keys(visitor: Visitor) -> None:
    page = visitor.open("/")
    page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keys")
    expect(keys.get_by_text("as cURL")).to_be_visible()
    page.keyboard.press("Escape")
    expect(keys).to_be_hidden()


def test_further_down_a_pill_says_how_many_came_and_brings_them(visitor: Visitor, send: Callable[..., str]) -> None:
    page = visitor.open("/")
    page.locator("#list").evaluate("list => { list.scrollTop = 400; }")
    sent = [send("box", "COMMENT.CREATED") for _ in range(3)]
    pill = page.get_by_role("button", name="3 new")
    expect(pill).to_be_visible()
    assert row(page, sent[0]).count() == 0
    pill.click()
    for event_id in sent:
        expect(row(page, event_id)).to_have_count(1)
    expect(pill).to_be_hidden()
