"""Many deliveries at once: what was answered 200 is kept, whatever dies in the middle of it."""

import itertools
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx2 as httpx
import pytest
import sqlalchemy as sa

from receiver.sources import samples
from receiver.storage.tables import events
from tests.acceptance.service import Service
from tests.installation import KEYS
from tests.waiting import PATIENCE_SECONDS, until


class Burst:
    """Posts signed deliveries from many connections at once, and remembers every answer.

    Without `each` it goes on until nobody answers any more. `overtaken` is the greatest number of others that were
    answered while one waited.
    """

    def __init__(self, service: Service, *, connections: int, each: int | None = None) -> None:
        self.accepted: dict[str, bytes] = {}
        self.statuses: list[int] = []
        self.broken = 0
        self.overtaken = 0
        self._url = f"{service.url}/hooks/box"
        self._threads = [
            threading.Thread(target=self._send, args=(itertools.islice(itertools.count(one, connections), each),))
            for one in range(connections)
        ]
        for thread in self._threads:
            thread.start()

    def _send(self, numbers: Iterator[int]) -> None:
        with httpx.Client(trust_env=False, timeout=PATIENCE_SECONDS) as client:
            for number in numbers:
                body, headers = samples.forge("box", "FILE.UPLOADED", KEYS["box"], at=datetime.now(UTC), number=number)
                before = len(self.statuses)
                try:
                    answer = client.post(self._url, content=body, headers=headers)
                except httpx.TransportError:
                    self.broken += 1
                    break
                self.overtaken = max(self.overtaken, len(self.statuses) - before)
                self.statuses.append(answer.status_code)
                if answer.status_code == 200:
                    self.accepted[answer.json()["event"]] = body

    def wait(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)


def bodies(service: Service) -> dict[str, bytes]:
    engine = sa.create_engine(service.environ["DATABASE_URL"])
    with engine.connect() as connection:
        found = {row.id: row.body for row in connection.execute(sa.select(events.c.id, events.c.body))}
    engine.dispose()
    return found


def test_every_delivery_of_a_burst_is_kept_as_it_came_and_handled(service: Service) -> None:
    service.environ["WEB_CONCURRENCY"] = "2"
    service.web()
    service.worker()
    burst = Burst(service, connections=20, each=25)
    burst.wait()
    assert set(burst.statuses) == {200}
    assert bodies(service) == burst.accepted
    until(lambda: len(service.log("journal.jsonl").splitlines()) == 500, "every event is in the journal")


@pytest.mark.parametrize("moment", [40, 150])
def test_a_web_process_killed_in_a_burst_has_every_event_that_it_answered(service: Service, moment: int) -> None:
    service.environ["WEB_CONCURRENCY"] = "2"
    web = service.web()
    burst = Burst(service, connections=20)
    until(lambda: len(burst.accepted) >= moment, "the burst is under way")
    service.kill(web)
    burst.wait()
    assert burst.broken > 0
    kept = bodies(service)
    assert {event: kept.get(event) for event in burst.accepted} == burst.accepted


def test_processes_share_the_turn_to_write_fairly(service: Service) -> None:
    service.environ["WEB_CONCURRENCY"] = "2"
    service.web()
    burst = Burst(service, connections=20, each=25)
    burst.wait()
    assert burst.statuses == [200] * 500
    assert burst.overtaken < 250, "a process waited for its turn as if it had been forgotten"
