"""Times as people say them: `3 min ago`, `in 25 s`, `2nd`."""

from datetime import UTC, datetime, timedelta

_UNITS = (
    (timedelta(seconds=1), timedelta(milliseconds=1), "ms"),
    (timedelta(seconds=100), timedelta(seconds=1), "s"),
    (timedelta(minutes=100), timedelta(minutes=1), "min"),
    (timedelta(hours=48), timedelta(hours=1), "h"),
)


def span(length: timedelta) -> str:
    """Say how long something is, in its largest unit that leaves two digits or so; the sign is left out."""
    length = abs(length)
    for limit, unit, name in _UNITS:
        if length < limit:
            return f"{length // unit} {name}"
    return f"{length.days} days"


def ago(at: datetime, now: datetime) -> str:
    return "just now" if abs(now - at) < timedelta(seconds=1) else f"{span(now - at)} {'ago' if at < now else 'ahead'}"


def ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def parse(moment: str) -> datetime:
    """Read a time as the listings write it."""
    return datetime.fromisoformat(moment)


def full(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%H:%M:%S}"
