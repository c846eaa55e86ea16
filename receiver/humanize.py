"""Times, sizes and foreign text as people read them: `3 min ago`, `in 25 s`, `2nd`, `2.4 kB`."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import overload

_UNITS = (
    (timedelta(seconds=1), timedelta(milliseconds=1), "ms"),
    (timedelta(minutes=2), timedelta(seconds=1), "s"),
    (timedelta(hours=2), timedelta(minutes=1), "min"),
    (timedelta(hours=48), timedelta(hours=1), "h"),
)

_BEFORE_NOW = re.compile(r"(\d{1,6})([smhdw])", re.ASCII)
_LENGTHS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def span(length: timedelta) -> str:
    """Return a length of time in the largest unit of which it has at least two; the sign is left out.

    So the text never falls while the time grows: after `119 s` comes `2 min`.
    """
    length = abs(length)
    for limit, unit, name in _UNITS:
        if length < limit:
            return f"{length // unit} {name}"
    return f"{length.days} days"


def ago(at: datetime, now: datetime) -> str:
    if abs(now - at) < timedelta(seconds=1):
        return "just now"
    return f"{span(now - at)} ago" if at < now else f"in {span(now - at)}"


def age(at: datetime, now: datetime) -> str:
    """Return how old something is, for a column of ages; a time from another clock may lie in the future."""
    return f"in {span(at - now)}" if at - now >= timedelta(seconds=1) else span(max(now - at, timedelta()))


def lasting(since: datetime, now: datetime) -> str:
    """Return for how long something has been going on, or that it began by a clock that differs from this one."""
    if since - now >= timedelta(seconds=1):
        return f"begun {span(since - now)} ahead of this clock (signalbox doctor compares them)"
    return f"for {span(max(now - since, timedelta()))}"


def took(began: datetime, ended: datetime) -> str:
    """Return how long something took; that is unknown if the clock was set back meanwhile."""
    return span(ended - began) if ended >= began else "an unknown time, as the clock was set back"


def ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


@overload
def iso(at: datetime) -> str: ...
@overload
def iso(at: datetime | None) -> str | None: ...
def iso(at: datetime | None) -> str | None:
    """Return a UTC time in ISO 8601, with a Z, and fractions of a second if there are any; None for None."""
    return at.isoformat().replace("+00:00", "Z") if at else None


def parse(moment: str) -> datetime:
    """Parse a time as `iso` writes it."""
    return datetime.fromisoformat(moment)


def read_time(text: str, now: datetime) -> datetime:
    """Parse a time as people write it: `2026-05-04T12:00`, in UTC by default, or `10m`, `2h`, `3d` ago.

    ValueError or OverflowError for anything else.
    """
    if found := _BEFORE_NOW.fullmatch(text):
        return now - timedelta(**{_LENGTHS[found[2]]: int(found[1])})
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def full(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%H:%M:%S}"


def size(count: int) -> str:
    """Return a number of bytes as text: `512 bytes`, `2.4 kB`, `13 MB`."""
    if count < 1000:
        return "1 byte" if count == 1 else f"{count} bytes"
    amount, unit = count / 1000, "kB"
    if amount >= 999.5:
        amount, unit = amount / 1000, "MB"
    return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:.0f} {unit}"


def plain(text: object, *, most: int = 300) -> str:
    """Return foreign text as one line, cut to a length, without anything that a terminal acts on."""
    beginning = str(text or "")[: most + 1]
    line = "".join(c if c.isprintable() else " " for c in beginning).strip()
    return line if len(line) <= most else f"{line[: most - 1]}…"


def hex_lines(data: bytes) -> Iterator[str]:
    """Yield sixteen bytes a line: where they are, what they are, and what of it is ASCII."""
    for start in range(0, len(data), 16):
        row = data[start : start + 16]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{start:08x}  {row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}  |{letters}|"
