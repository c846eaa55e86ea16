"""The services that we accept webhooks from: one module each, all of the same shape."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

from receiver.events import Delivery, Event, Refused, Verified
from receiver.sources import box, filestack


class Source(Protocol):
    """What the module of a source gives. All of it is pure: the clock and the keys are arguments."""

    NAME: str
    KNOWN: frozenset[str]

    def verify(
        self, delivery: Delivery, keys: Mapping[str, str], *, max_age: timedelta, max_skew: timedelta
    ) -> Verified | Refused:
        """Say whether one of the keys, each under the name of its slot, signed these very bytes lately.

        Never raises, whatever came.
        """

    def parse(self, delivery: Delivery) -> Event:
        """Give the event that a verified delivery tells of, without an id; raises UnreadableError, nothing else."""

    def drift(self, event: Event) -> list[dict[str, str]]:
        """List where a payload differs from the schema that we know, as `{"path": …, "problem": …}`. Never raises."""

    def sign(
        self, body: bytes, keys: Mapping[str, str], *, at: datetime, delivery_id: str = ""
    ) -> list[tuple[str, str]]:
        """Give the headers that the source would send with this body."""


SOURCES: Mapping[str, Source] = {"box": box, "filestack": filestack}
