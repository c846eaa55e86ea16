"""The page of registrations in a browser: Box is asked by a button, on the same page or on the next."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.visitor import Visitor


@pytest.mark.parametrize("script", [True, False], ids=["with JavaScript", "without"])
def test_asking_box_shows_what_only_box_knows(visitor: Visitor, script: bool) -> None:
    page = visitor.open("/registrations", script=script)
    drift = page.get_by_role("row").filter(has_text="file:5000")
    expect(drift).to_contain_text("As the file wants it.")
    page.get_by_role("button", name="Ask Box").click()
    expect(drift).to_contain_text("Drift: it was changed at Box.")
    expect(page.get_by_text("Box was asked just now")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/registrations\?ask=box$"))
    page.get_by_role("link", name="Show what is known here").click()
    expect(drift).to_contain_text("As the file wants it.")
