"""Where bins record: any method, any path below /b/NAME, any body up to the limit, answered as the bin is set up."""

import re
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from threading import BoundedSemaphore
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

from flask import Blueprint, Response, current_app, request
from flask.blueprints import BlueprintSetupState
from werkzeug.datastructures import Headers as AnswerHeaders
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from receiver import bins, service
from receiver.errors import BinError, NotFoundError, StoreError
from receiver.events import Headers
from receiver.web import turned_away
from receiver.web.hooks import BodyError, _read_body, header_lines
from receiver.web.responses import RETRY_AFTER_SECONDS, Answer, explain

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

ASKED_HEADER = "X-Bin-Secret"
ASKED_FIELD = b"secret"
HIDDEN = "[hidden]"
MOST_WAITING = 100

_SHOWS = "".join(map(chr, range(0x21, 0x7F)))
_ORIGIN = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]*://[^/]*")  # a request for a proxy names it
_waiting = BoundedSemaphore(MOST_WAITING)

capture = Blueprint("capture", __name__)


class Everything(BaseConverter):
    """All of the rest of a path, also what is empty, doubled or broken over lines."""

    regex = r"(?s:.*)"
    part_isolating = False


@capture.record
def _connect(state: BlueprintSetupState) -> None:
    # Not by `route`: Flask's rules have a list of methods, and a bin takes words that are on none.
    app = state.app
    app.url_map.converters["everything"] = Everything
    app.url_map.add(app.url_rule_class("/b/<everything:target>", endpoint="capture.record", merge_slashes=False))
    app.view_functions["capture.record"] = record


class Exactly(Response):
    """An answer whose headers go out as they are: werkzeug would complete and correct them."""

    def get_wsgi_headers(self, environ: "WSGIEnvironment") -> AnswerHeaders:
        headers = AnswerHeaders(self.headers)
        if self.status_code not in (204, 304):
            headers["Content-Length"] = str(len(self.get_data()))
        return headers


def record(target: str) -> Response:
    """Keep the request, and when it is on the disk answer as the bin is set up."""
    response = _response(target.partition("/")[0], request.environ)
    # The bin lives where the pages do. What it answers must not run there as if it were one of them.
    response.headers.add("Content-Security-Policy", "sandbox")
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _response(name: str, environ: "WSGIEnvironment") -> Response:
    try:
        reply = _record(name, environ)
    except HTTPException as error:
        return explain(error)
    except NotFoundError as error:
        return Answer(404, {"status": "error", "detail": str(error)}).response()
    except BinError as error:
        return _unavailable(str(error))
    except StoreError:
        return _unavailable("This request could not be recorded. Please send it again.")
    if reply is None:
        said = f"This bin asks for its secret: as the header {ASKED_HEADER} or as ?secret=."
        return Answer(401, {"status": "rejected", "detail": said}).response()
    _wait(reply.delay)
    response = Exactly(reply.body, reply.status)
    response.headers.clear()
    response.headers.extend(reply.headers)
    return response


def _unavailable(detail: str) -> Response:
    said = {"status": "unavailable", "detail": detail}
    return Answer(503, said, {"Retry-After": str(RETRY_AFTER_SECONDS)}).response()


def _record(name: str, environ: "WSGIEnvironment") -> bins.BinResponse | None:
    """Keep a request that may be kept; None where it lacks the secret. Of a body that is not taken, the beginning."""
    may_make = current_app.config["AUTO_BINS"]
    secret = _secret(name, may_make=may_make)
    if secret and not secret.is_among(_given(environ)):
        return None
    try:
        body, refused = _read_body(environ, limit=current_app.config["MAX_BODY_BYTES"]), None
    except BodyError as error:
        body, refused = error.beginning or turned_away.read_beginning(environ), error
    query = environ.get("QUERY_STRING", "")
    came = bins.Request(
        method=_ascii(environ["REQUEST_METHOD"])[:40],
        path=_path_below(f"/b/{name}", environ),
        query=_ascii(_hidden(query) if secret else query),
        client=_client(environ),
        headers=Headers(_with_no_keys_of_ours(header_lines(environ))),
        body=body,
        is_cut=refused is not None,
        announced=turned_away.announced_bytes(environ) if refused else None,
        refused_with=refused.code if refused else None,
    )
    reply = service.current().part(bins.Recorder).record(name, came, now=datetime.now(UTC), may_make=may_make)
    if refused:
        raise refused
    return reply


def _secret(name: str, *, may_make: bool) -> bins.Secret | None:
    try:
        return bins.secret_of(service.current().engine, name)
    except NotFoundError:
        if may_make:
            return None
        raise


def _given(environ: "WSGIEnvironment") -> Sequence[bytes]:
    header = environ.get(f"HTTP_{ASKED_HEADER.upper().replace('-', '_')}", "")
    fields = (part.partition("=") for part in environ.get("QUERY_STRING", "").split("&"))
    return [
        header.encode("latin-1", "replace"),
        *(unquote_to_bytes(value) for name, _, value in fields if unquote_to_bytes(name) == ASKED_FIELD),
    ]


def _hidden(query: str) -> str:
    """Give a query without the secret that stands in it."""
    parts = [
        f"{name}={HIDDEN}" if unquote_to_bytes(name) == ASKED_FIELD else f"{name}{equals}{value}"
        for name, equals, value in (part.partition("=") for part in query.split("&"))
    ]
    return "&".join(parts)


def _with_no_keys_of_ours(headers: Headers) -> Iterator[tuple[str, str]]:
    """Leave out what opens the bin, and the cookie that opens the pages, which a browser sends along."""
    own_cookie = re.compile(rf"(?<![^; ]){re.escape(current_app.config['SESSION_COOKIE_NAME'])}=[^;]*")
    for name, value in headers.pairs:
        if name.lower() == ASKED_HEADER.lower():
            yield name, HIDDEN
        elif name.lower() == "cookie":
            yield name, own_cookie.sub(HIDDEN, value)
        else:
            yield name, value


def _path_below(start: str, environ: "WSGIEnvironment") -> str:
    """Give what follows the bin's address, as it was written: servers give the path decoded, and most give both."""
    raw = _ORIGIN.sub("", str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or "").partition("?")[0])
    decoded: bytes = environ["PATH_INFO"].encode("latin-1", "replace")
    if raw.startswith(start) and unquote_to_bytes(raw) == decoded:
        return _ascii(raw[len(start) :])
    return quote(decoded[len(start) :], safe="/:@!$&'()*+,;=~")


def _ascii(text: str) -> str:
    """Write what is not printable ASCII, which no server should have let through, as addresses do."""
    return quote(text.encode("latin-1", "replace"), safe=_SHOWS)


def _client(environ: "WSGIEnvironment") -> str:
    # Behind a platform's router, the last entry is the one that the router itself wrote.
    forwarded = environ.get("HTTP_X_FORWARDED_FOR", "") if current_app.config["ENV"] == "production" else ""
    return _ascii(forwarded.split(",")[-1].strip() or environ.get("REMOTE_ADDR") or "")[:60]


def _wait(delay: timedelta) -> None:
    """Wait before the answer; where too many do already, this one goes out at once: deliveries have to get through."""
    if delay and _waiting.acquire(blocking=False):
        try:
            time.sleep(delay.total_seconds())
        finally:
            _waiting.release()
