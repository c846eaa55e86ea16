"""Takes a picture of every page, light, dark and narrow, and writes them into docs/images: `make screenshots`.

    python -m tests.browser.screenshots            # all of them
    python -m tests.browser.screenshots bin stats  # some

They show a working day of an office, served on PORT (8000), which the pictures name.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.acceptance.service import Service
from tests.browser.office import listen_on, office
from tests.browser.palette import shrink
from tests.browser.places import places
from tests.browser.visitor import ARGUMENTS, Visitor, find_chromium
from tests.waiting import PATIENCE_MILLISECONDS

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
LOOKS: Mapping[str, dict[str, int | str | bool]] = {
    "light": {"scheme": "light"},
    "dark": {"scheme": "dark"},
    "narrow": {"scheme": "light", "width": 380, "height": 800},
}
BOX_PORT = 8100
PASSWORD = "a-password-for-pictures"


@dataclass(frozen=True)
class Shot:
    """A picture to take: of a place, after something was done there."""

    name: str
    place: str
    do: Callable[[Page], object] = lambda page: None


def send_one(page: Page) -> None:
    page.get_by_label("A new id each time").check()
    page.get_by_role("button", name="Send", exact=True).click()
    answer = page.locator("#answer")
    expect(answer.locator(".job-line .mark.done").first).to_be_visible()
    expect(answer.locator(".job-line .mark:not(.done)")).to_have_count(0)
    answer.scroll_into_view_if_needed()


def unfold_traceback(page: Page) -> None:
    page.locator(".attempts summary").last.click()


def unfold_operation(page: Page) -> None:
    page.locator("#list_events summary").first.click()


def name_the_usual_file(page: Page) -> None:
    """Show where the file is in an installation: that of the office lies in a folder of this machine."""
    page.evaluate("""for (const one of document.querySelectorAll("main code")) {
        if (one.textContent.endsWith("/box_webhooks.toml")) one.textContent = "config/box_webhooks.toml";
    }""")


SHOTS = [
    Shot("inbox", "inbox-hints"),
    Shot("event", "inbox"),
    Shot("event-raw", "event-raw"),
    Shot("event-deliveries", "event-deliveries"),
    Shot("event-jobs", "event-jobs", unfold_traceback),
    Shot("event-drift", "event-drift"),
    Shot("diff", "diff"),
    Shot("rejected", "rejected"),
    Shot("quarantine", "quarantine"),
    Shot("bins", "bins"),
    Shot("bin", "bin"),
    Shot("bin-binary", "bin-binary"),
    Shot("bin-setup", "bin-setup"),
    Shot("send", "send", send_one),
    Shot("handlers", "handlers"),
    Shot("handler", "handler"),
    Shot("registrations", "registrations", name_the_usual_file),
    Shot("registrations-asked", "registrations-asked", name_the_usual_file),
    Shot("sandbox", "sandbox"),
    Shot("sandbox-filestack", "sandbox-filestack"),
    Shot("sandbox-faults", "sandbox-faults"),
    Shot("stats", "stats"),
    Shot("api", "api", unfold_operation),
]
EMPTY = [Shot("login", "/login"), Shot("inbox-empty", "/"), Shot("bins-empty", "/bins"), Shot("stats-empty", "/stats")]
EMPTY.append(Shot("registrations-empty", "/registrations"))


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # the stand-in for Box tells of each call
    wanted = set(sys.argv[1:])
    port = int(os.environ.get("PORT") or 8000)
    IMAGES.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=ARGUMENTS, timeout=PATIENCE_MILLISECONDS
        )
        for installation, take_all in [(empty_one, take_empty), (filled_one, take_filled)]:
            with installation(port) as service:
                take_all(browser, service, wanted)
        browser.close()


@contextmanager
def filled_one(port: int) -> Iterator[Service]:
    with TemporaryDirectory() as folder, office(Path(folder), port, BOX_PORT) as service:
        yield service


@contextmanager
def empty_one(port: int) -> Iterator[Service]:
    """Give an installation that nothing came to yet, in production: it asks for its password."""
    with TemporaryDirectory() as folder:
        service = Service(Path(folder), ENV="production", HOST="127.0.0.1", SECRET_KEY="s" * 40)
        service.environ |= {"ADMIN_PASSWORD": PASSWORD, "API_TOKEN": "t" * 40}
        listen_on(service, port)
        try:
            service.signalbox("db upgrade")
            service.web()
            yield service
        finally:
            service.stop()


def take_filled(browser: Browser, service: Service, wanted: set[str]) -> None:
    addresses = places(service)
    for look, how in LOOKS.items():
        with visit(browser, service, how) as context:
            for shot in SHOTS:
                if not wanted or shot.name in wanted:
                    take(context, shot, addresses[shot.place], look)


def take_empty(browser: Browser, service: Service, wanted: set[str]) -> None:
    for look, how in LOOKS.items():
        with visit(browser, service, how) as context:
            for shot in EMPTY:
                if not wanted or shot.name in wanted:
                    take(context, shot, shot.place, look)
                if shot.name == "login":
                    log_in(context)


def log_in(context: BrowserContext) -> None:
    page = context.new_page()
    page.goto("/login")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    page.close()


@contextmanager
def visit(browser: Browser, service: Service, how: dict[str, int | str | bool]) -> Iterator[BrowserContext]:
    visitor = Visitor(browser, service.url)
    yield visitor.context(**how)  # type: ignore[arg-type]
    visitor.close()


def take(context: BrowserContext, shot: Shot, address: str, look: str) -> None:
    page = context.new_page()
    page.goto(address)
    shot.do(page)
    page.evaluate("document.fonts.ready.then(() => true)")
    page.mouse.move(0, 0)
    picture = page.screenshot(animations="disabled", caret="hide")
    (IMAGES / f"{shot.name}-{look}.png").write_bytes(shrink(page, picture))
    page.close()


if __name__ == "__main__":
    main()
