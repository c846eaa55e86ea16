"""Which registrations Box accepts: addresses, triggers, and which of them fit a file or a folder. Pure."""

import re
from collections.abc import Iterable, Iterator

from receiver.outbound.public_addresses import is_loopback
from receiver.registrations.rules import TRIGGERS, box_problems, fits, split
from receiver.sandbox.box_errors import Wrong

Key = tuple[str, str]  # the type (file or folder) and the id of an item

ROOT_ID = "0"

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


def is_id(text: str) -> bool:
    """Return whether a text is an id as Box writes them: a decimal number."""
    return _NUMBER.fullmatch(text) is not None


def check_triggers(triggers: Iterable[str], target_type: str) -> Iterator[Wrong]:
    """Yield what Box would find wrong with these triggers for a file or a folder."""
    triggers = list(triggers)
    if not triggers:
        yield Wrong("triggers", "Name at least one trigger.")
    for trigger in triggers:
        if trigger not in TRIGGERS:
            yield Wrong("triggers", f"{trigger[:100]!r} is not a trigger that a webhook can ask for.")
        elif not fits(trigger, target_type):
            yield Wrong("triggers", f"{trigger} cannot be asked for on a {target_type}.")


def check_address(address: str, *, any_address: bool = False) -> Iterator[Wrong]:
    """Yield what Box would find wrong with an address.

    Two kinds are accepted that Box would refuse: http or https on the loopback of this machine, at any port, which is
    what the sandbox is for; and with `any_address` every HTTP address, for networks of containers.
    """
    parts = split(address)
    if parts is None:
        yield Wrong("address", "This is not an HTTP address.")
    elif not any_address and not is_loopback(parts.hostname or ""):
        problems = list(box_problems(parts))
        hint = "The sandbox also takes http, at any port, on this machine: localhost, 127.0.0.1, [::1]."
        yield from (Wrong("address", problem) for problem in [*problems, *([hint] if problems else [])])
