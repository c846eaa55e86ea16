"""The dashboard in a real browser: it fetches itself anew and nothing jumps."""

import re
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import Page, expect

from receiver.sources import samples
from tests.acceptance.service import Service
from tests.browser.visitor import Visitor
from tests.installation import KEYS
from tests.waiting import until

AXE = Path(__file__).parent / "axe-core-4.14.1.min.js"


def count(page: Page) -> int:
    """Give how many events the dashboard says came."""
    said = page.get_by_role("heading", name=re.compile("events came")).inner_text()
    return int(said.partition(" ")[0].replace(",", ""))


def test_an_open_table_stays_open_while_the_page_fetches_itself_anew(service: Service, visitor: Visitor) -> None:
    page = visitor.context().new_page()
    page.clock.install()
    page.goto("/stats?window=24h")
    before = count(page)
    page.locator("#events-table summary").click()
    service.signalbox("send box FILE.UPLOADED --count 2")

    def has_grown() -> bool:
        page.clock.run_for(11_000)
        return count(page) >= before + 2

    until(has_grown, "the dashboard shows what came")
    expect(page.get_by_role("region", name=re.compile("Numbers: .* events came"))).to_be_visible()
    expect(page.locator("#events-table summary")).to_be_focused()


def test_without_scripts_everything_is_there(visitor: Visitor) -> None:
    page = visitor.open("/stats?window=24h", script=False)
    expect(page.get_by_role("heading", name="events came")).to_be_visible()
    expect(page.get_by_role("img", name="events came")).to_be_visible()
    page.get_by_role("link", name="7d").click()
    page.wait_for_url("**/stats?window=7d")


def test_axe_finds_nothing_at_all_where_there_is_an_alarm(service: Service, visitor: Visitor) -> None:
    body, lines = samples.forge("box", "NO_ACTIVE_SESSION", KEYS["box"], at=datetime.now(UTC))
    assert service.post("box", body, lines).status_code == 200
    page = visitor.open("/stats")
    page.locator("#events-table summary").click()
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run()")["violations"]
    assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in found] == []
