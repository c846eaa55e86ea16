"""Whatever destroys or repeats asks first: what each control asks, and that nothing is done when it is cancelled."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import count
from uuid import uuid4

import httpx2 as httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, Request, expect

from receiver.events import Reason, Refused, Verified
from receiver.inbox.rows import Inbox
from receiver.sources import samples
from receiver.storage import db
from tests.acceptance.service import Service
from tests.browser.controls import CONTROLS, Control
from tests.browser.test_every_page import AXE, EVERYTHING, LOOK, RUN_AXE
from tests.browser.visitor import Visitor
from tests.installation import KEYS, delivery
from tests.waiting import PATIENCE_SECONDS, until

PAUSED = "office.archive.keep_signed"
NUMBERS = count(880_000)  # of nobody else's event


@pytest.fixture
def inbox(service: Service) -> Iterator[Inbox]:
    engine = db.open_engine(service.environ["DATABASE_URL"])
    yield Inbox(engine, rejected_max_count=1000, rejected_max_bytes=10**8)
    engine.dispose()


@pytest.fixture
def guest(browser: Browser, service: Service) -> Iterator[Visitor]:
    guest = Visitor(browser, service.url, service.environ["BOX_API_URL"])
    yield guest
    guest.close()
    call(service, "POST", f"/api/handlers/{PAUSED}/resume").raise_for_status()
    assert guest.strangers == [], "a page called another host"
    assert guest.complaints == [], "a page complained on the console"
    assert guest.dialogs == [], "a question is one of ours, not the browser's"


def call(service: Service, method: str, path: str, **more: object) -> httpx.Response:
    return httpx.request(method, f"{service.url}{path}", trust_env=False, timeout=PATIENCE_SECONDS, **more)  # type: ignore[arg-type]


def a_bin(service: Service) -> str:
    name = f"b-{uuid4().hex[:8]}"
    for _ in range(2):
        call(service, "POST", f"/b/{name}/lamps", json={"lamp": "green"})
    return name


def a_capture(service: Service) -> str:
    name = a_bin(service)
    (newest, _) = call(service, "GET", f"/api/bins/{name}/captures").json()["items"]
    return f"/bins/{name}/captures/{newest['id']}"


def a_waiting_event(service: Service) -> str:
    """Deliver what a handler wants that is paused: its job waits for as long as the test takes."""
    call(service, "POST", f"/api/handlers/{PAUSED}/pause").raise_for_status()
    payload = samples.sample("box", "SIGN_REQUEST.COMPLETED", at=datetime.now(UTC), number=next(NUMBERS))
    body, lines = samples.forge("box", payload, KEYS["box"], at=datetime.now(UTC))
    event_id = service.post("box", body, lines).json()["event"]

    def states() -> set[str]:
        return {job["state"] for job in call(service, "GET", f"/api/events/{event_id}").json()["jobs"]}

    until(lambda: states() == {"done", "waiting"}, "one job is done, and that of the paused handler waits")
    return f"/events/{event_id}"


def a_file(service: Service) -> str:
    return f"{service.environ['BOX_API_URL']}/?item=file:1600000003"


Prepare = Callable[[Service, Inbox], str]
PLACES: Mapping[str, Prepare] = {
    "bin": lambda service, inbox: f"/bins/{a_bin(service)}/setup",
    "capture": lambda service, inbox: a_capture(service),
    "paused": lambda service, inbox: a_waiting_event(service),
    "paused jobs": lambda service, inbox: f"{a_waiting_event(service)}?tab=jobs",
    "rejected": lambda service, inbox: (
        "/rejected/"
        + inbox.reject(
            delivery("box", "FILE.LOCKED", at=datetime.now(UTC), number=next(NUMBERS)),
            Refused(Reason.SIGNATURE_MISMATCH, "None of the keys verifies what came."),
        )
    ),
    "quarantine": lambda service, inbox: (
        "/quarantine/"
        + inbox.quarantine(
            delivery("box", "FILE.UNLOCKED", at=datetime.now(UTC), number=next(NUMBERS)),
            Verified("primary"),
            {"trigger": ["An older release could not read it."]},
        )
    ),
    "handler": lambda service, inbox: "/handlers/office.crm.sync_access",
    "api": lambda service, inbox: "/api/docs#delete_bin",
    "sandbox file": lambda service, inbox: a_file(service),
    "sandbox faults": lambda service, inbox: f"{service.environ['BOX_API_URL']}/faults",
}


def prepare(page: Page, control: Control) -> None:
    for name, text in (control.first or {}).items():
        label = re.compile(f"^{re.escape(name)}")
        if text is None:
            page.locator("summary, button").filter(has_text=label).first.click()
        elif name.startswith("#"):
            page.locator(name).fill(text)
        elif (field := page.get_by_label(label).first).evaluate("one => one.tagName") == "SELECT":
            field.select_option(text)
        else:
            field.fill(text)


def question(page: Page) -> Locator:
    return page.locator(".question:has(#question-title)")


@pytest.mark.parametrize("control", CONTROLS, ids=lambda one: f"{one.where}, {one.button}")
def test_it_asks_with_the_number_and_the_thing_and_cancelling_changes_nothing(
    guest: Visitor, service: Service, inbox: Inbox, control: Control
) -> None:
    page = guest.open(PLACES[control.where](service, inbox))
    prepare(page, control)
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request) if request.method != "GET" else None)
    button = page.get_by_role("button", name=re.compile(control.button)).first
    for way in ("Cancel", "Escape"):
        button.click()
        expect(page.locator("#question-title")).to_have_text(re.compile(f"^{control.asks}$"))
        if control.is_page:
            page.get_by_role("link", name="Cancel").click()
            break
        expect(page.locator("dialog:modal [autofocus]")).to_be_focused()
        page.keyboard.press("Escape") if way == "Escape" else page.locator("[data-cancel]").click()
        expect(question(page)).to_be_hidden()
        expect(button).to_be_focused()
    assert [request.headers.get("hx-target") for request in sent if not control.is_page] in ([], ["question"] * 2)
    assert all("yes=" not in (request.post_data or "") for request in sent)


@pytest.mark.parametrize("script", [True, False], ids=["in a dialog", "on a page"])
def test_axe_finds_nothing_serious_in_a_question(visitor: Visitor, service: Service, script: bool) -> None:
    page = visitor.open(f"/bins/{a_bin(service)}/setup", script=True)
    if not script:
        page.locator("[data-asks]").last.evaluate("form => form.submit()")
        expect(page).to_have_url(re.compile("/delete$"))
    else:
        page.get_by_role("button", name=re.compile("^Delete b-")).click()
    expect(question(page)).to_be_visible()
    page.evaluate(AXE)
    assert page.evaluate(RUN_AXE, EVERYTHING) == []
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(RUN_AXE, LOOK) == []


def test_a_bin_is_deleted_after_a_yes(visitor: Visitor, service: Service) -> None:
    name = a_bin(service)
    page = visitor.open(f"/bins/{name}/setup")
    page.get_by_role("button", name=f"Delete {name}").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete the bin").click()
    expect(page.get_by_role("status").filter(has_text=f"The bin {name} is deleted, with 2 captures.")).to_be_visible()


@pytest.mark.parametrize("asks", ["yes", "Cancel"])
def test_without_javascript_a_question_is_a_page_and_cancel_leads_back(
    visitor: Visitor, service: Service, asks: str
) -> None:
    name = a_bin(service)
    page = visitor.open(f"/bins/{name}/setup", script=False)
    page.get_by_role("button", name=f"Delete {name}").click()
    expect(page.get_by_role("heading", name=f"Delete the bin {name} and its 2 captures?")).to_be_visible()
    if asks == "yes":
        page.get_by_role("button", name="Delete the bin").click()
        expect(page).to_have_url(re.compile("/bins$"))
        assert call(service, "GET", f"/api/bins/{name}").status_code == 404
    else:
        page.get_by_role("link", name="Cancel").click()
        expect(page).to_have_url(re.compile(f"/bins/{name}/setup$"))
        assert call(service, "GET", f"/api/bins/{name}").json()["kept"] == 2


def test_keys_act_on_the_line_that_is_marked_and_not_on_the_event_that_is_open(
    visitor: Visitor, service: Service
) -> None:
    page = visitor.open("/?type=box:FILE.PREVIEWED")
    ids = page.locator(".row").evaluate_all("rows => rows.map((row) => row.dataset.id)")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/events/{ids[0]}"))
    page.keyboard.press("j")
    page.keyboard.press("r")
    expect(page.get_by_role("dialog")).to_contain_text(ids[1])
    expect(page.get_by_role("heading", name="Replay box:FILE.PREVIEWED to 2 handlers?")).to_be_visible()
    expect(page).to_have_url(re.compile(f"/events/{ids[1]}"))
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("c")
    expect(page.get_by_role("status").filter(has_text="Copied")).to_be_visible()
    assert f"event {ids[2]}" in page.evaluate("navigator.clipboard.readText()")
