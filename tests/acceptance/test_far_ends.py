"""A web worker that asks a Box which never comes to an end, and the deliveries that reach it meanwhile."""

import threading
from datetime import UTC, datetime

import httpx2 as httpx

from receiver.sources import samples
from tests.acceptance.service import Service
from tests.far_ends import SOON, FarEnd, Line, misbehaving
from tests.installation import BOX_KEYS
from tests.waiting import PATIENCE_SECONDS


def test_deliveries_are_taken_while_the_same_worker_waits_for_box(service: Service) -> None:
    """The far end sends heads as fast as it can and then byte by byte, until every delivery was answered."""
    is_asked, is_over = threading.Event(), threading.Event()

    def act(line: Line) -> None:
        line.hear()
        is_asked.set()
        line.say(b"HTTP/1.1 100 Continue\r\n\r\n" * 2000, b"HTTP/1.1 200 OK\r\nX: ")
        while not is_over.wait(SOON):
            line.say(b"x")

    asked: list[httpx.Response] = []
    with misbehaving(FarEnd("100 Continue, then a byte at a time", act)) as url:
        service.environ["BOX_API_URL"] = url
        service.web()

        def ask() -> None:
            page = f"{service.url}/registrations?ask=box"
            asked.append(httpx.get(page, timeout=PATIENCE_SECONDS, trust_env=False))

        asking = threading.Thread(target=ask)
        asking.start()
        assert is_asked.wait(PATIENCE_SECONDS)
        for number in range(20):
            body, headers = samples.forge("box", "FILE.UPLOADED", BOX_KEYS, at=datetime.now(UTC), number=number)
            assert service.post("box", body, headers).status_code == 200
        assert asked == []  # it still waits
        is_over.set()
        asking.join(PATIENCE_SECONDS)
    assert "Not asked" in asked[0].text
