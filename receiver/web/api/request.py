"""How requests to the API are read: strictly, so that what is misspelt is refused with a sentence about it."""

from typing import Any, NoReturn

import flask
import marshmallow
import msgspec
from flask import Response, abort, current_app, request
from webargs.flaskparser import FlaskParser

from receiver.errors import NotFoundError, UnreadableError
from receiver.sources import wire
from receiver.web.responses import Answer

SEE_ERRORS = "Nothing was done: `errors` says what is wrong with what was asked."
UNREADABLE = "The body cannot be read: `errors` says why."
Errors = dict[str, list[str]]


def refuse(status: int, detail: str, errors: Errors | None = None) -> NoReturn:
    """End the request with an error in the form that every error of ours has."""
    abort(refusal(status, detail, errors))


def refusal(status: int, detail: str, errors: Errors | None = None) -> Response:
    said: dict[str, Any] = {"status": "error", "detail": detail}
    return Answer(status, said | ({"errors": errors} if errors else {})).response()


class Parser(FlaskParser):
    """Reads queries and JSON bodies into what a schema describes; unknown names are refused."""

    DEFAULT_UNKNOWN_BY_LOCATION = FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION | {"query": marshmallow.RAISE}

    def load_querystring(self, req: flask.Request, schema: marshmallow.Schema) -> Any:
        """Give the parameters of the query, each of which may come once."""
        twice = [name for name, values in req.args.lists() if len(values) > 1]
        if twice:
            refuse(422, SEE_ERRORS, {shown(name): ["Given more than once."] for name in twice})
        return req.args.to_dict()

    def load_json(self, req: flask.Request, schema: marshmallow.Schema) -> Any:
        """Give the JSON object of the body; nothing at all is an empty one."""
        body = req.get_data()
        if not body:
            return {}
        if not req.is_json:
            refuse(415, "The body has to be JSON: send Content-Type: application/json.")
        try:
            asked = wire.read_object(body)
            msgspec.json.encode(asked)
        except UnreadableError as error:
            refuse(400, UNREADABLE, error.errors)
        except UnicodeEncodeError:
            # JSON can write half of a character (\ud800), and nothing can keep it or say it again.
            refuse(400, UNREADABLE, {"body": ["Holds half of a character."]})
        return asked

    def handle_error(
        self, error: marshmallow.ValidationError, req: flask.Request, schema: marshmallow.Schema, **_more: Any
    ) -> NoReturn:
        by_place = error.normalized_messages()  # type: ignore[no-untyped-call]
        refuse(422, SEE_ERRORS, {name: said for found in by_place.values() for name, said in _flat(found)})


def _flat(found: Any, path: str = "") -> list[tuple[str, list[str]]]:
    """Give what marshmallow says of nested fields as one list for each: `headers.0.1`."""
    if isinstance(found, dict):
        return [pair for name, inner in found.items() for pair in _flat(inner, f"{path}.{name}" if path else str(name))]
    return [(shown(path), [str(one) for one in (found if isinstance(found, list) else [found])])]


def shown(name: str) -> str:
    """Give a name from outside as text that every reader of JSON takes, and not all of a very long one."""
    return name.encode("utf-8", "backslashreplace").decode()[:200]


def refuse_unknown_parameters() -> None:
    """Refuse a query where none is described."""
    if not request.args or not request.endpoint:
        return
    described = getattr(current_app.view_functions[request.endpoint], "_apidoc", {}).get("arguments", {})
    if not any(one["in"] == "query" for one in described.get("parameters", ())):
        refuse(422, SEE_ERRORS, {shown(name): ["Unknown field."] for name in request.args})


def whole_id(given: str, what: str) -> str:
    """Give an id in the spelling that is kept, or `last`; a part of one is for people, on the command line."""
    if given == "last" or (given.isascii() and given.isalnum() and len(given) == 26):
        return given
    raise NotFoundError(f"{shown(given)!r} is no id: give all 26 characters, or `last` for the newest {what}")
