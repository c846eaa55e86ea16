"""Whatever comes is shown as text: nothing of it runs, leads away, hides, or makes a page stand still."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import httpx2 as httpx
import psutil
import pytest
from playwright.sync_api import Page, expect

from receiver.sources import samples
from tests.acceptance.service import Service
from tests.browser.visitor import Visitor
from tests.installation import KEYS
from tests.waiting import PATIENCE_SECONDS

SCRIPT = "<script>alert(1)</script>"
IMAGE = "<img src=x onerror=alert(2)>"
TURNED = "invoice\u202efdp.exe\u200b"
LINK = "javascript:alert(3)"
MEBIBYTE = 1024 * 1024
NESTED = b"[" * 10_000 + b"]" * 10_000
# So many times the work of another page a page may be; one that stands still would be hundreds.
MOST_TIMES = 10


@pytest.fixture
def capture(service: Service) -> Callable[..., str]:
    """Send something to a bin, and give the address of what it recorded."""

    def send(path: str, body: bytes, content_type: str = "application/json") -> str:
        headers = {"Content-Type": content_type}
        httpx.post(
            f"{service.url}/b/anybody{path}", content=body, headers=headers, trust_env=False, timeout=PATIENCE_SECONDS
        ).raise_for_status()
        newest = httpx.get(
            f"{service.url}/api/bins/anybody/captures", trust_env=False, timeout=PATIENCE_SECONDS
        ).json()["items"][0]
        return f"/bins/anybody/captures/{newest['id']}"

    return send


@pytest.fixture
def open_quickly(service: Service, visitor: Visitor) -> Callable[[str], Page]:
    """Open a page that has to come, and to react to a key, with about as much work as another."""

    def compare(address: str) -> Page:
        _, usual = _open(service, visitor, "/bins/lamp-shop")
        page, work = _open(service, visitor, address)
        assert work < MOST_TIMES * usual
        return page

    return compare


def _open(service: Service, visitor: Visitor, address: str) -> tuple[Page, float]:
    """Open a page and press a key; gives what the browser and the web processes did for it, in processor time."""
    page = visitor.open("about:blank")
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = _worked(service)
    page.goto(address)
    expect(page.locator("main h1").first).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    return page, metrics["ThreadTime"] + _worked(service) - before


def _worked(service: Service) -> float:
    (web,) = (one for one in service._started if "gunicorn" in str(one.args))
    return float(sum(sum(child.cpu_times()[:2]) for child in psutil.Process(web.pid).children()))


def test_an_event_that_holds_code_is_shown_as_text(service: Service, visitor: Visitor) -> None:
    payload = samples.sample("box", "FILE.UPLOADED", at=datetime.now(UTC), number=1)
    payload = samples.renewed("box", payload) | {IMAGE: LINK, "trigger": f"FILE.{IMAGE.replace(' ', '/')}"}
    payload["source"] |= {"name": f"{SCRIPT} {TURNED}", "description": f'"><{SCRIPT[1:]}', "shared_link": {"url": LINK}}
    body, lines = samples.forge("box", payload, KEYS["box"], at=datetime.now(UTC))
    event_id = service.post("box", body, [*lines, ("X-Note", SCRIPT)]).json()["event"]
    page = visitor.open(f"/events/{event_id}")
    assert "U+202E" in page.locator(f'.row[data-id="{event_id}"] .about').inner_text()
    assert SCRIPT in page.locator("#detail").inner_text()
    for address in ("tab=raw", "tab=headers", "tab=jobs"):
        page.goto(f"/events/{event_id}?{address}")
    expect(page.locator('a[href^="javascript" i], main img, main script')).to_have_count(0)
    page.goto("/")
    expect(page.locator(f'.row[data-id="{event_id}"]')).to_contain_text(SCRIPT)


def test_the_line_of_an_event_that_comes_into_an_open_page_is_text_too(service: Service, visitor: Visitor) -> None:
    page = visitor.open("/")
    payload = samples.sample("filestack", "fp.upload", at=datetime.now(UTC), number=1)
    payload = samples.renewed("filestack", payload)
    payload["text"]["filename"] = f"{IMAGE} {TURNED}"
    body, lines = samples.forge("filestack", payload, KEYS["filestack"], at=datetime.now(UTC))
    event_id = service.post("filestack", body, lines).json()["event"]
    line = page.locator(f'.row[data-id="{event_id}"]')
    expect(line).to_contain_text(IMAGE)
    expect(line.locator("img")).to_have_count(0)


def test_a_request_that_holds_code_is_shown_as_text(visitor: Visitor, capture: Callable[..., str]) -> None:
    body = json.dumps({"name": SCRIPT, "link": LINK, "turned": TURNED}).encode()
    page = visitor.open(capture(f"/{SCRIPT}?q={IMAGE}", body))
    expect(page.get_by_text("U+202E")).to_be_visible()
    expect(page.locator('a[href^="javascript" i], main img, main script')).to_have_count(0)
    page.get_by_role("link", name="Text").click()
    expect(page.get_by_role("region", name="The body")).to_contain_text(SCRIPT)


def test_a_page_that_a_bin_was_sent_is_not_a_page_of_ours(visitor: Visitor, capture: Callable[..., str]) -> None:
    page = visitor.open(capture("/page", f"<html>{SCRIPT}{IMAGE}</html>".encode(), "text/html"))
    expect(page.get_by_role("region", name="The body")).to_have_text(f"<html>{SCRIPT}{IMAGE}</html>")


def test_a_mebibyte_of_one_line_is_shown_without_standing_still(
    open_quickly: Callable[[str], Page], capture: Callable[..., str]
) -> None:
    page = open_quickly(capture("/long", b"x" * MEBIBYTE, "text/plain"))
    expect(page.get_by_role("heading", name="Body 1.0 MB, the first")).to_be_visible()
    needed, shown = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert needed <= shown


def test_ten_thousand_arrays_in_one_another_are_shown(
    service: Service, open_quickly: Callable[[str], Page], capture: Callable[..., str]
) -> None:
    open_quickly(capture("/deep", NESTED))
    assert service.post("box", NESTED, [("Content-Type", "application/json")]).status_code == 401
    signed = samples.signed("box", NESTED, KEYS["box"], at=datetime.now(UTC))
    assert service.post("box", NESTED, signed).status_code == 422
    for kind in ("rejected", "quarantine"):
        newest = httpx.get(f"{service.url}/api/{kind}", trust_env=False, timeout=PATIENCE_SECONDS).json()["items"][0]
        page = open_quickly(f"/{kind}/{newest['id']}")
        page.get_by_role("link", name="Raw").click()
        expect(page.get_by_role("region", name="The body")).to_contain_text("[[[[")
