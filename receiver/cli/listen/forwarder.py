"""Forwards the events of a Signalbox elsewhere to a URL here, each once it is answered, whatever is away meanwhile."""

import base64
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from receiver import service
from receiver.cli import screen
from receiver.cli.listen.cursor import Cursor
from receiver.cli.listen.remote import Far, FarError, begin, unknown
from receiver.cli.send import target
from receiver.errors import SignalboxError
from receiver.observe.documents import Document
from receiver.outbound import Client, OutboundError, Trouble
from receiver.sources import samples

PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(seconds=30)
_PASSING = (Trouble.NO_ADDRESS, Trouble.UNREACHED, Trouble.LATE, Trouble.NOT_HTTP)


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What the local URL answered to an event."""

    event: str
    type: str
    status: int
    milliseconds: float
    fault: str = ""  # what is wrong with the body of it


def forward(far: Far, cursor: Cursor, near: Client, to: str, since: datetime) -> Iterator[Forwarded]:
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


def _deliver(item: Document, near: Client, to: str) -> Forwarded:
    """Post an event until it is answered."""
    body, source = base64.b64decode(item["body_base64"]), item["source"]
    url, keys = target(to, source, hint="--to"), service.current().gates[source].keys
    pause, number = _Pause(), _delivery_id(item)
    while True:
        lines = samples.signed(source, body, keys, at=datetime.now(UTC), delivery_id=number)
        try:
            with screen.waiting(url, most=near.within):
                reply = near.fetch("POST", url, body=body, headers=[*lines, ("Signalbox-Event", item["id"])])
        except OutboundError as error:
            if error.trouble not in _PASSING:
                raise SignalboxError(f"Nothing can be sent to {url}: {error}") from error
            pause.wait(f"No response of {url} ({str(error).rstrip('.')})")
            continue
        pause.end()
        # One that cannot be read is a response as well: to send the event again would be to send it for ever.
        fault = f"the body of its response {reply.fault}" if reply.fault and not reply.is_cut else ""
        return Forwarded(item["id"], item["type"], reply.status, round(reply.took.total_seconds() * 1000, 1), fault)


def _delivery_id(item: Document) -> str:
    found = next((value for name, value in item["headers"] if name.lower() == "box-delivery-id"), "")
    return found if found.isascii() and found.isprintable() else ""


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
