"""Two pages that stay open while their connections break again and again miss nothing and double nothing."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import pytest
from playwright.sync_api import Browser, Page, expect

from receiver.sources import samples
from tests.acceptance.service import Service
from tests.browser.relay import Relay
from tests.browser.visitor import Visitor
from tests.installation import KEYS
from tests.waiting import until

# As many as in ten minutes of a train's network: one in twenty seconds. Waiting them out would show nothing more.
CUTS = 30


@pytest.fixture
def relay(service: Service) -> Iterator[Relay]:
    relay = Relay(service.port)
    yield relay
    relay.close()


@pytest.fixture
def pages(browser: Browser, relay: Relay) -> Iterator[list[Page]]:
    visitor = Visitor(browser, relay.url)
    yield [visitor.open("/"), visitor.open("/?source=box")]
    visitor.close()
    # That a connection broke is what the browser says, and the only thing.
    assert [said for said in visitor.complaints if "net::ERR_" not in said] == []
    assert (visitor.strangers, visitor.dialogs) == ([], [])


def deliver(service: Service) -> str:
    body, lines = samples.forge("box", "FOLDER.TRASHED", KEYS["box"], at=datetime.now(UTC))
    return str(service.post("box", body, lines).json()["event"])


def shown(page: Page, sent: list[str]) -> list[str]:
    """Give the ids of the lines that show what was sent, from the top."""
    ids: list[str] = page.locator(".row").evaluate_all("rows => rows.map((row) => row.dataset.id)")
    return [event_id for event_id in ids if event_id in sent]


def test_what_comes_while_connections_break_stands_once_and_in_order(
    service: Service, relay: Relay, pages: list[Page]
) -> None:
    chance = random.Random(1)
    sent: list[str] = []
    until(partial(relay.carries, len(pages)), "both pages listen")
    for _ in range(CUTS):
        before = relay.streams
        sent += [deliver(service) for _ in range(chance.randrange(3))]
        relay.cut()
        sent += [deliver(service) for _ in range(chance.randrange(3))]
        until(partial(relay.carries, before + len(pages)), "both pages listen again")
    sent.append(deliver(service))
    for page in pages:
        expect(page.locator(f'.row[data-id="{sent[-1]}"]')).to_have_count(1)
        assert shown(page, sent) == sent[::-1]
        expect(page.locator("#newer")).to_be_hidden()
