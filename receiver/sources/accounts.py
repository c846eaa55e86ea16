"""The accounts of a source: its keys in this installation, and how old its deliveries may be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from receiver.sources import Source


@dataclass(frozen=True, slots=True)
class Gate:
    """A source as this installation knows it: its keys by slot, and how old or early its deliveries may be."""

    source: Source
    keys: Mapping[str, str]
    settings: Sequence[str]
    max_age: timedelta
    max_skew: timedelta
