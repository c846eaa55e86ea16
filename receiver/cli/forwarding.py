"""Forwards the events of a Signalbox elsewhere to a URL here, each once it is answered, whatever is away meanwhile."""

import base64
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
from flask import current_app

from receiver import simulator
from receiver.cli import screen
from receiver.cli.far import Cursor, Far, FarError, begin, unknown
from receiver.cli.send import target
from receiver.listing import Item

PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What the local URL answered to an event."""

    event: str
    type: str
    status: int
    milliseconds: float


def forward(far: Far, cursor: Cursor, near: httpx.Client, to: str, since: datetime) -> Iterator[Forwarded]:
    """Forward what comes, for ever; each is remembered once it is answered."""
    pause = _Pause()
    while True:
        try:
            for event_id in _new_ids(far, cursor, since):
                item = far.event(event_id)
                if item is not None:
                    yield _deliver(item, near, to)
                cursor.pass_by([event_id])
            far.settle()
            pause.end()
        except FarError as error:
            pause.wait(str(error))
        else:
            time.sleep(PAUSE.total_seconds())


def _new_ids(far: Far, cursor: Cursor, since: datetime) -> list[str]:
    if not cursor.is_new:
        return unknown(far.pages(), cursor.known)
    before, after = begin(far.pages(), since)
    cursor.pass_by(before)
    return after


def _deliver(item: Item, near: httpx.Client, to: str) -> Forwarded:
    """Post an event until it is answered."""
    body, source = base64.b64decode(item["body_base64"]), item["source"]
    url, keys = target(to, source, hint="--to"), current_app.extensions["signalbox.gates"][source].keys
    pause, number = _Pause(), _delivery_id(item)
    while True:
        lines = simulator.signed(source, body, keys, at=datetime.now(UTC), delivery_id=number)
        began = time.perf_counter()
        try:
            answer = near.post(url, content=body, headers=[*lines, ("Signalbox-Event", item["id"])])
        except httpx.TransportError as error:
            pause.wait(f"No answer from {url} ({str(error) or type(error).__name__})")
            continue
        pause.end()
        return Forwarded(item["id"], item["type"], answer.status_code, round((time.perf_counter() - began) * 1000, 1))


def _delivery_id(item: Item) -> str:
    return next((value for name, value in item["headers"] if name.lower() == "box-delivery-id"), "")


class _Pause:
    """Waits longer and longer for what does not answer, and says so once."""

    def __init__(self) -> None:
        self._next = PAUSE
        self._said = ""

    def wait(self, why: str) -> None:
        if why != self._said:
            screen.note(screen.styled(f"{why}: it is tried again, and nothing is missed.", "yellow"))
        self._said = why
        time.sleep(self._next.total_seconds())
        self._next = min(self._next * 2, LONGEST_PAUSE)

    def end(self) -> None:
        if self._said:
            screen.note("It answers again.")
        self._next, self._said = PAUSE, ""
