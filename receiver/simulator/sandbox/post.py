"""One delivery over HTTP: what was answered, within the time that the source gives its receiver."""

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

import httpx

from receiver.box_webhooks.rules import is_loopback

# https://developer.box.com/guides/webhooks/v2/ (as of 2026), and about the same at Filestack. This is true time.
TIME_LIMIT = timedelta(seconds=30)
_MOST_SAID = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `status` is None where nothing did, and `said` is why, or the beginning of the body."""

    status: int | None
    said: str
    seconds: float = 0


Post = Callable[[str, bytes, list[tuple[str, str]]], Answer]


def post(address: str, body: bytes, headers: list[tuple[str, str]]) -> Answer:
    """Send a delivery. Redirects are not followed, and of an answer only the beginning is read."""
    began = time.monotonic()
    limit = TIME_LIMIT.total_seconds()
    try:
        with (
            # A proxy from the environment is for the world outside.
            httpx.Client(
                timeout=limit, trust_env=not is_loopback(httpx.URL(address).host), verify=_trusted()
            ) as client,
            client.stream("POST", address, content=body, headers=headers) as response,
        ):
            answer = Answer(response.status_code, _beginning(response), time.monotonic() - began)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        return Answer(None, _words(error), time.monotonic() - began)
    if answer.seconds > limit:
        return Answer(None, f"answered after {answer.seconds:.0f} s, which is too late", answer.seconds)
    return answer


@cache
def _trusted() -> ssl.SSLContext:
    # Reading the certificates of the authorities takes longer than a whole delivery does.
    return httpx.create_ssl_context()


def _beginning(response: httpx.Response) -> str:
    said = b""
    for piece in response.iter_bytes(_MOST_SAID):
        said += piece
        if len(said) >= _MOST_SAID:
            break
    return said[:_MOST_SAID].decode("utf-8", "replace")


def _words(error: Exception) -> str:
    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {TIME_LIMIT.total_seconds():.0f} s"
    return str(error)[:_MOST_SAID] or type(error).__name__
