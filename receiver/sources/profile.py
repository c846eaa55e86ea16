"""The profile of a source: everything that is so for one provider alone, in one frozen value that the rest reads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from receiver.events import Delivery, Event, Reason, Refused, Verified
from receiver.sources import summary

Payload = Mapping[str, Any]
# What may be tried on a value, and in words that complete "It would match …".
Mends = Sequence[tuple[str, Callable[[str], str]]]


class Source(Protocol):
    """What the module of a source does. All of it is pure: the clock and the keys are arguments."""

    NAME: str
    KNOWN: frozenset[str]

    def verify(
        self, delivery: Delivery, keys: Mapping[str, str], *, max_age: timedelta, max_skew: timedelta
    ) -> Verified | Refused:
        """Return whether one of the keys, each under the name of its slot, signed these very bytes lately.

        Never raises, whatever came.
        """

    def parse(self, delivery: Delivery) -> Event:
        """Return the event that a verified delivery tells of, without an id; raises UnreadableError, nothing else."""

    def drift(self, event: Event) -> list[dict[str, str]]:
        """List where a payload differs from the schema that we know, as `{"path": …, "problem": …}`. Never raises."""

    def sign(
        self, body: bytes, keys: Mapping[str, str], *, at: datetime, delivery_id: str = ""
    ) -> list[tuple[str, str]]:
        """Return the headers that the source would send with this body."""


class Samples(Protocol):
    """What the module of a source's samples does."""

    def sample(self, name: str, *, at: datetime, number: int) -> dict[str, Any]:
        """Return the payload of something that happened at a time; another number has other ids."""

    def encode(self, payload: Payload) -> bytes:
        """Return the bytes that the source would put on the wire: each has its own way of writing JSON."""

    def local(self, at: datetime) -> datetime:
        """Return a time in the zone that the source writes it in."""

    def new_identity(self, payload: Payload, *, number: int) -> dict[str, Any]:
        """Return what of a payload has to change for it to tell of another event."""


@dataclass(frozen=True, slots=True)
class Key:
    """A setting that holds a key, and the slot that the key has; a list of keys has the slots `SLOT 1`, `SLOT 2`, …"""

    setting: str
    slot: str
    is_list: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyWords:
    """How people speak of the keys; `{slot}` stands for the slot of one."""

    verified: str
    every: str
    single: str
    only: str = "{slot}"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a reason means, in a sentence, and what fixes it."""

    sentence: str
    mend: str


@dataclass(frozen=True, slots=True)
class HeaderFault:
    """What only a delivery of this source can have wrong: a header with a value that is refused for a reason."""

    does: str
    reason: Reason
    header: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """How the source signs, in the two languages of copied commands.

    The lines need `body` (a function in bash, bytes in Python) and set what the headers name. `modules` are those
    of the standard library that the Python lines need, beside `os` and `datetime`.
    """

    bash: str
    bash_headers: Sequence[tuple[str, str]]
    python: str
    python_headers: Sequence[tuple[str, str]]
    modules: Sequence[str] = ("hmac",)


def _no_swaps(_keys: Mapping[str, str]) -> Sequence[tuple[str, Mapping[str, str]]]:
    return ()


def _no_history(_payload: Payload) -> dict[str, str]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A source, and everything that the rest of Signalbox has to know of its provider."""

    source: Source
    samples: Samples

    # How people speak of it.
    label: str
    short: str
    named_by: str  # the field of a payload that says what happened
    example: str  # a first name to try
    aliases: frozenset[str] = frozenset()  # what its users say for a name of `KNOWN`
    portal: str  # where its keys are shown

    # Its keys and limits in this installation.
    keys: Sequence[Key]
    key_words: KeyWords
    max_age_setting: str
    max_age: timedelta  # the default of that setting

    # What it signs with, and what goes wrong with it.
    signature_headers: Sequence[str]
    timestamp_header: str
    delivery_header: str = ""  # what says which delivery it is, where the source numbers them
    meanings: Mapping[Reason, Meaning] = field(default_factory=dict)  # beside those that hold for every source
    spoilt_signatures: Mends = ()
    spoilt_timestamps: Mends = ()
    swapped: Callable[[Mapping[str, str]], Sequence[tuple[str, Mapping[str, str]]]] = _no_swaps
    faults: Mapping[str, HeaderFault] = field(default_factory=dict)
    signing: Signing

    # What its payloads tell.
    about: Callable[[Payload], summary.About] = summary.about
    history: Callable[[Payload], dict[str, str]] = _no_history  # what to search for: the same file's other events

    @property
    def name(self) -> str:
        return self.source.NAME

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings that hold keys."""
        return tuple(key.setting for key in self.keys)

    def keys_by_slot(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """Return the keys that are set, each under its slot; none where the source is off."""
        found: dict[str, str] = {}
        for key in self.keys:
            value = settings.get(key.setting)
            if key.is_list:
                found |= {f"{key.slot} {number}": one for number, one in enumerate(value or (), 1)}
            elif value:
                found[key.slot] = value
        return found

    def key_in_all_slots(self, key: str) -> dict[str, str]:
        """Return one key in every slot that there is, to see whether it fits any."""
        return {one.slot: key for one in self.keys}
