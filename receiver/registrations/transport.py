"""How the SDK's calls are sent: by our own client, within our limits of time and size."""

import json
import time
from datetime import timedelta
from io import BytesIO
from typing import Any

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPResponse

from receiver.errors import BoxError
from receiver.outbound import Client, OutboundError, Reply, Trouble, read_json

ONE_CALL = timedelta(seconds=60)
# Five hundred webhooks are a tenth of that.
MOST_BYTES = 1024 * 1024
# What may be different a moment later. Any other error would happen again.
_PASSING = (Trouble.NO_ADDRESS, Trouble.UNREACHED, Trouble.NOT_HTTP, Trouble.LATE)


class Unreached(requests.RequestException):
    """Box did not respond, and may when it is asked again: the SDK retries."""

    def __init__(self, error: OutboundError) -> None:
        super().__init__(str(error))
        self.error = error


class NoApiError(BoxError):
    """What responds is not Box's API, or has a problem."""


class Transport(BaseAdapter):
    """Sends the SDK's calls until their common time is up, and passes on only JSON objects."""

    def __init__(self, within: timedelta, *, advice: str) -> None:
        super().__init__()
        self.within = within
        self._advice = advice
        self._end = time.monotonic() + within.total_seconds()
        self._client = Client(within=ONE_CALL, most=MOST_BYTES)

    def left(self) -> timedelta:
        return timedelta(seconds=max(self._end - time.monotonic(), 0))

    def too_late(self, why: str = "") -> BoxError:
        words = f"Box did not respond to all calls within {self.within.total_seconds():g} s{why}."
        return BoxError(f"{words} {self._advice}".rstrip())

    def send(self, request: requests.PreparedRequest, **_options: Any) -> requests.Response:  # type: ignore[override]
        left = self.left()
        if not left:
            raise self.too_late()
        url = str(request.url)
        body = request.body or b""
        if not isinstance(body, bytes):
            body = str(body).encode()
        # Our client sets these itself: what it can decode, and the length of the body.
        ours = ("accept-encoding", "content-length", "connection", "host")
        headers = [(name, _text(value)) for name, value in request.headers.items() if name.lower() not in ours]
        try:
            reply = self._client.fetch(str(request.method), url, headers=headers, body=body, within=min(left, ONE_CALL))
        except OutboundError as error:
            if not self.left():
                raise self.too_late() from None
            if error.trouble in _PASSING:
                raise Unreached(error) from None
            raise
        return self._response(request, reply)

    def _response(self, request: requests.PreparedRequest, reply: Reply) -> requests.Response:
        if 300 <= reply.status < 400:
            raise NoApiError(f"it redirects ({reply.status}), and redirects are not followed")
        said = {}
        try:
            said = _object(reply) if reply.body or reply.fault else {}
        except OutboundError as error:
            if not self.left():
                raise self.too_late() from None
            # An error counts even if its explanation is not JSON.
            if reply.status < 400 and reply.status != 204:
                raise NoApiError(str(error)) from None
        response = requests.Response()
        response.status_code, response.request, response.url = reply.status, request, str(request.url)
        response.headers = CaseInsensitiveDict(reply.headers.items())
        response.encoding = "utf-8"
        body = json.dumps(said).encode() if said else b""
        response.raw = HTTPResponse(BytesIO(body), preload_content=False, status=reply.status)
        return response

    def close(self) -> None:
        self._client.close()


def _object(reply: Reply) -> dict[str, Any]:
    said = read_json(reply)
    if not isinstance(said, dict):
        raise OutboundError(Trouble.UNREADABLE, "the body of its response is not a JSON object")
    return said


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
