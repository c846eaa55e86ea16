"""The provider: publishes numbered, signed events at a steady rate, again until they are answered 200."""

import heapq
import http.client
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count

from bench.deliveries import KEYS
from receiver.sources import samples

SENDERS = 48
PATIENCE_SECONDS = 15
AGAIN_SECONDS = 0.5
USUAL = "FILE.DOWNLOADED"  # the shipped handlers do little with it


@dataclass(slots=True)
class Published:
    """One event as its provider knows it."""

    number: int
    name: str
    body: bytes
    headers: list[tuple[str, str]] = field(repr=False)
    happened_at: float
    event_ids: set[str] = field(default_factory=set)
    answered_at: float = 0.0
    refusals: int = 0
    was_kept_unanswered: bool = False


class Provider:
    """Sends from threads of its own, each delivery over a connection of its own, until it is stopped."""

    def __init__(self, port: int, *, rate: float) -> None:
        self.published: list[Published] = []
        self.answers: Counter[str] = Counter()
        self._port = port
        self._every = 1 / rate
        self._waiting: list[tuple[float, int, Published]] = []
        self._changed = threading.Condition()
        self._ties = count()
        self._is_over = threading.Event()
        self._has_stopped = threading.Event()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(SENDERS)]
        self._threads.append(threading.Thread(target=self._publish, daemon=True))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop_publishing(self) -> None:
        """Let nothing more happen; what did is still sent, and sent again."""
        self._has_stopped.set()

    def stop(self) -> None:
        self._has_stopped.set()
        self._is_over.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS + 1)

    def publish(self, name: str = USUAL) -> Published:
        """Let something happen at the provider's, and have it told as soon as a sender is free."""
        with self._changed:
            at, number = datetime.now(UTC), len(self.published)
            body, headers = samples.forge("box", name, KEYS, at=at, number=number)
            one = Published(number, name, body, headers, at.timestamp())
            self.published.append(one)
            self._put(one, time.monotonic())
        return one

    def _put(self, one: Published, at: float) -> None:
        heapq.heappush(self._waiting, (at, next(self._ties), one))
        self._changed.notify()

    def _publish(self) -> None:
        due = time.monotonic()
        while not self._has_stopped.is_set():
            self.publish()
            due += self._every
            self._has_stopped.wait(max(0.0, due - time.monotonic()))

    def _send(self) -> None:
        while (one := self._next()) is not None:
            status, answer = self._post(one)
            with self._changed:
                self.answers[status] += 1
                if status == "200":
                    self._keep(one, json.loads(answer))
                else:
                    one.refusals += 1
                    self._put(one, time.monotonic() + AGAIN_SECONDS)

    def _next(self) -> Published | None:
        with self._changed:
            while not self._is_over.is_set():
                now = time.monotonic()
                if self._waiting and self._waiting[0][0] <= now:
                    return heapq.heappop(self._waiting)[2]
                self._changed.wait(self._waiting[0][0] - now if self._waiting else None)
        return None

    def _post(self, one: Published) -> tuple[str, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)
        try:
            connection.request("POST", "/hooks/box", one.body, dict(one.headers) | {"Connection": "close"})
            answer = connection.getresponse()
            return str(answer.status), answer.read()
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__, b""
        finally:
            connection.close()

    def _keep(self, one: Published, answer: dict[str, str]) -> None:
        one.event_ids.add(answer["event"])
        if not one.answered_at:
            one.answered_at = time.time()
            one.was_kept_unanswered = answer["status"] == "duplicate"
