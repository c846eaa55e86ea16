"""Two web and three worker processes on one PostgreSQL: every event is kept, and every job runs once.

FLEET_EVENTS=50000 makes it as large as the promise is; give pytest `-o faulthandler_timeout=0` then.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance import account
from tests.acceptance.service import Service
from tests.acceptance.steady import Steady
from tests.waiting import PATIENCE_SECONDS, until

EVENTS = int(os.environ.get("FLEET_EVENTS", "3000"))
PER_SECOND = 500
ENOUGH_SECONDS = PATIENCE_SECONDS + EVENTS / 50


@pytest.fixture
def fleet(tmp_path: Path, fresh_postgres: str) -> Iterator[list[Service]]:
    """Two places of their own, as if on two hosts, that share the database."""
    services = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        services.append(Service(tmp_path / name, DATABASE_URL=fresh_postgres, LOG_LEVEL="warning"))
    yield services
    for one in services:
        one.stop()


def test_each_job_of_a_fleet_has_one_attempt_and_that_is_done(fleet: list[Service]) -> None:
    first, second = fleet
    # What `make run` does: the tables, a web and a worker process.
    first.start("signalbox run", "run.log")
    until(first.answers, f"`signalbox run` answers: {first.log('run.log')}")
    second.web()
    for _ in range(2):
        second.worker()
    steady = Steady([first.url, second.url], count=EVENTS, per_second=PER_SECOND)
    steady.finish(seconds=ENOUGH_SECONDS)
    assert (steady.statuses, steady.unfinished) == (Counter({200: EVENTS}), 0)
    url = first.environ["DATABASE_URL"]
    handlers = 2  # `log` and `journal`
    found = account.done_twice_or_not_at_all(url, count=EVENTS, handlers=handlers, seconds=ENOUGH_SECONDS)
    assert found == account.NOTHING_AMISS
    assert account.lost(url, steady.accepted) == []
    journal = [line for one in fleet for line in one.log("journal.jsonl").splitlines()]
    assert len(journal) == EVENTS


def test_the_older_way_to_write_the_address_works_as_well(fleet: list[Service]) -> None:
    service = fleet[0]
    service.environ["DATABASE_URL"] = service.environ["DATABASE_URL"].replace("postgresql://", "postgres://")
    assert "are those of this release now" in service.signalbox("db upgrade")
