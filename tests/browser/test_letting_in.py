"""A delivery that was refused for a key that is right by now: found in the list, verified again, let in."""

from collections.abc import Iterator
from datetime import UTC, datetime

import httpx2 as httpx
import pytest
from playwright.sync_api import expect

from receiver.events import Reason, Refused
from receiver.inbox.rows import Inbox
from receiver.storage import db
from tests.acceptance.service import Service
from tests.browser.visitor import Visitor
from tests.installation import delivery
from tests.waiting import PATIENCE_SECONDS, until

NUMBER = 770_077  # of nobody else's event


@pytest.fixture
def inbox(service: Service) -> Iterator[Inbox]:
    engine = db.open_engine(service.environ["DATABASE_URL"])
    yield Inbox(engine, rejected_max_count=1000, rejected_max_bytes=10**8)
    engine.dispose()


@pytest.mark.parametrize("script", [True, False], ids=["with JavaScript", "without"])
def test_it_is_verified_again_let_in_and_handled(
    visitor: Visitor, service: Service, inbox: Inbox, script: bool
) -> None:
    came = delivery("box", "FILE.LOCKED", at=datetime.now(UTC), number=NUMBER + script)
    kept = inbox.reject(came, Refused(Reason.SIGNATURE_MISMATCH, "None of the keys verifies what came."))
    page = visitor.open(f"/rejected/{kept}", script=script)
    expect(page.get_by_role("button", name="Let it in as an event")).to_have_count(0)
    page.get_by_role("button", name="Verify again").click()
    expect(page.get_by_text("It verifies now, by the primary key of Box.")).to_be_visible()
    page.get_by_role("button", name="Let it in as an event").click()
    page.get_by_role("button", name="Let it in", exact=True).click()
    expect(page.get_by_role("heading", name="box:FILE.LOCKED", exact=True)).to_be_visible()
    event = f"{service.url}/api/events/{page.url.rpartition('/')[2]}"
    until(
        lambda: "done" in httpx.get(event, trust_env=False, timeout=PATIENCE_SECONDS).json()["job_counts"],
        "its jobs are done",
    )
    page.goto(f"/rejected/{kept}")
    expect(page.get_by_role("heading", name="Not Found")).to_be_visible()
    visitor.complaints.clear()  # the browser says that this page was not found, as it should not be
