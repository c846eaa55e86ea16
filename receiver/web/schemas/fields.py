"""The kinds of fields that the API's shapes are made of, each with its words for the documentation."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from marshmallow import ValidationError, fields, validate

from receiver.sources import SOURCES

WHOLE_ID = "^[0-9A-Za-z]{26}$"

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 1, 1, tzinfo=UTC)

_SPAN = re.compile(r"([0-9]{1,6})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d):(\d\d)((?:\.\d+)?(?:Z|[+-]\d\d:\d\d))", re.ASCII | re.IGNORECASE)


class Matches(validate.Regexp):
    """The whole text matches: `$` alone would let a line's end follow."""

    def __call__(self, value: Any) -> Any:
        if self.regex.fullmatch(value) is None:
            raise ValidationError(self._format_error(value))
        return value


class Whole(fields.Integer):
    """A whole number, written with digits only; in JSON it is a number and no text."""

    _DIGITS = re.compile(r"-?(0|[1-9][0-9]{0,18})", re.ASCII)

    def __init__(self, *, in_text: bool = False, **more: Any) -> None:
        super().__init__(**more)
        self.in_text = in_text

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> int:
        is_written = isinstance(value, str) and self._DIGITS.fullmatch(value) is not None
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
        if not (is_written if self.in_text else is_number):
            raise self.make_error("invalid")
        return int(value)


class Amount(fields.Float):
    """A number, and no text of one."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return float(value)


class Flag(fields.Boolean):
    """true or false, and false where it is not given: neither 1 nor "true" stands for it."""

    def __init__(self, description: str) -> None:
        super().__init__(load_default=False, metadata=says(description, True))

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Since(fields.String):
    """A time or a day (UTC), or a span before now: `10m`, `2h`, `3d`."""

    FORMS = ({"format": "date-time"}, {"format": "date"}, {"pattern": f"^{_SPAN.pattern}$"})

    def __init__(self, description: str, example: str | None = None) -> None:
        super().__init__(metadata=says(description, example, anyOf=list(self.FORMS)))

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> Any:
        try:
            return _moment(super()._deserialize(value, attr, data, **more), datetime.now(UTC))
        except ValueError:
            problem = "No time: write 10m, 2h or 3d for so long ago, or 2026-05-04T12:00:00Z, or 2026-05-04."
            raise ValidationError(problem) from None


def _moment(text: str, now: datetime) -> datetime:
    """Read a time, a day or a span; what lies beyond the years that anything can be kept in is put at their ends."""
    try:
        if span := _SPAN.fullmatch(text):
            return max(EARLIEST, now - timedelta(**{_UNITS[span[2]]: int(span[1])}))
        if _DATE.fullmatch(text):
            return _within(datetime.fromisoformat(text).replace(tzinfo=UTC))
        if written := _MOMENT.fullmatch(text):
            return _within(_exact(*written.groups()))
    except OverflowError:
        return LATEST if text.startswith("9999-") else EARLIEST
    raise ValueError(text)


def _within(at: datetime) -> datetime:
    return min(max(at, EARLIEST), LATEST)


def _exact(minute: str, second: str, rest: str) -> datetime:
    # A leap second, 60, is the first moment of the next minute.
    leap = second == "60"
    at = datetime.fromisoformat(f"{minute}:{'59' if leap else second}{rest}".upper())
    return (at + timedelta(seconds=leap)).astimezone(UTC)


def says(description: str, example: Any = None, **more: Any) -> dict[str, Any]:
    """Give the words of the documentation for one field."""
    return {"description": description, **more} | ({} if example is None else {"examples": [example]})


def text(description: str, example: Any = None, **more: Any) -> fields.String:
    return fields.String(metadata=says(description, example), **more)


def moment(
    description: str, example: str = "2026-05-04T12:00:00Z", *, sometimes: bool = False, **more: Any
) -> fields.DateTime:
    return fields.DateTime(format="iso", metadata=says(description, example, sometimes=sometimes), **more)


def number(description: str, example: Any = None, *, least: int = 0, most: int | None = None, **more: Any) -> Whole:
    return Whole(metadata=says(description, example), validate=validate.Range(min=least, max=most), **more)


def amount(description: str, example: Any = None, *, most: float | None = None, **more: Any) -> Amount:
    return Amount(metadata=says(description, example), validate=validate.Range(min=0, max=most), **more)


def counts(description: str, example: dict[str, int]) -> fields.Dict:
    return fields.Dict(keys=fields.String(), values=number("How many."), metadata=says(description, example))


def header_lines(description: str = "The header lines as they came, in their order; credentials are masked.") -> Any:
    line = fields.List(fields.String(), validate=validate.Length(equal=2))
    return fields.List(line, metadata=says(description, [["Content-Type", "application/json"]]))


def identifier(what: str, example: str = "01KQT0R5V0ZX3M8N6B1C9D7F2G") -> fields.String:
    return text(f"The id of {what}: 26 letters and digits, in the order of time.", example)


def source_name() -> fields.String:
    return text("Who sent it.", "box")


def verified_by() -> fields.String:
    return text("The slot of the key that verified it; never the key.", "primary")


def body_base64() -> fields.String:
    return text(
        "The bytes as they came, in base64; `/body` gives them as they are.", "eyJ0eXBlIjoid2ViaG9va19ldmVudCJ9"
    )


def type_pattern(description: str) -> fields.String:
    error = f"No pattern of {' or '.join(SOURCES)}: write box:FILE.UPLOADED, box:FILE.*, box:* or *."
    takes = Matches(rf"^(\*|({'|'.join(SOURCES)}):[\s\S]+)$", error=error)
    return fields.String(validate=[takes, validate.Length(max=250)], metadata=says(description, "box:FILE.*"))
