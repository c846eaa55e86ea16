"""The sandbox's drive in a browser: what is done there arrives here, and is seen without another click."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.service import Service
from tests.browser.visitor import Visitor


@pytest.fixture
def guest(browser: Browser, service: Service) -> Iterator[Visitor]:
    """Somebody at the sandbox that is Box for the service."""
    guest = Visitor(browser, service.environ["BOX_API_URL"], service.url)
    yield guest
    guest.close()
    assert guest.strangers == [], "a page called another host"
    assert guest.complaints == [], "a page complained on the console"


def upload(page: Page, name: str) -> None:
    page.get_by_label("Name of the file").fill(name)
    page.get_by_role("button", name="Upload", exact=True).click()


def test_an_upload_is_seen_to_be_delivered_without_another_click(guest: Visitor) -> None:
    page = guest.open("/?item=folder:1200")
    page.evaluate("window.isTheSamePage = true")
    delivered = page.locator(".delivery .mark.done")
    before = delivered.count()
    upload(page, "2026/Budget.xlsx")
    expect(page.get_by_role("status").filter(has_text="on the way")).to_contain_text("FILE.UPLOADED: 1 event")
    expect(page.get_by_role("heading", level=1)).to_have_text("Budget.xlsx")
    expect(page.locator("#tree").get_by_role("link", name="Budget.xlsx")).to_be_visible()
    expect(delivered).to_have_count(before + 1)
    assert page.evaluate("window.isTheSamePage")


def test_what_is_refused_is_said_and_the_page_goes_on(guest: Visitor) -> None:
    page = guest.open("/?item=folder:1300")
    upload(page, "a\\b.pdf")
    expect(page.get_by_role("alert")).to_contain_text("is not a valid name")
    upload(page, "right.pdf")
    expect(page.get_by_role("heading", level=1)).to_have_text("right.pdf")


def test_what_a_command_does_elsewhere_appears_by_itself(guest: Visitor, service: Service) -> None:
    page = guest.open("/")
    service.signalbox("sandbox do create Elsewhere/Deep --no-wait")
    expect(page.locator("#tree").get_by_role("link", name="Deep")).to_be_visible()


def test_it_works_without_javascript(guest: Visitor) -> None:
    page = guest.open("/", script=False)
    page.get_by_role("link", name="Contracts").click()
    upload(page, "plain.pdf")
    expect(page).to_have_url(re.compile(r"item=file%3A|item=file:"))
    page.get_by_label("New name").fill("plainer.pdf")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("plainer.pdf")
    page.get_by_role("button", name="Trash").click()
    page.get_by_role("button", name="Restore").click()
    page.get_by_role("link", name="Faults").click()
    page.get_by_label("Duplicates").fill("1")
    page.get_by_role("button", name="From now on").click()
    expect(page.get_by_text("What is sent is spoilt")).to_be_visible()
    page.get_by_role("button", name="Nothing goes wrong").click()
    expect(page.get_by_text("Nothing goes wrong on purpose")).to_be_visible()
