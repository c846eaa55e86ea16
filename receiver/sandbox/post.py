"""One delivery over HTTP: the response, within the time that the source allows its receiver."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from receiver.outbound import Client, OutboundError

# https://developer.box.com/guides/webhooks/v2/ (as of 2026), and about the same at Filestack. This is true time.
TIME_LIMIT = timedelta(seconds=30)
_MOST_SAID = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """The response: `status` is None if there was none, and `said` is why, or the beginning of the body."""

    status: int | None
    said: str
    seconds: float = 0


Post = Callable[[str, bytes, list[tuple[str, str]]], Answer]


def post(address: str, body: bytes, headers: list[tuple[str, str]]) -> Answer:
    """Send a delivery. Redirects are not followed, and only the beginning of a response is read."""
    began = time.monotonic()
    try:
        with Client(within=TIME_LIMIT, most=_MOST_SAID, decodes=False) as client:
            reply = client.fetch("POST", address, headers=headers, body=body)
    except OutboundError as error:
        return Answer(None, str(error), time.monotonic() - began)
    seconds = reply.took.total_seconds()
    if reply.fault and not reply.is_cut:
        return Answer(None, f"the body of its response {reply.fault}", seconds)
    return Answer(reply.status, reply.body.decode("utf-8", "replace"), seconds)
