"""What is refused before anybody looks at a signature: why, and what is kept. Nothing waits for the database."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ulid_transform import ulid_at_time
from werkzeug.exceptions import HTTPException

from receiver.events import Headers, Unread
from receiver.inbox.refusals import BEGINNING, Refusal

NOTED = "signalbox.noted"  # in the environ of a request whose refusal was taken down already
NOBODY = "unknown"  # the source of a request that names none of ours
MOST_ANNOUNCED = 2**62

_HOOKS = re.compile(r"/*hooks(/|\Z)")
_MOST_PATH = 500
_REASONS = {
    308: Unread.REDIRECTED,
    400: Unread.CUT_OFF,
    404: Unread.NO_SUCH_SOURCE,
    405: Unread.METHOD_NOT_ALLOWED,
    413: Unread.BODY_TOO_LONG,
    415: Unread.COMPRESSED,
}


def is_for_hooks(environ: Mapping[str, Any]) -> bool:
    """Say whether a request means a source, be its address right or not."""
    return _HOOKS.match(environ.get("PATH_INFO", "")) is not None


def refusal(
    environ: Mapping[str, Any],
    *,
    source: str,
    status: int,
    detail: str,
    headers: Headers,
    client: str,
    body: bytes,
    is_whole: bool,
    is_off: bool = False,
) -> Refusal:
    """Give what is kept of a request that was turned away; `body` is what was read of it."""
    now = datetime.now(UTC)
    announced = announced_bytes(environ)
    return Refusal(
        id=ulid_at_time(now.timestamp()),
        source=source,
        received_at=now,
        reason=Unread.SOURCE_OFF if is_off else _REASONS.get(status, Unread.NOT_UNDERSTOOD),
        detail=detail,
        headers=headers.to_bytes(),
        body=body,
        client=client,
        status=status,
        method=_ascii(environ.get("REQUEST_METHOD", ""))[:40],
        path=_ascii(environ.get("PATH_INFO", ""))[:_MOST_PATH],
        is_cut=not is_whole and (announced is None or len(body) < announced),
        announced=announced,
    )


def detail_of(error: HTTPException) -> str:
    return error.description or error.name


def announced_bytes(environ: Mapping[str, Any]) -> int | None:
    """Give how long the body was to be, as far as that was said; None where it came in chunks."""
    length = environ.get("CONTENT_LENGTH") or ""
    if not length:
        return None if environ.get("HTTP_TRANSFER_ENCODING") else 0
    return min(int(length), MOST_ANNOUNCED) if length.isdecimal() and len(length) < 20 else MOST_ANNOUNCED


def client_of(environ: Mapping[str, Any], *, is_behind_proxy: bool) -> str:
    """Give who sent it. Behind a platform's router, the last entry is the one that the router itself wrote."""
    forwarded = environ.get("HTTP_X_FORWARDED_FOR", "") if is_behind_proxy else ""
    return str(forwarded.rpartition(",")[2].strip() or environ.get("REMOTE_ADDR") or "")


def read_beginning(environ: Mapping[str, Any], *, most: int = BEGINNING) -> bytes:
    """Read the first bytes of a body that nobody will read to its end; what is there soon, and no more."""
    if environ.get("HTTP_EXPECT") or announced_bytes(environ) == 0:
        return b""  # who asks first is answered first
    connection = environ.get("gunicorn.socket")
    patience = connection.gettimeout() if connection else None
    if connection:
        connection.settimeout(PATIENCE_SECONDS)
    try:
        return _read(environ, most)
    finally:
        if connection:
            connection.settimeout(patience)


PATIENCE_SECONDS = 0.2
_PIECE = 1024


def _read(environ: Mapping[str, Any], most: int) -> bytes:
    beginning = b""
    left = announced_bytes(environ)
    while len(beginning) < most and (left is None or len(beginning) < left):
        try:
            piece: bytes = environ["wsgi.input"].read(min(_PIECE, most - len(beginning)))
        except Exception:  # noqa: BLE001 - as where a body is read whole: each server has errors of its own
            break
        if not piece:
            break
        beginning += piece
    return beginning


def _ascii(text: str) -> str:
    return text.encode("latin-1", "replace").decode("latin-1").encode("ascii", "backslashreplace").decode("ascii")
