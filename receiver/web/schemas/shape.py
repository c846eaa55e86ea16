"""What all shapes have in common: pages of listings, errors, what is refused."""

from typing import Any, ClassVar

from marshmallow import RAISE, Schema, fields, validate

from receiver.observe.queries import LIMIT
from receiver.web.schemas.fields import Matches, Whole, moment, says, text

MAX_LIMIT = 200


class Shape(Schema):
    """What Signalbox gives: every field is always there, unless its metadata says `sometimes`."""

    def on_bind_field(self, field_name: str, field_obj: Any) -> None:
        field_obj.required = not field_obj.metadata.get("sometimes", False)


class Asked(Schema):
    """What Signalbox takes: what it does not know is refused, so that a misspelt filter cannot show everything."""

    ALSO: ClassVar[dict[str, Any]] = {}  # what of its JSON schema marshmallow has no word for

    class Meta:
        unknown = RAISE


class Refusal(Shape):
    """Every error of the API."""

    class Meta:
        description = "Why nothing was done."

    status = text("Always `error`.", "error", validate=validate.Equal("error"))
    detail = text("What is wrong and what mends it, as a sentence.", "Nothing was done: see `errors`.")
    errors = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        metadata=says(
            "What is wrong with each field or parameter, where that is it.", {"limit": ["…"]}, sometimes=True
        ),
    )


class PageAsked(Asked):
    """What every listing takes."""

    limit = Whole(
        in_text=True,
        load_default=LIMIT,
        validate=validate.Range(1, MAX_LIMIT),
        metadata=says("At most so many items.", 20),
    )
    cursor = fields.String(
        validate=Matches("^[0-9]{1,18}$", error="No listing gave this cursor: take it from `next` of the page before."),
        metadata=says("`next` of the page before, to go on after it."),
    )


class Page(Shape):
    next = text("The cursor of the next page; null where this is the last.", "42", allow_none=True)


class Searched(Page):
    searched_to = moment(
        "Where a search for text ended after its two seconds, if it did: what came before then was not looked at.",
        sometimes=True,
        allow_none=True,
    )


def page_of(item: type[Schema], base: type[Schema] = Page) -> type[Schema]:
    """Give the shape of a listing's page: items, newest first, and the cursor of the next."""
    many = fields.List(fields.Nested(item), metadata=says("The items, newest first."))
    meta = type("Meta", (), {"description": "A page of a listing.", "fields": ("items", *base._declared_fields)})
    return type(f"{item.__name__.removesuffix('Line')}Page", (base,), {"items": many, "Meta": meta})
