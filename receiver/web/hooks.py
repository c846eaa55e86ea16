"""Where providers deliver: `POST /hooks/box` and `POST /hooks/filestack`. Nothing else happens in the request."""

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Flask, Response, abort, request
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge

from receiver import service, signals
from receiver.errors import StoreError, UnreadableError
from receiver.events import Delivery, Event, Headers, Refused, Verified
from receiver.inbox import refusals
from receiver.inbox.rows import Inbox
from receiver.sources.accounts import Gate
from receiver.web import turned_away
from receiver.web.responses import RETRY_AFTER_SECONDS, Answer, http_date

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# The codings of IANA's HTTP Content Coding Registry that compress a body.
COMPRESSIONS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "dcb", "dcz", "compress", "x-compress"})
_WORDS = re.compile(r"[^\s,;=\"]+")
_SLASHES = re.compile("//+")

hooks = Blueprint("hooks", __name__)


@dataclass(frozen=True, slots=True)
class Desk:
    """Takes deliveries: what the Flask view and the short way around it have in common."""

    gates: Mapping[str, Gate]
    inbox: Inbox
    max_body_bytes: int
    is_behind_proxy: bool = False

    def serve(self, name: str, environ: "WSGIEnvironment") -> Answer:
        """Verify a delivery, read its envelope, keep it; 200 says that it is on the disk."""
        began = time.perf_counter()
        try:
            gate = self._gate(name)
            delivery = self._take(name, environ)
        except HTTPException as error:
            self.turn_away(name, environ, error)
            raise
        try:
            verdict = gate.source.verify(delivery, gate.keys, max_age=gate.max_age, max_skew=gate.max_skew)
            if isinstance(verdict, Refused):
                return self._refuse(delivery, verdict, environ, began)
            try:
                event = gate.source.parse(delivery)
            except UnreadableError as error:
                return self._quarantine(delivery, verdict, error, began)
            return self._accept(delivery, event, verdict, began)
        except StoreError as error:
            signals.delivery_unkept.send(source=name, error=error, milliseconds=_since(began))
            said = {"status": "unavailable", "detail": "This delivery could not be kept. Please send it again."}
            return Answer(503, said, {"Retry-After": str(RETRY_AFTER_SECONDS)})

    def _accept(self, delivery: Delivery, event: Event, verified: Verified, began: float) -> Answer:
        receipt = self.inbox.accept(delivery, event, verified)
        told = signals.event_duplicated if receipt.duplicate else signals.event_accepted
        told.send(
            event_id=receipt.event_id,
            source=delivery.source,
            type=event.type,
            verified_by=verified.by,
            milliseconds=_since(began),
        )
        return Answer(200, {"status": "duplicate" if receipt.duplicate else "accepted", "event": receipt.event_id})

    def _refuse(self, delivery: Delivery, refused: Refused, environ: "WSGIEnvironment", began: float) -> Answer:
        client = turned_away.client_of(environ, is_behind_proxy=self.is_behind_proxy)
        self._note(refusals.of_delivery(delivery, refused, client=client), milliseconds=_since(began))
        return Answer(401, {"status": "rejected", "reason": refused.reason.value, "detail": refused.detail})

    def turn_away(self, name: str, environ: "WSGIEnvironment", error: HTTPException) -> None:
        """Take down a request that is refused before anybody looks at its signature, with the beginning of its body."""
        began = time.perf_counter()
        environ[turned_away.NOTED] = True
        gate = self.gates.get(name)
        is_off = gate is not None and not gate.keys
        body, is_whole = self._read_of(environ, error, is_off=is_off)
        refusal = turned_away.refusal(
            environ,
            source=turned_away.NOBODY if gate is None else name,
            status=error.code or 500,
            detail=turned_away.detail_of(error),
            headers=header_lines(environ),
            client=turned_away.client_of(environ, is_behind_proxy=self.is_behind_proxy),
            body=body,
            is_whole=is_whole,
            is_off=is_off,
        )
        self._note(refusal, milliseconds=_since(began))

    def _read_of(self, environ: "WSGIEnvironment", error: HTTPException, *, is_off: bool) -> tuple[bytes, bool]:
        """Give what there is of the body, and whether that is all: what only lacks our key may be let in later."""
        if isinstance(error, BodyError):
            return error.beginning or turned_away.read_beginning(environ), False
        if is_off and not self.inbox.refusals.is_flooded:
            try:
                return _read_body(environ, limit=self.max_body_bytes), True
            except BodyError as cut:
                return cut.beginning, False
        return turned_away.read_beginning(environ), False

    def _note(self, refusal: refusals.Refusal, *, milliseconds: float) -> None:
        self.inbox.refusals.add(refusal)
        signals.delivery_rejected.send(
            rejected_id=refusal.id, source=refusal.source, reason=refusal.reason, milliseconds=milliseconds
        )

    def _quarantine(self, delivery: Delivery, verified: Verified, error: UnreadableError, began: float) -> Answer:
        quarantined_id = self.inbox.quarantine(delivery, verified, error.errors)
        signals.delivery_quarantined.send(
            quarantined_id=quarantined_id,
            source=delivery.source,
            fields=sorted(error.errors),
            milliseconds=_since(began),
        )
        return Answer(422, {"status": "quarantined", "errors": error.errors})

    def _gate(self, name: str) -> Gate:
        gate = self.gates.get(name)
        if gate is None:
            abort(404, f"There is no such source. The sources are: {', '.join(sorted(self.gates))}.")
        if not gate.keys:
            abort(404, f"{name} is off: set {' or '.join(gate.settings)} to turn it on.")
        return gate

    def _take(self, name: str, environ: "WSGIEnvironment") -> Delivery:
        """Read the whole request, byte for byte, or answer that it is too long, compressed, or not whole."""
        if COMPRESSIONS.intersection(_WORDS.findall(environ.get("HTTP_CONTENT_ENCODING", "").lower())):
            # No provider documents compressed deliveries, and the signature is over the bytes as they were signed.
            # Any other word compresses nothing: some senders write `utf-8` here, and mean the charset.
            abort(415, "This Content-Encoding is not supported: send the body as it was signed, not compressed.")
        body = _read_body(environ, limit=self.max_body_bytes)
        return Delivery(source=name, body=body, headers=header_lines(environ), received_at=datetime.now(UTC))


