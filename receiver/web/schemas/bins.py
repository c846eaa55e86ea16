"""The shapes of bins and their captures."""

import base64
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from receiver.web.schemas.fields import (
    Amount,
    Matches,
    Whole,
    amount,
    header_lines,
    identifier,
    moment,
    number,
    says,
    text,
)
from receiver.web.schemas.shape import Asked, Shape

BIN_NAME = "^[a-z0-9][a-z0-9-]{0,59}$"
BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
MAX_BODY_TEXT = 256 * 1024
MAX_BODY_BASE64 = 4 * 349_526  # a mebibyte


def _whole(description: str, least: int, most: int, example: int | None = None, **more: Any) -> Whole:
    return Whole(metadata=says(description, example), validate=validate.Range(least, most), **more)


def _name() -> fields.String:
    takes = "A name is up to 60 small letters, digits and dashes, and begins with a letter or a digit."
    return fields.String(
        validate=Matches(BIN_NAME, error=takes),
        metadata=says("Its name; without one it gets a name of its own.", "orders"),
    )


class NameAsked(Asked):
    name = _name()


class BinSetupAsked(Asked):
    ALSO: ClassVar = {"not": {"required": ["body", "body_base64"]}}

    status = _whole("The status of the answer.", 200, 599, 201)
    headers = fields.List(
        fields.List(fields.String(), validate=validate.Length(equal=2)),
        validate=validate.Length(max=100),
        metadata=says("The headers of the answer.", [["Content-Type", "text/plain"]]),
    )
    body = fields.String(
        validate=validate.Length(max=MAX_BODY_TEXT), metadata=says("The body of the answer, as text.", "thank you")
    )
    body_base64 = fields.String(
        validate=[Matches(BASE64, error="Not base64."), validate.Length(max=MAX_BODY_BASE64)],
        metadata=says("The body of the answer, as any bytes; instead of `body`."),
    )
    delay_seconds = Amount(
        validate=validate.Range(0, 30), metadata=says("How long the answer waits, up to 30 seconds.")
    )
    fail_every = _whole("Every n-th answer fails; 0 is none.", 0, 1_000_000)
    fail_status = _whole("The status of an answer that fails.", 200, 599)
    keep_count = _whole("How many captures are kept.", 1, 10_000)
    keep_seconds = _whole("For how long captures are kept; null for any time.", 1, 315_360_000, allow_none=True)
    secret = fields.String(
        allow_none=True,
        validate=[Matches("^[!-~]*$", error="Holds what cannot be typed."), validate.Length(max=200)],
        metadata=says("What who sends has to know; null or empty for nothing. It cannot be read again."),
    )

    @validates_schema
    def _has_one_body(self, asked: dict[str, Any], **_more: Any) -> None:
        if "body" in asked and "body_base64" in asked:
            raise ValidationError("Give `body` or `body_base64`, not both.", "body_base64")

    @post_load
    def _take_body(self, asked: dict[str, Any], **_more: Any) -> dict[str, Any]:
        """Make bytes of the body, whichever way it was given."""
        if "body" in asked:
            asked["body"] = asked["body"].encode()
        if "body_base64" in asked:
            asked["body"] = base64.b64decode(asked.pop("body_base64"))
        return asked


class BinAsked(BinSetupAsked, NameAsked):
    """How a new bin is to be: its name first, since bases come before what inherits them."""


class BinChangesAsked(BinSetupAsked):
    ALSO: ClassVar = {**BinSetupAsked.ALSO, "minProperties": 1}

    @validates_schema
    def _changes_something(self, asked: dict[str, Any], **_more: Any) -> None:
        if not asked:
            raise ValidationError("Say what to change.", "json")


class Bin(Shape):
    class Meta:
        description = "An address that records any request, and the answer that it gives."

    name = text("Its name.", "orders")
    path = text("Where it records: this path and everything below it.", "/b/orders")
    created_at = moment("When it was made.")
    captured_at = moment("When the newest capture came.", allow_none=True)
    captured = number("How many requests it has recorded.", 12)
    kept = number("How many captures of them are kept now.", 12)
    status = number("The status of the answer.", 200, least=100)
    headers = header_lines("The headers of the answer.")
    body_base64 = text("The body of the answer, in base64.", "eyJzdGF0dXMiOiJjYXB0dXJlZCJ9Cg==")
    delay_seconds = amount("How long the answer waits.", 0.0)
    fail_every = number("Every n-th answer fails; 0 is none.", 0)
    fail_status = number("The status of an answer that fails.", 500, least=100)
    keep_count = number("How many captures are kept.", 500, least=1)
    keep_seconds = number("For how long captures are kept; null for any time.", least=1, allow_none=True)
    has_secret = fields.Boolean(metadata=says("Whether who sends has to know a secret.", False))


class Cleared(Shape):
    class Meta:
        description = "What was deleted."

    bin = text("The bin.", "orders")
    captures = number("How many captures were deleted.", 12)


class CaptureLine(Shape):
    class Meta:
        description = "A request that a bin recorded."

    id = identifier("the capture")
    bin = text("Its bin.", "orders")
    captured_at = moment("When it came.")
    method = text("Its method.", "PUT")
    path = text("What stood below the bin's address, as it was sent.", "/2026/may")
    query = text("What followed the question mark, as it was sent.", "page=2")
    client = text("The address that it came from.", "192.0.2.7")
    answered = number("The status that it was answered.", 200, least=100)
    body_bytes = number("How long its body is, or the beginning of it that is kept.", 312)
    is_cut = fields.Boolean(metadata=says("Whether only the beginning of the body is kept.", False))
    announced_bytes = number("How long a body that is cut was to be, if known.", 1_300_000, allow_none=True)
    number = number("Its place among all that the bin ever recorded.", 12, least=1)


class File(Shape):
    class Meta:
        description = "A file in a form."

    name = text("The name of its field.", "upload")
    filename = text("Its own name.", "report.pdf")
    content_type = text("What it says that it is.", "application/pdf")
    bytes = number("How long it is.", 20_480)


def _pairs(description: str, example: list[list[str]]) -> Any:
    return fields.List(
        fields.List(fields.String(), validate=validate.Length(equal=2)), metadata=says(description, example)
    )


class Capture(CaptureLine):
    class Meta:
        description = "A request that a bin recorded, whole."

    query_fields = _pairs("The query as names and values.", [["page", "2"]])
    headers = header_lines()
    body_base64 = text("The bytes as they came, in base64; `/body` gives them as they are.", "aGVsbG8=")
    form = _pairs("The fields of a form.", [["color", "red"]])
    files = fields.List(fields.Nested(File), metadata=says("The files of a form."))
