"""The login page in a real browser."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.acceptance.service import Service
from tests.browser.visitor import Visitor

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
