"""The form that sets a bin up: text as people write it, to and from what a bin takes."""

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from receiver import humanize
from receiver.bins import Changes, Item
from receiver.errors import BinError

_SPAN = re.compile(r"(\d{1,7})\s*([smhdw])", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def filled(item: Item) -> dict[str, str]:
    """Give the form as it shows how a bin is set up; a body that is no text is left out."""
    return {
        "status": str(item["status"]),
        "headers": "\n".join(f"{name}: {value}" for name, value in item["headers"]),
        "body": _as_text(_body(item)) or "",
        "delay_seconds": f"{item['delay_seconds']:g}",
        "fail_every": str(item["fail_every"]),
        "fail_status": str(item["fail_status"]),
        "keep_count": str(item["keep_count"]),
        "keep_seconds": _span(item["keep_seconds"]),
        "secret": "",
    }


def read(form: Mapping[str, str], before: Item) -> Changes:
    """Give what a filled form changes; BinError names the fields that cannot be read."""
    changes: dict[str, Any] = {}
    problems: dict[str, list[str]] = {}
    for field, reader in _READERS.items():
        if field not in form:
            continue
        try:
            changes[field] = reader(form[field].strip())
        except ValueError as error:
            problems[field] = [str(error)]
    if problems:
        raise BinError(problems)
    if "body" in form and _lines(form["body"]) != _lines(filled(before)["body"]):
        changes["body"] = _lines(form["body"]).encode("utf-8", "replace")
    if form.get("secret") or "no_secret" in form:
        changes["secret"] = None if "no_secret" in form else form["secret"]
    return cast("Changes", changes)


def lost(changes: Changes, before: Item) -> list[str]:
    """Say what changes take away that nothing brings back: captures, and a secret that others know."""
    said = []
    count = changes.get("keep_count", before["keep_count"])
    if count < min(before["kept"], before["keep_count"]):
        said.append(
            f"{humanize.count(before['kept'] - count, 'capture')} of {before['kept']:,} go with the next request."
        )
    seconds = changes.get("keep_seconds", before["keep_seconds"])
    if seconds is not None and before["kept"] and (before["keep_seconds"] is None or seconds < before["keep_seconds"]):
        said.append(f"Captures that are older than {_span(seconds)} are deleted, of {before['kept']:,} that are there.")
    if before["has_secret"] and "secret" in changes:
        then = "Anybody may send then." if not changes["secret"] else "Who sends with the one of now is refused."
        said.append(f"The secret of now is gone. {then}")
    return said


def has_binary_body(item: Item) -> bool:
    return _as_text(_body(item)) is None


def _body(item: Item) -> bytes:
    return base64.b64decode(item["body_base64"])


def _as_text(body: bytes) -> str | None:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _lines(text: str) -> str:
    # Browsers send the lines of a text field with \r\n.
    return text.replace("\r\n", "\n")


def _whole(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise ValueError("Must be a whole number.")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d{1,4}([.,]\d{1,3})?", text, re.ASCII):
        raise ValueError("Must be a number of seconds, for example 2 or 0.5.")
    return float(text.replace(",", "."))


def _age(text: str) -> int | None:
    if not text:
        return None
    span = _SPAN.fullmatch(text)
    if span is None:
        raise ValueError("Must be a time like 30m, 12h or 7d, or nothing for any age.")
    return int(span[1]) * _UNITS[span[2]]


def _span(seconds: int | None) -> str:
    """Give a time in the largest unit that it is a whole number of."""
    if seconds is None:
        return ""
    unit = next(name for name, length in reversed(_UNITS.items()) if seconds % length == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def _headers(text: str) -> list[list[str]]:
    lines = [line for line in _lines(text).split("\n") if line.strip()]
    if not all(":" in line for line in lines):
        raise ValueError("Must be one header a line, as Name: value.")
    return [[part.strip() for part in line.split(":", 1)] for line in lines]


_READERS: Mapping[str, Callable[[str], Any]] = {
    "status": _whole,
    "headers": _headers,
    "delay_seconds": _seconds,
    "fail_every": _whole,
    "fail_status": _whole,
    "keep_count": _whole,
    "keep_seconds": _age,
}
