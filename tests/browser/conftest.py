"""A real headless Chromium before a real Signalbox: web and worker processes, a port and a database of their own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, expect, sync_playwright

from tests.acceptance.service import Service
from tests.browser.office import office
from tests.browser.visitor import ARGUMENTS, Visitor, find_chromium
from tests.waiting import PATIENCE_MILLISECONDS


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    found = find_chromium()
    if found is None:
        assert not os.environ.get("CI"), "CI has to have a Chromium: .ci/run installs Debian's"
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS, timeout=PATIENCE_MILLISECONDS)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Signalbox with web and worker running, and a working day behind it.

    All tests share it, in any order: each looks for what it sent itself.
    """
    with office(tmp_path_factory.mktemp("office")) as service:
        yield service


@pytest.fixture
def visitor(browser: Browser, service: Service) -> Iterator[Visitor]:
    visitor = Visitor(browser, service.url)
    yield visitor
    visitor.close()
    assert visitor.strangers == [], "a page called another host"
    assert visitor.complaints == [], "a page complained on the console"
    assert visitor.dialogs == [], "a page opened a dialog: something that came was run"


@pytest.hookimpl(tryfirst=True)  # before xdist looks for the mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep these tests in one of the processes that share the suite: one browser and one service are enough."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.xdist_group("browser"))
