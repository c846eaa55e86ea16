"""A provider that sends at a steady rate, and sends again what is not answered 200, as providers do."""

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

from receiver.sources import samples
from tests.installation import KEYS
from tests.waiting import PATIENCE_SECONDS

PAUSE_SECONDS = 0.2


class Steady:
    """Posts numbered events to addresses in turn, until there are `count` of them and `finish` was called.

    `accepted` has what was answered 200, id and body; `statuses` counts the answers, 0 where there was none.
    """

    def __init__(self, urls: Sequence[str], *, count: int, per_second: float, connections: int = 6) -> None:
        self.accepted: dict[str, bytes] = {}
        self.statuses: Counter[int] = Counter()
        self.unfinished = 0
        self._urls = urls
        self._count = count
        self._per_second = per_second
        self._numbers = itertools.count()
        self._may_end = threading.Event()
        self._giving_up = threading.Event()
        self._counting = threading.Lock()
        self._began = time.monotonic()
        self._threads = [threading.Thread(target=self._send, args=(one,), daemon=True) for one in range(connections)]
        for thread in self._threads:
            thread.start()

    def finish(self, *, seconds: float) -> None:
        """Send the rest, and wait until all of it is answered 200."""
        self._may_end.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._giving_up.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)

    def _send(self, place: int) -> None:
        address = urlsplit(self._urls[place % len(self._urls)])
        assert address.hostname
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=PATIENCE_SECONDS)
        while not self._giving_up.is_set():
            with self._counting:
                number = next(self._numbers)
            if number >= self._count and self._may_end.is_set():
                break
            # Waiting for the moment that this number is due keeps the rate; nothing is waited for beyond it.
            self._giving_up.wait(max(0.0, self._began + number / self._per_second - time.monotonic()))
            self._deliver(connection, number)
        connection.close()

    def _deliver(self, connection: http.client.HTTPConnection, number: int) -> None:
        body, headers = samples.forge("box", "FILE.UPLOADED", KEYS["box"], at=datetime.now(UTC), number=number)
        status = 0
        while status != 200 and not self._giving_up.is_set():
            status, answer = _post(connection, body, dict(headers))
            with self._counting:
                self.statuses[status] += 1
            if status == 200:
                self.accepted[json.loads(answer)["event"]] = body
            else:
                self._giving_up.wait(PAUSE_SECONDS)
        if status != 200:
            with self._counting:
                self.unfinished += 1


def _post(connection: http.client.HTTPConnection, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    try:
        connection.request("POST", "/hooks/box", body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return 0, b""
