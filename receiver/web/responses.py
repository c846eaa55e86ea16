"""How an answer looks: JSON for everything, errors too."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
from flask import Flask, Response, render_template, request
from werkzeug.exceptions import BadRequest, HTTPException, NotFound, ServiceUnavailable
from werkzeug.http import HTTP_STATUS_CODES

from receiver.errors import NotFoundError, PatternError, StoreError
from receiver.observe.logs import log

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

RETRY_AFTER_SECONDS = 10
FOR_PROGRAMS = ("/hooks/", "/b/", "/api/", "/healthz", "/readyz", "/metrics")


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
        start_response(f"{self.status} {HTTP_STATUS_CODES[self.status]}", self._headers(body))
        return [body]

    def written(self, date: str, *, stays_open: bool = True) -> bytes:
        """Give the whole HTTP/1.1 answer, for a connection that stays open or not; `date` is for its Date header."""
        body = self._body()
        top = f"HTTP/1.1 {self.status} {HTTP_STATUS_CODES[self.status]}\r\nDate: {date}\r\n"
        lines = "".join(f"{name}: {value}\r\n" for name, value in self._headers(body))
        connection = "keep-alive" if stays_open else "close"
        return f"{top}{lines}Connection: {connection}\r\n\r\n".encode("latin-1") + body

    def _headers(self, body: bytes) -> list[tuple[str, str]]:
        return [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *self.headers.items()]

    def _body(self) -> bytes:
        return msgspec.json.encode(self.said) + b"\n"


@lru_cache(maxsize=2)
def http_date(second: int) -> str:
    return formatdate(second, usegmt=True)


def explain(error: HTTPException) -> Response:
    """Give an error (404, 405, 413, …) with the headers that belong to it: as a page to who reads pages, else JSON."""
    headers = {
        name: value for name, value in error.get_headers() if name.lower() not in ("content-type", "content-length")
    }
    lost = error.code == 404 and error.description == NotFound.description
    detail = _nothing_here() if lost else error.description
    if error.code == 405 and request.path.startswith("/hooks/"):
        detail = (
            "Providers post their deliveries here, and there is nothing to look at: what came is on the inbox page."
        )
    if _wants_page():
        page = render_template("error.html", code=error.code or 500, name=error.name, detail=detail)
        return Response(page, error.code or 500, headers)
    said = {"status": "error", "detail": detail or error.name}
    return Answer(error.code or 500, said, headers).response()


def _nothing_here() -> str:
    if request.path.startswith("/api/"):
        return "Nothing is here. /api/docs lists every address of the API."
    return "Nothing is here. Providers post to /hooks/box and /hooks/filestack."


def _wants_page() -> bool:
    # Who names HTML is a browser; who takes anything is a program.
    return "text/html" in request.headers.get("Accept", "") and not request.path.startswith(FOR_PROGRAMS)


def register(app: Flask) -> None:
    app.register_error_handler(HTTPException, explain)
    app.register_error_handler(NotFoundError, lambda error: explain(NotFound(str(error))))
    app.register_error_handler(PatternError, lambda error: explain(BadRequest(str(error))))
    app.register_error_handler(StoreError, _explain_trouble)


def _explain_trouble(error: StoreError) -> Response:
    log.error("unanswered", endpoint=request.endpoint, error=str(error))
    detail = "The database could not do it now. Try again in a moment; if it stays like that, the log says why."
    return explain(ServiceUnavailable(detail, retry_after=RETRY_AFTER_SECONDS))
