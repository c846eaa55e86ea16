"""The account for calls to Box: which credentials are set, and the address of its API."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

from receiver.errors import SettingsError
from receiver.outbound.public_addresses import is_loopback
from receiver.registrations.rules import is_at_box

_NONE_SET = (
    "must be set, with BOX_CLIENT_SECRET and BOX_ENTERPRISE_ID or BOX_USER_ID, to call Box; or BOX_JWT_CONFIG; "
    "or, for an hour, BOX_DEVELOPER_TOKEN."
)
SANDBOX_URL = "http://127.0.0.1:8100"  # where `signalbox sandbox` is by default
_SANDBOX_TOKEN = "signalbox"  # noqa: S105 - a sandbox takes any token, and a name is easier to find in its state


class Kind(Enum):
    """The way to sign in."""

    DEVELOPER_TOKEN = "developer token"  # noqa: S105
    CLIENT_CREDENTIALS = "client credentials"
    JWT = "JWT"
    SANDBOX = "any token, as a sandbox takes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Credentials of one kind; none of them is ever shown."""

    api_url: str
    kind: Kind
    token: str = field(default="", repr=False)
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    enterprise_id: str | None = None
    user_id: str | None = None
    jwt_config: str = field(default="", repr=False)
    is_assumed: bool = False  # a sandbox that no setting names

    @property
    def is_box(self) -> bool:
        """Whether this is Box itself and not a stand-in."""
        return is_at_box(urlsplit(self.api_url).hostname or "")

    @property
    def is_here(self) -> bool:
        """Whether the API is on this machine."""
        return is_loopback(urlsplit(self.api_url).hostname or "")


def account_of(settings: Mapping[str, Any]) -> Account:
    """Return the one account that the settings describe; SettingsError if there is none, or more than one.

    In development, without any credentials, it is a user of a sandbox on this machine; in production never. Webhooks
    belong to an application and a user: which of two would own them must not be left to chance.
    """
    url = settings["BOX_API_URL"].rstrip("/").removesuffix("/2.0")
    names = {
        Kind.DEVELOPER_TOKEN: "BOX_DEVELOPER_TOKEN",
        Kind.JWT: "BOX_JWT_CONFIG",
        Kind.CLIENT_CREDENTIALS: "BOX_CLIENT_ID",
    }
    kinds = [kind for kind, name in names.items() if settings[name]]
    if len(kinds) > 1:
        others = " and ".join(names[kind] for kind in kinds[1:])
        raise SettingsError(
            {names[kinds[0]]: [f"is set beside {others}: set only one, so that it is clear which account is used."]}
        )
    if not kinds:
        return _without_credentials(url, is_development=settings["ENV"] == "development")
    if kinds[0] is Kind.CLIENT_CREDENTIALS:
        _require_whole(settings)
    return Account(
        api_url=url,
        kind=kinds[0],
        token=settings["BOX_DEVELOPER_TOKEN"] or "",
        client_id=settings["BOX_CLIENT_ID"] or "",
        client_secret=settings["BOX_CLIENT_SECRET"] or "",
        enterprise_id=settings["BOX_ENTERPRISE_ID"],
        user_id=settings["BOX_USER_ID"],
        jwt_config=settings["BOX_JWT_CONFIG"] or "",
    )


def _without_credentials(url: str, *, is_development: bool) -> Account:
    account = Account(api_url=url, kind=Kind.SANDBOX, token=_SANDBOX_TOKEN)
    if account.is_box and is_development:
        return replace(account, api_url=SANDBOX_URL, is_assumed=True)
    if not account.is_here:
        raise SettingsError({"BOX_CLIENT_ID": [_NONE_SET]})
    return account


def _require_whole(settings: Mapping[str, Any]) -> None:
    problems = {}
    if not settings["BOX_CLIENT_SECRET"]:
        problems["BOX_CLIENT_SECRET"] = ["must be set if BOX_CLIENT_ID is."]
    if not (settings["BOX_ENTERPRISE_ID"] or settings["BOX_USER_ID"]):
        problems["BOX_ENTERPRISE_ID"] = ["must be set if BOX_CLIENT_ID is, for the service account; or BOX_USER_ID."]
    if problems:
        raise SettingsError(problems)
