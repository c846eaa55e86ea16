"""How this installation registers: the address that webhooks deliver to, and how its file is read."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from receiver.errors import SettingsError
from receiver.outbound.addresses import address, hook_url
from receiver.outbound.public_addresses import is_loopback
from receiver.registrations.account import account_of
from receiver.registrations.manifest import Reading
from receiver.registrations.rules import is_at_box


def usual_address(settings: Mapping[str, Any]) -> str | None:
    """Return the default address of registrations: if the sandbox is on this machine, our own."""
    if settings["PUBLIC_URL"]:
        return hook_url(settings["PUBLIC_URL"].rstrip("/"), "box")
    if is_loopback(_api_host(settings)) and settings["PORT"]:
        return hook_url(address(settings["HOST"], settings["PORT"]), "box")
    return None


def reading(settings: Mapping[str, Any], *, allow_unknown: bool = False) -> Reading:
    """Return how registrations are checked in this installation."""
    return Reading(
        env=settings["ENV"],
        usual_address=usual_address(settings),
        is_box=is_at_box(_api_host(settings)),
        allow_unknown=allow_unknown,
    )


def _api_host(settings: Mapping[str, Any]) -> str:
    """Return the host of the API that we call, or would with credentials."""
    try:
        url = account_of(settings).api_url
    except SettingsError:
        url = settings["BOX_API_URL"]
    return urlsplit(url).hostname or ""
