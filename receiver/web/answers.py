"""How an answer looks: JSON for everything, errors too."""

import json
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response
from werkzeug.exceptions import HTTPException


def answer(status: int, headers: Mapping[str, str] | None = None, /, **fields: Any) -> Response:
    return Response(json.dumps(fields) + "\n", status, headers, mimetype="application/json")


def explain(error: HTTPException) -> Response:
    """Give an error of the framework (404, 405, 413, …) in our form, with the headers that belong to it."""
    response = answer(error.code or 500, status="error", detail=error.description or error.name)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def register(app: Flask) -> None:
    app.register_error_handler(HTTPException, explain)