@hooks.post("/hooks/<name>", strict_slashes=False, provide_automatic_options=False)
def receive(name: str) -> Response:
    return service.current().part(Desk).serve(name, request.environ).response()


@hooks.after_app_request
def note_astray(response: Response) -> Response:
    """Take down what no route was found for: with its reason where it meant a source, else as one more of its kind."""
    error = request.routing_exception
    if isinstance(error, HTTPException) and turned_away.NOTED not in request.environ:
        desk = service.current().part(Desk)
        if turned_away.is_for_hooks(request.environ):
            desk.turn_away(request.path.strip("/").rpartition("/")[2], request.environ, error)
        else:
            signals.request_astray.send(status=error.code or 500)
    return response


class ShortWay:
    """Serves deliveries before Flask makes a request object, matches a route and opens a session for them.

    A delivery needs none of that, and it costs more than keeping the delivery (docs/performance.md). Whatever is not
    plainly a delivery, and every error, goes the long way, to the view above.
    """

    def __init__(self, app: Flask, desk: Desk) -> None:
        self._app = app
        self._long_way: WSGIApplication = app.wsgi_app
        self._desk = desk
        self._paths = {f"/hooks/{name}": name for name in desk.gates}
        self._answered: object = None
        self._is_ending: Callable[[], bool] = lambda: False
        self._turnstile = threading.Lock()

    def answer_past_gunicorn(self, answered: object, *, is_ending: Callable[[], bool]) -> None:
        """Write answers to the connection from now on, in one go: gunicorn's way to do so costs as much as the row.

        `answered` is what tells gunicorn that it has nothing more to do. A process that is ending answers through it,
        so that the connection is closed.
        """
        self._answered, self._is_ending = answered, is_ending

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        name = self._paths.get(environ["PATH_INFO"])
        if name is None and "//" in environ["PATH_INFO"]:
            _merge_slashes(environ)
        if name is None or environ["REQUEST_METHOD"] != "POST":
            self._let_deliveries_pass()
            return self._long_way(environ, start_response)
        try:
            answer = self._desk.serve(name, environ)
        except Exception as error:  # noqa: BLE001 - Flask knows what to make of it, and whom to tell
            with self._app.request_context(environ):
                response = self._explain(error)
            return response(environ, start_response)
        if self._answered is None or not _stays_open(environ) or self._is_ending():
            return answer.start(start_response)
        environ["gunicorn.socket"].sendall(answer.written(http_date(int(time.time()))))
        return self._answered  # type: ignore[return-value] # gunicorn compares it, and does not iterate

    def _let_deliveries_pass(self) -> None:
        """Let one request at a time begin the long way, and whatever has arrived meanwhile be served before it.

        Captures, pages and what leads nowhere cost more than a delivery, and in a gevent process each holds up all
        that come after it. A flood of them waits here, where a delivery goes past.
        """
        with self._turnstile:
            time.sleep(0)

    def _explain(self, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return self._app.make_response(self._app.handle_http_exception(error))
        return self._app.handle_exception(error)


def _merge_slashes(environ: dict[str, Any]) -> None:
    """Take `/hooks//box` for `/hooks/box`: Flask would redirect, and no provider follows."""
    merged = _SLASHES.sub("/", environ["PATH_INFO"])
    if merged.startswith("/hooks/"):
        environ["PATH_INFO"] = merged


def _stays_open(environ: Mapping[str, Any]) -> bool:
    """Say whether this connection is plain HTTP/1.1 that goes on after the answer; what we send ourselves has none."""
    connection = environ.get("gunicorn.socket")
    return connection is not None and environ["SERVER_PROTOCOL"] == "HTTP/1.1" and connection.stays_open()


class BodyError(HTTPException):
    """A body that is not taken, with the beginning of it, as far as it was read."""

    def __init__(self, description: str, read: bytes = b"") -> None:
        super().__init__(description)
        self.beginning = read[: refusals.BEGINNING]


class TooLongError(BodyError, RequestEntityTooLarge):
    """The body is over the limit."""

    def __init__(self, limit: int, read: bytes = b"") -> None:
        super().__init__(f"The body is longer than MAX_BODY_BYTES ({limit}).", read)


class CutOffError(BodyError, BadRequest):
    """The connection ended before the body did."""

    def __init__(self, read: bytes = b"") -> None:
        super().__init__("The body did not arrive whole.", read)


def _read_body(environ: Mapping[str, Any], *, limit: int) -> bytes:
    # Read straight from the server: werkzeug's stream (3.1) gives the beginning of a chunked body that is too long.
    length = environ.get("CONTENT_LENGTH") or ""
    if not length and not environ.get("wsgi.input_terminated"):
        return b""
    if length and (not length.isdecimal() or int(length) > limit):
        raise TooLongError(limit)
    try:
        body: bytes = environ["wsgi.input"].read(int(length) if length else limit + 1)
    except Exception:  # noqa: BLE001 - each server has errors of its own for a broken connection or senseless chunks
        raise CutOffError from None
    if len(body) > limit:
        raise TooLongError(limit, body)
    if length and len(body) < int(length):
        raise CutOffError(body)
    return body


def header_lines(environ: Mapping[str, object]) -> Headers:
    """Give the header lines of a WSGI request. WSGI keeps their values and order, not the spelling of their names."""
    lines = [(_spelled(key), str(value)) for key, value in environ.items() if key.startswith("HTTP_")]
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(key):
            lines.append((_spelled(f"HTTP_{key}"), str(environ[key])))
    return Headers(lines)


@lru_cache(maxsize=1000)
def _spelled(key: str) -> str:
    return key[5:].replace("_", "-").title()


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000
