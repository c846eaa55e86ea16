"""Which registrations Box takes: the addresses, the triggers, and which of them fit a file or a folder. Pure."""

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from receiver.simulator.sandbox.refusals import Wrong
from receiver.sources.box import KNOWN

Key = tuple[str, str]  # the type (file or folder) and the id of an item

MOST_WEBHOOKS = 1000
ROOT_ID = "0"

# https://developer.box.com/guides/webhooks/triggers/ (as of 2026): one is sent and cannot be asked for, and one is
# a spelling that only a changelog has.
TRIGGERS = KNOWN - {"NO_ACTIVE_SESSION", "SIGN.REQUEST.SIGNER_SIGNED"}
_FOLDERS_ONLY = ("COLLABORATION.", "FOLDER.", "FILE.UPLOADED")
_FILES_ONLY = ("DOCGEN_",)

_LONGEST_ADDRESS = 2000
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_ADDRESS = re.compile(r"[!-~]+")
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]", re.IGNORECASE)


def is_id(text: str) -> bool:
    """Say whether a text is an id as Box writes them: a decimal number."""
    return _NUMBER.fullmatch(text) is not None


def check_triggers(triggers: Iterable[str], target_type: str) -> Iterator[Wrong]:
    """Give what Box would find wrong with these triggers for a file or a folder."""
    triggers = list(triggers)
    if not triggers:
        yield Wrong("triggers", "Name one trigger or more.")
    for trigger in triggers:
        if trigger not in TRIGGERS:
            yield Wrong("triggers", f"{trigger[:100]!r} is no trigger that a webhook can ask for.")
        elif not fits(trigger, target_type):
            yield Wrong("triggers", f"{trigger} is not told of a {target_type}.")


def fits(trigger: str, target_type: str) -> bool:
    """Say whether a webhook on a file, or on a folder, may ask for a trigger."""
    return not trigger.startswith(_FOLDERS_ONLY if target_type == "file" else _FILES_ONLY)


def check_address(address: str, *, any_address: bool = False) -> Iterator[Wrong]:
    """Give what Box would find wrong with an address.

    Two are taken that Box would refuse: http or https on the loopback of this machine, at any port, which is what
    the sandbox is for; and with `any_address` whatever is an HTTP address at all, for networks of containers.
    """
    parts = _split(address)
    if parts is None:
        yield Wrong("address", "This is no HTTP address.")
    elif not any_address and not is_loopback(parts.hostname or ""):
        yield from (Wrong("address", problem) for problem in _problems(parts))


def _split(address: str) -> SplitResult | None:
    if not _ADDRESS.fullmatch(address) or len(address) > _LONGEST_ADDRESS:
        return None
    try:
        parts = urlsplit(address)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if is_whole and parts.scheme in ("http", "https") and "@" not in parts.netloc else None


def _problems(parts: SplitResult) -> Iterator[str]:
    # https://developer.box.com/guides/webhooks/v2/limitations-v2/ (as of 2026). Nothing is looked up: the sandbox
    # works without a network, so whether a name leads to a public address is left open.
    host = parts.hostname or ""
    if parts.scheme != "https":
        yield "Box calls https addresses only (the sandbox also http on this machine: localhost, 127.0.0.1, [::1])."
    if parts.port not in (None, 443):
        yield f"Box calls port 443 only, not {parts.port}."
    if host == "box.com" or host.endswith(".box.com"):
        yield "An address at box.com is refused."
    if not _is_public(host):
        yield f"{host} is not a public host."


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine by its very name, without looking anything up."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_public(host: str) -> bool:
    try:
        return ip_address(host).is_global
    except ValueError:
        return _DOMAIN.fullmatch(host) is not None
