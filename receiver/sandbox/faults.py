"""What can go wrong between a source and its receiver, on request."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta

SLOTS = {"box": ("primary", "secondary"), "filestack": ()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How an event's deliveries are spoilt. Spans are of the sandbox's clock."""

    duplicates: int = 0
    """The event is sent so many more times, each with retries of its own."""
    lost_answers: int = 0
    """So many successful responses do not reach the source, which therefore retries."""
    reorder: bool = False
    """The events of one action are sent in the opposite order."""
    delay: float = 0
    """Seconds before the first delivery: later events overtake it."""
    wrong_key: bool = False
    """Signed with keys that the receiver does not have."""
    rotating: str = ""
    """The slot whose key was replaced at Box and not yet here; the other slot signs as before."""
    reserialise: bool = False
    """A proxy parses the JSON and writes it in its own way, after it was signed."""
    same_signature: bool = False
    """Retries carry the signature and the time of the first delivery."""

    @classmethod
    def read(cls, text: str) -> "Faults":
        return cls(**json.loads(text))

    def written(self) -> str:
        return json.dumps(asdict(self))

    def with_more(self, more: Mapping[str, object]) -> "Faults":
        return replace(self, **more)  # type: ignore[arg-type]  # the control API has checked names and types

    def delay_span(self) -> timedelta:
        return timedelta(seconds=self.delay)

    def keys(self, keys: Mapping[str, str]) -> dict[str, str]:
        """Return the keys that a delivery is signed with."""
        if self.wrong_key:
            return {slot: secrets.token_hex(16) for slot in keys}
        return {slot: secrets.token_hex(16) if slot == self.rotating else key for slot, key in keys.items()}

    def body(self, body: bytes) -> bytes:
        """Return the body that arrives if this one was sent."""
        if not self.reserialise:
            return body
        return json.dumps(json.loads(body), ensure_ascii=False).encode("utf-8", "surrogatepass")
