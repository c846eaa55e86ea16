"""JSON schemas in the words of the documentation: `whole number, 1 to 200; 50 if not given`."""

import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup, escape

Schema = Mapping[str, Any]

_WORDS = {"integer": "whole number", "boolean": "true or false", "string": "text"}
_FORMATS = {"date-time": "time", "binary": "bytes"}


def coded(text: str) -> Markup:
    """Give text with what stands in backticks as code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    )


def written(example: Any) -> str:
    return json.dumps(example, indent=2, ensure_ascii=False)


def kind_of(schema: Schema) -> str:
    """Say in words what a schema takes; the name of a shape is said beside it."""
    if "$ref" in schema:
        return "object"
    if "anyOf" in schema and "type" not in schema:
        return " or ".join(kind_of(one) for one in schema["anyOf"])
    kinds = schema.get("type", "object")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return " or ".join(_kind(one, schema) for one in kinds)


def _kind(kind: str, schema: Schema) -> str:
    if kind == "array":
        items = schema["items"]
        if items.get("type") == "array" and items.get("maxItems") == 2:
            return "list of pairs"
        return f"list of {_plural(kind_of(items))}"
    if kind == "object" and schema.get("additionalProperties"):
        return f"object of {_plural(kind_of(schema['additionalProperties']))}"
    return _FORMATS.get(schema.get("format", ""), _WORDS.get(kind, kind)) if kind != "null" else "null"


def _plural(kind: str) -> str:
    return kind if kind.startswith(("list", "true", "text")) else kind.replace(" or ", "s or ") + "s"


def limits_of(schema: Schema) -> str:
    """Say between what a number or a text has to be, and what stands for it where it is not given."""
    said = []
    if "minimum" in schema and "maximum" in schema:
        said.append(f"{int(schema['minimum']):,} to {int(schema['maximum']):,}")
    elif "maxLength" in schema:
        said.append(f"up to {schema['maxLength']:,} characters")
    if "default" in schema:
        said.append(f"{schema['default']} if not given")
    return "; ".join(said)


def name_in(schema: Schema) -> str | None:
    """Give the name of the shape that a schema is, or that its items or alternatives are."""
    for one in (schema, schema.get("items", {}), schema.get("additionalProperties") or {}, *schema.get("anyOf", ())):
        if isinstance(one, Mapping) and "$ref" in one:
            return str(one["$ref"].rpartition("/")[2])
    return None
