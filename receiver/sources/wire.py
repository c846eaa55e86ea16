"""What both wire formats share: strict JSON, times, identities, keyed hashes, the checks of headers and of age."""

import gc
import hashlib
import hmac
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

import msgspec
from marshmallow import Schema, ValidationError, missing

from receiver.errors import UnreadableError
from receiver.events import Headers, Reason, Refused

MAX_DEPTH = 100
# Longer bodies are not given to the fast reader (msgspec 0.22), which is none for each number: it takes 10 µs to read
# 1.797e308, and a megabyte holds 100,000 of those.
MAX_FAST_BYTES = 8 * 1024
# Zero, as Go (year 1) and Unix (1970) write it, is no time; and what is this far off would leave the calendar in some
# time zone.
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(2200, 1, 1, tzinfo=UTC)
_MAX_IDENTITY = 200
_MAX_NAME = 200

_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})", re.ASCII)
_DIGITS = re.compile(r"\d{1,12}", re.ASCII)


def read_object(body: bytes) -> dict[str, Any]:
    """Give the JSON object that a body holds; raises UnreadableError for everything else.

    Stricter than Python's own reader: UTF-8 only, no NaN, no number out of range, and nested no deeper than
    MAX_DEPTH, so that whoever writes the payload out again later cannot run out of stack.
    """
    try:
        payload = _read(body)
    except UnicodeDecodeError:
        problem = "Not UTF-8."
    except json.JSONDecodeError as error:
        problem = f"Not JSON: {error.msg} (character {error.pos})." if body else "Empty."
    except ValueError:
        problem = "Not JSON: holds NaN, Infinity or a number of too many digits."
    except RecursionError:
        problem = f"Nested deeper than {MAX_DEPTH} levels."
    else:
        if not isinstance(payload, dict):
            problem = "Not a JSON object."
        elif body.count(b"[") + body.count(b"{") > MAX_DEPTH and _depth(body) > MAX_DEPTH:
            problem = f"Nested deeper than {MAX_DEPTH} levels."
        else:
            return payload
    raise UnreadableError({"body": [problem]})


def _read(body: bytes) -> Any:
    if len(body) > MAX_FAST_BYTES:
        with uncollected():
            return _DECODER.decode(body.decode("utf-8"))
    try:
        return _FAST_DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # What the fast reader refuses, Python's own decides on: it takes lone surrogates, and says what is wrong.
        return _DECODER.decode(body.decode("utf-8"))


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("out of range")
    return number


_FAST_DECODER = msgspec.json.Decoder()
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
_ENCODER = json.JSONEncoder(separators=(",", ":"))


_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(set(range(256)) - set(_STEPS))


def _depth(body: bytes) -> int:
    """Say how deep a body is nested that is known to be JSON: by its brackets, at a tenth of what a walk costs."""
    brackets = _TEXT.sub(b"", body).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep Python's collector of cycles from looking through what is read while it is read: JSON has none.

    It would look again and again: of a second for 500,000 lists, nine tenths are its.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def rfc3339(text: object) -> datetime | None:
    """Read a date and time that says its offset from UTC; None for anything else."""
    if not isinstance(text, str) or not _RFC3339.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def unix_time(seconds: object) -> datetime | None:
    """Read whole seconds since 1970, a number or ASCII digits; None for anything else."""
    if isinstance(seconds, str) and _DIGITS.fullmatch(seconds):
        seconds = int(seconds)
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def when_it_happened(told: datetime | None) -> datetime | None:
    """Give a time that something can have happened at; None for any other, which the payload keeps."""
    return told if told and BEGINNING < told < END else None


def plain_word(text: str) -> None:
    """Validate a provider's name for what happened: it goes into URLs, logs and signal names, so only what shows."""
    if not 1 <= len(text) <= _MAX_NAME:
        raise ValidationError(f"Must be 1 to {_MAX_NAME} characters long.")
    if " " in text or not text.isprintable():
        raise ValidationError("May hold no spaces and no characters that do not show.")


def read_field(schema: Schema, name: str, payload: dict[str, Any]) -> Any:
    """Give one field of an envelope's schema; raises UnreadableError naming it where it does not hold.

    Straight to the field: marshmallow's way through the whole schema costs four times as much.
    """
    try:
        return schema.fields[name].deserialize(payload.get(name, missing), name, payload)
    except ValidationError as error:
        raise UnreadableError({name: [str(message) for message in error.messages]}) from None


def identity(parts: Sequence[object]) -> str:
    """Give the same short ASCII text for the same parts, and another one for any others."""
    text = _ENCODER.encode(parts)
    return text if len(text) <= _MAX_IDENTITY else digest_of(text.encode("ascii"))


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def is_id(value: object) -> bool:
    """Say whether a value tells one thing from another: an empty id, a zero or a list does not."""
    return isinstance(value, str | int) and not isinstance(value, bool) and bool(value)


def mac(key: str, message: bytes) -> bytes:
    return hmac.digest(key.encode("utf-8", "surrogatepass"), message, "sha256")


def single_values(headers: Headers, names: Iterable[str]) -> dict[str, str] | Refused:
    """Give the value of each of these headers, "" where it did not come; two different values are a conflict."""
    found = {}
    for name in names:
        values = headers.distinct(name)
        if len(values) > 1:
            return Refused(Reason.HEADER_CONFLICT, f"{name} came with {len(values)} different values.")
        found[name] = values[0] if values else ""
    return found


def check_age(sent_at: datetime, received_at: datetime, *, max_age: timedelta, max_skew: timedelta) -> Refused | None:
    """Refuse what is older than `max_age` or further ahead of us than `max_skew`, counted in whole seconds."""
    age = received_at.replace(microsecond=0) - sent_at.replace(microsecond=0)
    if age > max_age:
        detail = f"The delivery was signed {_seconds(age)} before it arrived; {_seconds(max_age)} are allowed."
        return Refused(Reason.TIMESTAMP_STALE, detail)
    if -age > max_skew:
        detail = (
            f"The delivery was signed {_seconds(-age)} ahead of our clock; {_seconds(max_skew)} are allowed. "
            "Is the clock of this machine right?"
        )
        return Refused(Reason.TIMESTAMP_IN_FUTURE, detail)
    return None


def _seconds(span: timedelta) -> str:
    return f"{span // timedelta(seconds=1)} s"


def malformed(name: str, value: str, *, form: str) -> Refused:
    """Refuse a signature that cannot be one, without showing it."""
    detail = f"{name} is {len(value)} characters long, but not {form}."
    if value.lower().startswith("sha256="):
        detail = f'{name} begins with "sha256=": send {form}, without that prefix.'
    return Refused(Reason.SIGNATURE_MALFORMED, detail)


def came(sent: Mapping[str, str]) -> str:
    """Name the headers that did come, for a sentence about those that did not."""
    return ", ".join(name for name, value in sent.items() if value) or "none of its headers"
