"""How an answer looks: JSON for everything, errors too."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from flask import Flask, Response
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.http import HTTP_STATUS_CODES

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON answer that does not know yet whether Flask or plain WSGI will give it."""

    status: int
    said: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        return Response(self._body(), self.status, self.headers, mimetype="application/json")

    def start(self, start_response: "StartResponse") -> Iterable[bytes]:
        """Give the answer to a WSGI server."""
        body = self._body()
        lines = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *self.headers.items()]
        start_response(f"{self.status} {HTTP_STATUS_CODES[self.status]}", lines)
        return [body]

    def _body(self) -> bytes:
        return msgspec.json.encode(self.said) + b"\n"


def explain(error: HTTPException) -> Response:
    """Give an error of the framework (404, 405, 413, …) in our form, with the headers that belong to it."""
    headers = {
        name: value for name, value in error.get_headers() if name.lower() not in ("content-type", "content-length")
    }
    lost = error.code == 404 and error.description == NotFound.description
    detail = "Nothing is here. Providers post to /hooks/box and /hooks/filestack." if lost else error.description
    said = {"status": "error", "detail": detail or error.name}
    return Answer(error.code or 500, said, headers).response()


def register(app: Flask) -> None:
    app.register_error_handler(HTTPException, explain)
