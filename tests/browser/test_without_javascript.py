"""The pages in a browser that runs no JavaScript: plain links and forms do."""

import re
from datetime import UTC, datetime

import httpx2 as httpx
import pytest
from playwright.sync_api import Page, expect

from receiver.sources import samples
from tests.acceptance.service import Service
from tests.browser.visitor import Visitor
from tests.installation import KEYS
from tests.waiting import PATIENCE_SECONDS


@pytest.fixture
def kept(service: Service) -> str:
    """The id of an event that just came."""
    body, lines = samples.forge("box", "FOLDER.RENAMED", KEYS["box"], at=datetime.now(UTC))
    return str(service.post("box", body, lines).json()["event"])


def open_plain(visitor: Visitor, address: str) -> Page:
    return visitor.open(address, script=False)


def test_the_filter_is_a_form_and_a_line_is_a_link(visitor: Visitor, kept: str) -> None:
    page = open_plain(visitor, "/")
    page.get_by_label("Source").select_option("box")
    page.get_by_label("Type", exact=True).fill("box:FOLDER.RENAMED")
    page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(re.compile(r"\?(?=.*type=box%3AFOLDER\.RENAMED)(?=.*source=box)"))
    page.locator(f'.row[data-id="{kept}"]').click()
    expect(page).to_have_url(re.compile(f"/events/{kept}"))
    expect(page.get_by_role("heading", level=1)).to_have_text("box:FOLDER.RENAMED")


def test_the_tabs_of_an_event_are_links_and_replay_is_a_button(visitor: Visitor, kept: str) -> None:
    page = open_plain(visitor, f"/events/{kept}")
    expect(page.get_by_text("ada.moss@signal.example").first).to_be_visible()
    page.get_by_role("link", name="Raw").click()
    expect(page.get_by_role("region", name="The body")).to_contain_text('"trigger":"FOLDER.RENAMED"')
    page.get_by_role("button", name=re.compile("^(Replay to|Route again)")).first.click()
    expect(page.get_by_role("heading", name=re.compile(r"^(Replay|Route) box:FOLDER\.RENAMED"))).to_be_visible()
    page.get_by_role("button", name=re.compile("^(Replay to|Route again)")).click()
    expect(page).to_have_url(re.compile(f"/events/{kept}"))
    expect(page.get_by_role("heading", level=1)).to_have_text("box:FOLDER.RENAMED")


def test_two_events_are_compared(visitor: Visitor, kept: str) -> None:
    page = open_plain(visitor, f"/events/{kept}")
    page.get_by_role("link", name="Compare").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Compare")


def test_a_bin_is_made_filled_and_shown(visitor: Visitor, service: Service) -> None:
    page = open_plain(visitor, "/bins")
    page.get_by_role("button", name="New bin").click()
    httpx.post(
        f"{service.url}/b/{page.url.rpartition('/')[2]}/plain?a=1",
        json={"lamp": "green"},
        trust_env=False,
        timeout=PATIENCE_SECONDS,
    )
    page.reload()
    page.locator(".row").click()
    expect(page.get_by_role("heading", name="POST /plain")).to_be_visible()
    page.get_by_role("link", name="Hex").click()
    expect(page.get_by_role("region", name="The body")).to_contain_text("7b 22 6c 61 6d 70")


def test_a_sample_is_sent_and_its_event_is_a_link_away(visitor: Visitor) -> None:
    page = open_plain(visitor, "/send?source=filestack&name=fp.delete")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_text("200 accepted")).to_be_visible()
    page.get_by_role("link", name="See the event", exact=True).first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("filestack:fp.delete")


def test_a_handler_is_paused_and_resumed(visitor: Visitor) -> None:
    page = open_plain(visitor, "/handlers")
    line = page.get_by_role("row").filter(has_text="office.archive.keep_signed")
    line.get_by_role("button", name="Pause").click()
    expect(line).to_contain_text("paused")
    line.get_by_role("button", name="Resume").click()
    expect(line.get_by_role("button", name="Pause")).to_be_visible()
