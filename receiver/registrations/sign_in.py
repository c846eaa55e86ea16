"""Sign-in at Box with each kind of credentials, and how long to wait for Box: what the SDK is set up with."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

from box_sdk_gen import (
    Authentication,
    BoxCCGAuth,
    BoxDeveloperTokenAuth,
    BoxJWTAuth,
    BoxRetryStrategy,
    BoxSDKError,
    CCGConfig,
    FetchOptions,
    FetchResponse,
    JWTConfig,
)

from receiver.errors import SettingsError
from receiver.registrations.account import Account, Kind
from receiver.registrations.transport import Transport

# Called with the status that makes us wait (0: no response), and for how long.
Waiting = Callable[[int, timedelta], None]

LONGEST_WAIT = timedelta(minutes=2)


def sign_in(account: Account) -> Authentication:
    """Return the SDK's authentication; Box is not called yet. SettingsError if the JWT file is invalid."""
    if account.kind is Kind.CLIENT_CREDENTIALS:
        config = CCGConfig(
            account.client_id, account.client_secret, enterprise_id=account.enterprise_id, user_id=account.user_id
        )
        return BoxCCGAuth(config)
    if account.kind is Kind.JWT:
        auth = BoxJWTAuth(_jwt_config(account.jwt_config))
        return auth.with_user_subject(account.user_id) if account.user_id else auth
    return BoxDeveloperTokenAuth(account.token)


def _jwt_config(given: str) -> JWTConfig:
    """Parse the developer console's JWT configuration: the JSON itself, or the path of its file."""
    try:
        text = given if given.startswith("{") else Path(given).read_text(encoding="utf-8")
        return JWTConfig.from_config_json_string(text)
    except OSError as error:
        problem = f"names no file that can be read ({error.strerror})."
    except (AttributeError, KeyError, TypeError, ValueError, BoxSDKError):
        problem = "is not the JSON that the Box developer console gives for JWT."
    raise SettingsError({"BOX_JWT_CONFIG": [problem]})


class Patience(BoxRetryStrategy):
    """The SDK's own retries, which also report that they wait, and understand each form of Retry-After.

    If nothing responds on this machine (`is_here`), nothing will in a few seconds. `is_in_doubt` is set when it repeats
    a call that Box may have carried out already.
    """

    is_in_doubt = False

    def __init__(self, waiting: Waiting | None, pause: timedelta, *, is_here: bool, transport: Transport) -> None:
        often = 0 if is_here else 2
        super().__init__(retry_base_interval=pause.total_seconds(), max_retries_on_exception=often)
        self._waiting = waiting
        self._transport = transport

    def retry_after(self, fetch_options: FetchOptions, fetch_response: FetchResponse, attempt_number: int) -> float:
        # The SDK (10.18) parses the header by float(), which fails for a date, the other form of RFC 9110 (10.2.3).
        asked = _seconds(fetch_response.headers.pop("Retry-After", None))
        if asked is None:
            asked = float(super().retry_after(fetch_options, fetch_response, attempt_number))
        wait = min(max(timedelta(seconds=asked), timedelta(0)), LONGEST_WAIT)
        if wait >= self._transport.left():
            status = fetch_response.status
            raise self._transport.too_late(
                f": it returns {status}, and asks for a retry in {wait.total_seconds():.0f} s" if status else ""
            )
        self.is_in_doubt |= not 400 <= fetch_response.status < 500
        if self._waiting is not None:
            self._waiting(fetch_response.status, wait)
        return wait.total_seconds()


def _seconds(header: str | None) -> float | None:
    """Parse a Retry-After, in seconds or as a date; None if it is neither, or missing."""
    if not header:
        return None
    if header.strip().replace(".", "", 1).isdecimal():
        return min(float(header), LONGEST_WAIT.total_seconds())
    try:
        return (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return None
