"""The tables are changed for a later release while this one goes on: nothing is lost, and nothing fails but 503.

UPGRADE_EVENTS=20000 makes it as large as the promise is; give pytest `-o faulthandler_timeout=0` then.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from tests import later_release
from tests.acceptance import account
from tests.acceptance.service import Service
from tests.acceptance.steady import Steady
from tests.waiting import PATIENCE_SECONDS, until

EVENTS = int(os.environ.get("UPGRADE_EVENTS", "2000"))
PER_SECOND = 250
ENOUGH_SECONDS = PATIENCE_SECONDS + EVENTS / 50


@pytest.fixture(params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    """This release, with two web processes."""
    service = Service(tmp_path, WEB_CONCURRENCY="2", LOG_LEVEL="warning")
    if request.param == "postgresql":
        service.environ["DATABASE_URL"] = request.getfixturevalue("fresh_postgres")
    service.signalbox("db upgrade")
    yield service
    service.stop()


@pytest.fixture
def later(service: Service, tmp_path: Path) -> Service:
    """A later release beside it, with the same database."""
    folder = tmp_path / "later"
    folder.mkdir()
    return Service(folder, root=later_release.make(folder), DATABASE_URL=service.environ["DATABASE_URL"])


def test_an_upgrade_under_load_loses_nothing_and_the_release_before_goes_on(service: Service, later: Service) -> None:
    service.web()
    service.worker()
    steady = Steady([service.url], count=EVENTS, per_second=PER_SECOND)
    until(lambda: len(steady.accepted) >= EVENTS // 4, "a quarter of the events is kept")
    assert "are those of this release now" in later.signalbox("db upgrade")
    steady.finish(seconds=ENOUGH_SECONDS)
    assert steady.unfinished == 0
    assert set(steady.statuses) <= {200, 503}
    assert len(steady.accepted) >= EVENTS
    url = service.environ["DATABASE_URL"]
    found = account.done_twice_or_not_at_all(url, count=len(steady.accepted), handlers=2, seconds=ENOUGH_SECONDS)
    assert found == account.NOTHING_AMISS
    assert account.lost(url, steady.accepted) == []
    # The release before is ready still, may be started anew, and has nothing to upgrade.
    assert httpx.get(f"{service.url}/readyz", trust_env=False, timeout=PATIENCE_SECONDS).status_code == 200
    assert service.worker().poll() is None
    assert service.signalbox("db upgrade") == "The tables are those of this release.\n"
    assert later.signalbox("db upgrade") == "The tables are those of this release.\n"
