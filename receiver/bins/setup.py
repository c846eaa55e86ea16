"""How a bin is set up: its response, what it keeps, who may send; all of it checked before it is stored."""

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, TypedDict

from receiver.errors import BinError
from receiver.events import Headers

STANDARD_BODY = b'{"status":"captured"}\n'
STANDARD: Mapping[str, Any] = {
    "status": 200,
    "headers": b"Content-Type: application/json\r\n",
    "body": STANDARD_BODY,
    "delay_ms": 0,
    "fail_every": 0,
    "fail_status": 500,
    "keep_count": 500,
}

MOST_DELAY_SECONDS = 30
MOST_KEPT = 10_000
_MOST_KEPT_SECONDS = 10 * 365 * 86400
_MOST_BODY_BYTES = 1024 * 1024
_MOST_HEADERS = 100
_MOST_HEADER_BYTES = 8190
_MOST_NUMBER = 1_000_000

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
# They describe the connection, not the response (RFC 9110, 7.6.1), or the length, which follows from the body.
SERVERS_OWN = frozenset(
    {
        "connection", "content-length", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
        "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip


class Changes(TypedDict, total=False):
    """Changes to a bin's set-up, by the names and in the units of its JSON; the body as bytes.

    `fail_every` 0 never fails, `keep_seconds` None keeps captures of any age, `secret` None or "" requires none.
    """

    status: int
    headers: Sequence[Sequence[str]]
    body: bytes
    delay_seconds: float
    fail_every: int
    fail_status: int
    keep_count: int
    keep_seconds: int | None
    secret: str | None


def check(changes: Changes) -> None:
    """Raise BinError if any of the changes is invalid."""
    columns(changes)


def columns(changes: Changes) -> dict[str, Any]:
    """Return changes as columns; BinError names every invalid one."""
    found: dict[str, Any] = {}
    problems: dict[str, list[str]] = {}
    for field, value in changes.items():
        try:
            column, read = _READERS[field]
            found[column] = read(value)
        except ValueError as error:
            problems[field] = [str(error)]
    if problems:
        raise BinError(problems)
    return found


def digest(secret: bytes) -> str:
    return sha256(secret).hexdigest()


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"Must be a whole number from {low} to {high:,}.")
        return value

    return read


def _delay(value: Any) -> int:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= MOST_DELAY_SECONDS:
        raise ValueError(f"Must be a number of seconds from 0 to {MOST_DELAY_SECONDS}.")
    return round(value * 1000)


def _age(value: Any) -> int | None:
    return None if value is None else _whole(1, _MOST_KEPT_SECONDS)(value)


def _body(value: Any) -> bytes:
    if not isinstance(value, bytes) or len(value) > _MOST_BODY_BYTES:
        raise ValueError(f"Must be at most {_MOST_BODY_BYTES:,} bytes.")
    return value


def _secret(value: Any) -> str | None:
    if value is None or value == "":
        return None
    # It has to arrive as a header, where spaces at the ends are removed (RFC 9110, 5.5).
    if not isinstance(value, str) or len(value) > 200 or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("Must be at most 200 characters that can be typed, without spaces.")
    return digest(value.encode("ascii"))


def _headers(value: Any) -> bytes:
    if not isinstance(value, list | tuple):
        raise ValueError("Must be a list of names and values.")
    pairs = [_header(pair) for pair in value]
    block = Headers(pairs).to_bytes()
    if len(pairs) > _MOST_HEADERS or len(block) > _MOST_HEADER_BYTES:
        raise ValueError(f"Must be at most {_MOST_HEADERS} headers of {_MOST_HEADER_BYTES:,} bytes in all.")
    return block


def _header(pair: Any) -> tuple[str, str]:
    if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
        raise ValueError("Must be names and values.")
    name, value = pair
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is not a valid name of a header.")
    if not _VALUE.fullmatch(value):
        raise ValueError(f"The value of {name} may contain only Latin-1, without line breaks and control characters.")
    if name.lower() in SERVERS_OWN:
        raise ValueError(f"{name} is set by the server itself.")
    return name, value.strip(" \t")


_READERS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "status": ("status", _whole(200, 599)),
    "headers": ("headers", _headers),
    "body": ("body", _body),
    "delay_seconds": ("delay_ms", _delay),
    "fail_every": ("fail_every", _whole(0, _MOST_NUMBER)),
    "fail_status": ("fail_status", _whole(200, 599)),
    "keep_count": ("keep_count", _whole(1, MOST_KEPT)),
    "keep_seconds": ("keep_seconds", _age),
    "secret": ("secret_digest", _secret),
}
