"""A bin as somebody uses it: made in a click, hit by curl, its captures shown byte for byte, its answer set up."""

import re
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.service import Service, needs
from tests.browser.visitor import Visitor
from tests.waiting import PATIENCE_SECONDS

pytestmark = needs("curl")

EVERY_BYTE = bytes(range(256))
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@pytest.fixture
def page(visitor: Visitor) -> Page:
    """The page of a new bin, made in one click."""
    page = visitor.open("/bins")
    page.get_by_role("button", name="New bin").click()
    expect(page).to_have_url(re.compile(r"/bins/[a-z0-9-]+$"))
    return page


@pytest.fixture
def address(page: Page, service: Service) -> str:
    return f"{service.url}/b/{page.url.rpartition('/')[2]}"


def curl(*arguments: str) -> str:
    done = subprocess.run(["curl", "-sS", *arguments], capture_output=True, timeout=PATIENCE_SECONDS, check=True)
    return done.stdout.decode()


def test_what_curl_sends_by_five_methods_appears_as_it_comes(page: Page, address: str) -> None:
    page.evaluate("window.isTheSamePage = true")
    for method in METHODS:
        assert "captured" in curl("-X", method, f"{address}/of/{method.lower()}?x=1", "-d", "hello")
    rows = page.locator(".row")
    expect(rows).to_have_count(len(METHODS))
    assert [method.strip() for method in rows.locator(".method").all_inner_texts()] == METHODS[::-1]
    expect(page.locator("#captured")).to_have_text(str(len(METHODS)))
    assert page.evaluate("window.isTheSamePage")
    # Who waits for the first one is shown it.
    expect(page.get_by_role("heading", name="GET /of/get")).to_be_visible()


def test_a_binary_body_is_shown_and_given_back_byte_for_byte(page: Page, address: str, tmp_path: Path) -> None:
    (tmp_path / "every.bin").write_bytes(EVERY_BYTE)
    curl("-X", "PUT", f"{address}/every", "--data-binary", f"@{tmp_path}/every.bin")
    dump = page.get_by_role("region", name="The body")
    expect(dump).to_be_visible()
    shown = re.findall(r"\b[0-9a-f]{2}\b", re.sub(r"(?m)^[0-9a-f]+  |  .{0,16}$", "", dump.inner_text()))
    assert bytes.fromhex("".join(shown)) == EVERY_BYTE
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the body").click()
    assert download.value.path().read_bytes() == EVERY_BYTE


def test_curl_gets_the_answer_that_was_set_up_on_the_page(page: Page, address: str) -> None:
    page.get_by_label("Status").fill("418")
    page.get_by_label("Headers").fill("Content-Type: text/plain\nX-Lamp: green")
    page.get_by_label("Body").fill("kurz und stumpf 🚦")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").filter(has_text="Saved")).to_be_visible()
    answer = curl("-i", address)
    assert answer.startswith("HTTP/1.1 418 ")
    assert "X-Lamp: green\r\n" in answer
    assert answer.endswith("\r\n\r\nkurz und stumpf 🚦")


def test_c_copies_a_capture_as_curl(page: Page, address: str) -> None:
    curl("-X", "PATCH", f"{address}/lamps/4", "-d", "colour=red")
    expect(page.get_by_role("heading", name="PATCH /lamps/4")).to_be_visible()
    page.keyboard.press("c")
    expect(page.get_by_role("status").filter(has_text="Copied as cURL")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert f"{address}/lamps/4" in copied
    assert "colour=red" in copied
