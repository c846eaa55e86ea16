"""What holds for every page: anybody can use it, nothing sticks out, nothing calls elsewhere."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.service import Service
from tests.browser.places import places
from tests.browser.visitor import Visitor

AXE = (Path(__file__).parent / "axe-core-4.14.1.min.js").read_text(encoding="utf-8")
RUN_AXE = """async (options) => {
    const { violations } = await axe.run(document, { resultTypes: ["violations"], ...options });
    return violations.filter((one) => ["serious", "critical"].includes(one.impact)).map((one) => ({
        rule: one.id, says: one.help, where: one.nodes.map((node) => `${node.target} ${node.html.slice(0, 160)}`),
    }));
}"""
EVERYTHING: dict[str, Any] = {}
# What can be wrong in one look and right in another.
LOOK = {"runOnly": ["color-contrast", "link-in-text-block", "scrollable-region-focusable", "link-name"]}
LOOKS = [("light", 1280, EVERYTHING), ("dark", 1280, LOOK), ("dark", 380, LOOK), ("light", 380, LOOK)]
WIDTHS = "[document.documentElement.clientWidth, document.documentElement.scrollWidth]"


@dataclass(frozen=True)
class Survey:
    """What a walk through all pages found, by page and look."""

    violations: dict[str, Any] = field(default_factory=dict)
    overflowing: dict[str, str] = field(default_factory=dict)
    strangers: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def survey(browser: Browser, service: Service) -> Iterator[Survey]:
    visitor, survey = Visitor(browser, service.url, service.environ["BOX_API_URL"]), Survey()
    page = visitor.open("about:blank")
    for name, address in places(service).items():
        page.goto(_with_a_short_list(name, address))
        expect(page.locator("main")).to_be_visible()
        _look(page, name, survey)
    survey.strangers.extend(visitor.strangers)
    survey.complaints.extend(visitor.complaints)
    yield survey
    visitor.close()


def _with_a_short_list(name: str, address: str) -> str:
    """Leave the list empty but once: looking at all its lines again takes most of the time."""
    joint = "&" if "?" in address else "?"
    return f"{address}{joint}state=running" if name.startswith(("inbox-", "event-", "diff")) else address


def _look(page: Page, name: str, survey: Survey) -> None:
    page.evaluate(AXE)
    for scheme, width, options in LOOKS:
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
        page.set_viewport_size({"width": width, "height": 800})
        look = f"{name}, {scheme}, {width} px"
        if found := page.evaluate(RUN_AXE, options):
            survey.violations[look] = found
        shown, needed = page.evaluate(WIDTHS)
        if needed > shown:
            survey.overflowing[look] = f"{needed} px"


def test_axe_finds_nothing_serious_in_either_scheme_wide_or_narrow(survey: Survey) -> None:
    assert survey.violations == {}


def test_no_page_scrolls_sideways(survey: Survey) -> None:
    assert survey.overflowing == {}


def test_no_page_calls_another_host_or_complains(survey: Survey) -> None:
    assert survey.strangers == []
    # The one page that is an error is one to the browser as well.
    assert [said for said in survey.complaints if "404 (NOT FOUND)" not in said] == []


def test_axe_would_find_something(visitor: Visitor) -> None:
    page = visitor.open("/bins")
    page.evaluate(AXE)
    page.evaluate("document.querySelector('main').append(new Image())")
    assert [found["rule"] for found in page.evaluate(RUN_AXE, EVERYTHING)] == ["image-alt"]


def test_axe_finds_nothing_serious_in_the_list_of_keys(visitor: Visitor) -> None:
    page = visitor.open("/bins")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.evaluate(AXE)
    assert page.evaluate(RUN_AXE, EVERYTHING) == []


@pytest.mark.parametrize("address", ["/", "/bins", "/stats"])
def test_the_first_tab_leads_past_the_bar_to_the_content(visitor: Visitor, address: str) -> None:
    page = visitor.open(address)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
