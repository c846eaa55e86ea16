"""How the API answers: JSON with an ETag, or the bytes of a body exactly as they came."""

import json
from typing import Any

import msgspec
from flask import Response, request

# Kept by who asked, and asked about again each time: an ETag that still holds costs 304 and no body.
CACHE_CONTROL = "private, no-cache"


def give(said: Any, status: int = 200) -> Response:
    """Answer in JSON."""
    return _with_etag(Response(encode(said), status, mimetype="application/json"))


def give_bytes(body: bytes, name: str) -> Response:
    """Answer with bytes that came over the wire: nothing that a browser would show or run."""
    response = Response(body, mimetype="application/octet-stream")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return _with_etag(response)


def encode(said: Any) -> bytes:
    """Write JSON; a payload may hold what only the slow writer takes: half of a character, a number of 100 digits."""
    try:
        return msgspec.json.encode(said) + b"\n"
    except (UnicodeEncodeError, OverflowError):
        return json.dumps(said).encode("ascii") + b"\n"


def _with_etag(response: Response) -> Response:
    if request.method in ("GET", "HEAD"):
        response.headers["Cache-Control"] = CACHE_CONTROL
        response.add_etag()
        response.make_conditional(request)
    return response
