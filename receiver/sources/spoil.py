"""Deliveries that are wrong on purpose: each fault with what it does, and the reason that it is refused for."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from receiver.errors import NotFoundError
from receiver.events import Reason
from receiver.sources import PROFILES, Profile
from receiver.sources.samples import Lines, signed, tampered

_MARGIN = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to a delivery, in words, and why it is refused then."""

    does: str
    reason: Reason


# What a delivery of every source can have wrong; a profile adds its own.
FAULTS: Mapping[str, Fault] = {
    "tampered": Fault("change a byte after signing", Reason.SIGNATURE_MISMATCH),
    "rewritten": Fault("rewrite the JSON after signing", Reason.SIGNATURE_MISMATCH),
    "wrong-key": Fault("sign with a key that is not ours", Reason.SIGNATURE_MISMATCH),
    "moved": Fault("change the timestamp after signing", Reason.SIGNATURE_MISMATCH),
    "stale": Fault("sign with a time long past", Reason.TIMESTAMP_STALE),
    "early": Fault("sign with a time to come", Reason.TIMESTAMP_IN_FUTURE),
    "unsigned": Fault("leave the signature out", Reason.SIGNATURE_MISSING),
    "prefixed": Fault("put sha256= before the signature", Reason.SIGNATURE_MALFORMED),
    "doubled": Fault("send two signatures that differ", Reason.HEADER_CONFLICT),
    "timeless": Fault("leave the timestamp out", Reason.TIMESTAMP_MISSING),
    "mistimed": Fault("write a timestamp that is none", Reason.TIMESTAMP_MALFORMED),
}


def faults_of(source: str) -> dict[str, Fault]:
    """Give the faults that a delivery of this source can have."""
    own = PROFILES[source].faults.items()
    return {**FAULTS, **{name: Fault(fault.does, fault.reason) for name, fault in own}}


def spoil(
    source: str,
    body: bytes,
    keys: Mapping[str, str],
    fault: str,
    *,
    at: datetime,
    max_age: timedelta,
    max_skew: timedelta,
) -> tuple[bytes, Lines]:
    """Give a body and its header lines with one fault: all else is signed as the source would at that time.

    NotFoundError for a fault that deliveries of this source cannot have.
    """
    if fault not in faults_of(source):
        raise NotFoundError(f"There is no fault {fault!r} of {source}. The faults are: {', '.join(faults_of(source))}.")
    signing = {"unsigned": {}, "wrong-key": dict.fromkeys(keys, "a key that is not ours")}.get(fault, keys)
    at += {"stale": -max_age - _MARGIN, "early": max_skew + _MARGIN}.get(fault, timedelta())
    lines = signed(source, body, signing, at=at)
    profile = PROFILES[source]
    if fault == "moved":
        later = dict(signed(source, body, keys, at=at + timedelta(seconds=1)))
        lines = [(name, later[name] if name == profile.timestamp_header else value) for name, value in lines]
    return _BODIES.get(fault, _same)(body), _respelt(profile, fault, lines)


def _respelt(profile: Profile, fault: str, lines: Lines) -> Lines:
    """Return the header lines with a fault that is one of the headers alone; any other leaves them as they are."""
    signed_by, timestamp = frozenset(profile.signature_headers), profile.timestamp_header
    if fault in profile.faults:
        own = profile.faults[fault]
        return _changed(lines, frozenset({own.header}), lambda _value: own.value)
    if fault == "prefixed":
        return _changed(lines, signed_by, lambda signature: f"sha256={signature}")
    if fault == "doubled":
        name, value = next(line for line in lines if line[0] in signed_by)
        return [*lines, (name, value[::-1])]
    if fault == "timeless":
        return [line for line in lines if line[0] != timestamp]
    if fault == "mistimed":
        return _changed(lines, frozenset({timestamp}), lambda _timestamp: "yesterday")
    return lines


def _changed(lines: Lines, names: frozenset[str], change: Callable[[str], str]) -> Lines:
    return [(name, change(value) if name in names else value) for name, value in lines]


def _same(part: bytes) -> bytes:
    return part


def _rewritten(body: bytes) -> bytes:
    """Give the same JSON in the first other spelling; a line more where it is none, or too deep."""
    try:
        payload = json.loads(body)
        spellings = [
            json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode(),
            json.dumps(payload).encode(),
        ]
    except (ValueError, RecursionError):
        spellings = []
    return next((other for other in spellings if other != body), body + b"\n")


_BODIES: Mapping[str, Callable[[bytes], bytes]] = {"tampered": tampered, "rewritten": _rewritten}
