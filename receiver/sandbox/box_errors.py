"""The errors of the sandbox: each has the form of an error of Box's API, and is one of ours."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from receiver.errors import SignalboxError

HELP_URL = "https://developer.box.com/guides/api-calls/permissions-and-errors/"

CODES: Mapping[int, str] = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    412: "precondition_failed",
    429: "too_many_requests",
    500: "internal_server_error",
    503: "unavailable",
}


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing that is wrong with a request: the field, and the reason."""

    name: str
    message: str
    reason: str = "invalid_parameter"


class SandboxRefusal(SignalboxError):
    """A request that the sandbox refuses, with the status that Box would return."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        wrong: Sequence[Wrong] = (),
        code: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or CODES.get(status, "bad_request" if status < 500 else "internal_server_error")
        self.wrong = tuple(wrong)
        self.headers = dict(headers or {})

    def client_error(self) -> dict[str, Any]:
        """Return the body of the response: a ClientError of Box's API, with a request id of its own."""
        errors = [{"reason": one.reason, "name": one.name, "message": one.message} for one in self.wrong]
        return {
            "type": "error",
            "status": self.status,
            "code": self.code,
            "message": self.message,
            "context_info": {"errors": errors} if errors else {"message": self.message},
            "help_url": HELP_URL,
            "request_id": secrets.token_hex(8),
        }

    def sentence(self) -> str:
        """Return all of it as a sentence, for a terminal."""
        return " ".join(one.message for one in self.wrong) or self.message


def bad_request(*wrong: Wrong) -> SandboxRefusal:
    return SandboxRefusal(400, "Bad Request", wrong=wrong)


def not_found(what: str) -> SandboxRefusal:
    return SandboxRefusal(404, "Not Found", wrong=[Wrong("item", what, reason="not_found")])
