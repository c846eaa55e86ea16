"""Deliveries as the sources would send them: sample payloads, their wire form, signed, retried or spoilt."""

import secrets
from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from receiver.errors import NotFoundError, UnreadableError
from receiver.sources import PROFILES, SOURCES
from receiver.sources.profile import Samples
from receiver.sources.wire import read_object

_MAX_NUMBER = 10**8

Lines = list[tuple[str, str]]


def names(source: str) -> list[str]:
    """Give every provider name that has a sample of its own; other names get one of their family."""
    _simulated(source)
    return sorted(SOURCES[source].KNOWN)


def sample(source: str, name: str, *, at: datetime, number: int) -> dict[str, Any]:
    """Give a payload as the source would write it for something that happened at a time.

    The same number gives the same payload; each number has ids of its own.
    """
    return _simulated(source).sample(name, at=at, number=number)


def encode(source: str, payload: Mapping[str, Any]) -> bytes:
    """Give the bytes that the source would put on the wire: each has its own way of writing JSON."""
    return _simulated(source).encode(payload)


def forge(
    source: str,
    name_or_payload: str | Mapping[str, Any],
    keys: Mapping[str, str],
    *,
    at: datetime,
    number: int | None = None,
    delivery_id: str = "",
) -> tuple[bytes, Lines]:
    """Give the body and the header lines of a delivery, signed at a time with the keys of our own receiver.

    Without a number every call is another event. A retry by Box is the same number (or payload) once more: the
    delivery id is new each time, unless one is given.
    """
    payload = name_or_payload
    if isinstance(payload, str):
        payload = sample(source, payload, at=at, number=secrets.randbelow(_MAX_NUMBER) if number is None else number)
    body = encode(source, payload)
    return body, signed(source, body, keys, at=at, delivery_id=delivery_id)


def signed(source: str, body: bytes, keys: Mapping[str, str], *, at: datetime, delivery_id: str = "") -> Lines:
    """Give the header lines that the source would send with these bytes, whatever they are."""
    headers = SOURCES[source].sign(body, keys, at=_simulated(source).local(at), delivery_id=delivery_id)
    return [("Content-Type", "application/json"), *headers]


def renewed(source: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Give a payload that tells of another event: the same but for its id, where it has one."""
    return {**payload, **_simulated(source).new_identity(payload, number=secrets.randbelow(_MAX_NUMBER))}


def tampered(body: bytes) -> bytes:
    """Give a body that differs in one byte and can still be read, so that only the signature tells.

    One that has no byte to spare, or could not be read before, gets a space at its end.
    """
    for place in islice(_letters_and_digits(body), 100):
        changed = body[:place] + (b"1" if body[place : place + 1] != b"1" else b"2") + body[place + 1 :]
        if _is_object(changed):
            return changed
    return body + b" "


def _letters_and_digits(body: bytes) -> list[int]:
    return [place for place in reversed(range(len(body))) if body[place : place + 1].isalnum()]


def _is_object(body: bytes) -> bool:
    try:
        read_object(body)
    except UnreadableError:
        return False
    return True


def _simulated(source: str) -> Samples:
    if source not in PROFILES:
        raise NotFoundError(f"There is no source {source!r}. The sources are: {', '.join(sorted(PROFILES))}.")
    return PROFILES[source].samples
