"""The result of a request: a response, as far as it can be read, or the reason why there is none."""

import json
import zlib
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any

from receiver.errors import SignalboxError
from receiver.events import Headers
from receiver.humanize import plain

DEEPEST = 100  # levels of JSON; much deeper nesting exceeds Python's recursion limit in code that walks through it
_MOST_CODINGS = 3
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_BARE = -zlib.MAX_WBITS
_READ = {"gzip": _GZIP_OR_ZLIB, "x-gzip": _GZIP_OR_ZLIB, "deflate": _GZIP_OR_ZLIB}


class Trouble(Enum):
    """Why there is no response, or none that can be used."""

    NO_URL = "this is not a URL that requests can be sent to"
    FORBIDDEN = "nothing may be sent there"
    NO_ADDRESS = "the name has no address"
    UNREACHED = "nothing accepts the connection"
    TLS = "TLS fails"
    LATE = "it takes too long"
    NOT_HTTP = "what it sends is not HTTP"
    UNSENDABLE = "the request cannot be sent as HTTP"
    UNREADABLE = "the body of the response cannot be used"


class OutboundError(SignalboxError):
    """A request without a usable response; the message is one short line without secrets."""

    def __init__(self, trouble: Trouble, message: str) -> None:
        self.trouble = trouble
        super().__init__(plain(message))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Any response.

    `body` is decoded, or as it was received if that failed. `fault` says what is wrong with it, as the end of a
    sentence about the far end, and is "" if the body is complete. `is_cut` is True if there is more after `body`.
    """

    url: str
    status: int
    headers: Headers
    body: bytes
    took: timedelta
    is_cut: bool = False
    fault: str = ""


def read_json(reply: Reply) -> Any:
    """Parse the body of a reply as JSON; OutboundError if it is not JSON, incomplete, or nested too deep."""
    if reply.fault:
        raise _unreadable(reply.fault)
    try:
        document = json.loads(reply.body)
    except RecursionError:
        raise _unreadable(f"is JSON nested deeper than {DEEPEST} levels") from None
    except ValueError:
        raise _unreadable("is not JSON" if reply.body else "is empty") from None
    if _is_deep(document):
        raise _unreadable(f"is JSON nested deeper than {DEEPEST} levels")
    return document


def _unreadable(why: str) -> OutboundError:
    return OutboundError(Trouble.UNREADABLE, f"the body of its response {why}")


def _is_deep(document: Any) -> bool:
    level = [document]
    for _ in range(DEEPEST):
        level = [one for whole in level if isinstance(whole, dict | list) for one in _inside(whole)]
        if not level:
            return False
    return True


def _inside(whole: dict[str, Any] | list[Any]) -> list[Any]:
    parts = whole.values() if isinstance(whole, dict) else whole
    return [one for one in parts if isinstance(one, dict | list)]


def decode(raw: bytes, codings: str, *, most: int) -> tuple[bytes, str]:
    """Decode the Content-Encoding of a body, up to `most` bytes and one; return the raw body and why if that fails.

    A bomb is never unpacked: of a kilobyte that stands for a gigabyte, only the beginning is.
    """
    names = [one for one in (part.strip().lower() for part in codings.split(",")) if one not in ("", "identity")]
    body = raw
    for name in reversed(names):
        if name not in _READ or len(names) > _MOST_CODINGS:
            return raw, f"is encoded in a way that was not asked for ({plain(codings, most=40)})"
        unpacked = _unpack(body, most + 1)
        if unpacked is None:
            return raw, f"is labelled {name}, and is not"
        body = unpacked
    return body, ""


def _unpack(packed: bytes, most: int) -> bytes | None:
    if not packed:
        return b""
    # Some servers send "deflate" without the zlib header that RFC 9110 (8.4.1.2) requires.
    for bits in (_GZIP_OR_ZLIB, _BARE):
        unpacking = zlib.decompressobj(bits)
        try:
            body = unpacking.decompress(packed, most)
        except zlib.error:
            continue
        return body if unpacking.eof or len(body) == most else None
    return None
