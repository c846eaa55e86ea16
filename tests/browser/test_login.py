"""The login page in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, expect

from tests.acceptance.service import Service
from tests.browser.visitor import ARGUMENTS, Visitor, find_chromium
from tests.waiting import PATIENCE_MILLISECONDS

PASSWORD = "a-password-of-the-tests"


@pytest.fixture
def locked(tmp_path: Path) -> "Service":
    return Service(
        tmp_path,
        ENV="production",
        SECRET_KEY="a-secret-key-of-the-tests",
        ADMIN_PASSWORD=PASSWORD,
        API_TOKEN="a-token-of-the-tests",
        HOST="127.0.0.1",
    )


@pytest.fixture
def far_browser(playwright: Playwright, browser: Browser) -> Iterator[Browser]:
    """A browser for which `signalbox.test` is this machine: a host like any other, that it trusts no more than that."""
    rule = "--host-resolver-rules=MAP signalbox.test 127.0.0.1"
    far = playwright.chromium.launch(
        executable_path=find_chromium(), args=[*ARGUMENTS, rule], timeout=PATIENCE_MILLISECONDS
    )
    yield far
    far.close()


def test_who_knows_the_password_gets_to_the_page_that_was_asked_for(locked: Service, browser: Browser) -> None:
    visitor = Visitor(browser, locked.url)
    try:
        locked.signalbox("db upgrade")
        locked.web()
        page = visitor.open("/?source=box")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_text("That is not the password.")).to_be_visible()
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/?source=box")
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url("**/login")
    finally:
        visitor.close()
        locked.stop()


def test_over_plain_http_from_elsewhere_the_password_opens_the_pages_in_development(
    far_browser: Browser, tmp_path: Path
) -> None:
    service = Service(tmp_path, SECRET_KEY="a-secret-key-of-the-tests", ADMIN_PASSWORD=PASSWORD)
    visitor = Visitor(far_browser, f"http://signalbox.test:{service.port}")
    try:
        service.signalbox("db upgrade")
        service.web()
        page = visitor.open("/?source=box")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/?source=box")
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url("**/login")
    finally:
        visitor.close()
        service.stop()


def test_over_plain_http_from_elsewhere_production_says_that_a_login_takes_https(
    locked: Service, far_browser: Browser
) -> None:
    visitor = Visitor(far_browser, f"http://signalbox.test:{locked.port}")
    try:
        locked.signalbox("db upgrade")
        locked.web()
        page = visitor.open("/")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_contain_text("sent over HTTPS only")
    finally:
        visitor.close()
        locked.stop()
