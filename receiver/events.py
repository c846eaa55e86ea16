"""A request (Delivery), the verdict on its signature (Verified, Refused), and its meaning (Event)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from receiver.runtime import redaction


class Headers(Mapping[str, str]):
    """The header lines of a delivery: order and repetitions kept, names found in any case.

    Values are the received bytes, decoded as Latin-1 (PEP 3333), so nothing is lost.
    """

    __slots__ = ("_values", "pairs")

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self.pairs = tuple(pairs)
        self._values: dict[str, list[str]] = {}
        for name, value in self.pairs:
            self._values.setdefault(name.lower(), []).append(value)

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._values[name.lower()])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Headers({self.redacted()!r})"

    def distinct(self, name: str) -> list[str]:
        """Return the different values received under one name.

        WSGI servers join repeated headers with a comma (RFC 9110, 5.3); no value that we need contains one, so it is
        split again.
        """
        joined = self._values.get(name.lower())
        if joined is None:
            return []
        if len(joined) == 1 and "," not in joined[0]:
            return joined
        return list(dict.fromkeys(part.strip() for value in joined for part in value.split(",")))

    def redacted(self) -> list[tuple[str, str]]:
        """Return the lines for people to see: credentials and foreign signatures masked, those of our sources cut."""
        return [(name, redaction.shown(name, value)) for name, value in self.pairs]

    def to_bytes(self) -> bytes:
        return "".join(f"{name}: {value}\r\n" for name, value in self.pairs).encode("latin-1")

    @classmethod
    def from_bytes(cls, block: bytes) -> "Headers":
        lines = block.decode("latin-1").split("\r\n")[:-1]
        return cls((name, value) for name, _, value in (line.partition(": ") for line in lines))


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One HTTP request from a source as it was received, byte for byte."""

    source: str
    body: bytes
    headers: Headers
    received_at: datetime


class Reason(StrEnum):
    """Why a delivery is rejected: the codes of status 401."""

    SIGNATURE_MISSING = "signature_missing"
    SIGNATURE_MALFORMED = "signature_malformed"
    SIGNATURE_MISMATCH = "signature_mismatch"
    TIMESTAMP_MISSING = "timestamp_missing"
    TIMESTAMP_MALFORMED = "timestamp_malformed"
    TIMESTAMP_STALE = "timestamp_stale"
    TIMESTAMP_IN_FUTURE = "timestamp_in_future"
    VERSION_UNSUPPORTED = "version_unsupported"
    ALGORITHM_UNSUPPORTED = "algorithm_unsupported"
    HEADER_CONFLICT = "header_conflict"


class Unread(StrEnum):
    """Why a request to /hooks is refused before its signature is checked."""

    BODY_TOO_LONG = "body_too_long"
    CUT_OFF = "cut_off"
    COMPRESSED = "compressed"
    SOURCE_OFF = "source_off"
    NO_SUCH_SOURCE = "no_such_source"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    REDIRECTED = "redirected"
    NOT_UNDERSTOOD = "not_understood"


@dataclass(frozen=True, slots=True)
class Verified:
    """The signature is right; `by` names the key slot that verified it, never the key."""

    by: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The signature is not right; `detail` is a sentence for the sender that reveals no key and no signature."""

    reason: Reason | Unread
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What a delivery says happened; the one argument of every handler.

    A handler's test makes one in a line: `Event(type="filestack:fp.upload", payload={"text": {"size": 3}})`. `name` is
    the provider's own name if the type differs from it (`fp.converse`); `occurred_at` is None if the provider sends no
    readable time; `attempt` counts from 1 over the whole life of the job.
    """

    type: str
    payload: dict[str, Any]
    id: str = ""
    name: str = ""
    identity: str = ""
    body: bytes = b""
    headers: Headers = field(default_factory=Headers)
    received_at: datetime | None = None
    occurred_at: datetime | None = None
    attempt: int = 1

    @property
    def source(self) -> str:
        return self.type.partition(":")[0]
