"""What Box accepts as a registration: which triggers fit a file or a folder, which addresses it calls. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from urllib.parse import SplitResult, urlsplit

from receiver.outbound.public_addresses import is_loopback, is_public, number
from receiver.sources.box import KNOWN

MOST_REGISTRATIONS = 1000  # for one user in one application

# https://developer.box.com/guides/webhooks/triggers/ (as of 2026): one is sent and cannot be asked for, and one is a
# spelling that only a changelog has.
TRIGGERS = KNOWN - {"NO_ACTIVE_SESSION", "SIGN.REQUEST.SIGNER_SIGNED"}
_FOLDERS_ONLY = ("COLLABORATION.", "FOLDER.", "FILE.UPLOADED")
_FILES_ONLY = ("DOCGEN_",)

TARGET_PATTERN = re.compile(r"(file|folder):(0|[1-9][0-9]{0,19})")
_VISIBLE = re.compile(r"[!-~]{1,2000}")
_WORD = re.compile(r"[A-Za-z0-9_.]{1,100}")


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """The file or folder that a registration is about, written `folder:1200`."""

    type: str
    id: str

    def __str__(self) -> str:
        return f"{self.type}:{self.id}"

    @classmethod
    def read(cls, text: str) -> "Target":
        """Parse `folder:1200` or `file:1200`; ValueError, with a sentence, for anything else."""
        found = TARGET_PATTERN.fullmatch(text)
        if found is None:
            raise ValueError(f"{text[:100]!r} is not a target: write folder:ID or file:ID, as in folder:1200.")
        return cls(found[1], found[2])


@dataclass(frozen=True, slots=True)
class Content:
    """A registration without its target: the address that it delivers to, and its triggers."""

    address: str
    triggers: tuple[str, ...]

    @classmethod
    def of(cls, address: str, triggers: Sequence[str]) -> "Content":
        """Return the content with each trigger once, sorted: Box keeps a set, in an order of its own."""
        return cls(address, tuple(sorted(set(triggers))))


@dataclass(frozen=True, slots=True)
class Listed:
    """A webhook as a list has it: Box returns its address and triggers only for a single webhook."""

    id: str
    target: Target


@dataclass(frozen=True, slots=True)
class Webhook(Listed):
    """A webhook with all that Box has of it."""

    content: Content
    created_at: datetime | None = None
    created_by: str | None = None


def check_target(target: Target) -> Iterator[str]:
    if target == Target("folder", "0"):
        yield "the root folder takes no webhook: name a folder below it."


def check_triggers(triggers: Sequence[str], target: Target, *, allow_unknown: bool = False) -> Iterator[str]:
    """Yield what Box would find wrong with these triggers on a target, with a suggestion if one is close."""
    if not triggers:
        yield "no trigger is named."
    for trigger in triggers:
        if trigger in TRIGGERS:
            if not fits(trigger, target.type):
                yield f"{trigger} cannot be asked for on a {target.type}."
        elif not _WORD.fullmatch(trigger):
            yield f"{trigger[:100]!r} cannot be a trigger."
        elif not allow_unknown:
            yield f"{trigger} is not a known trigger{meant(trigger)} (--allow-unknown asks for it all the same)."


def fits(trigger: str, target_type: str) -> bool:
    """Return whether a webhook on a file, or on a folder, may ask for a trigger."""
    return not trigger.startswith(_FOLDERS_ONLY if target_type == "file" else _FILES_ONLY)


def meant(trigger: str) -> str:
    """Return a question with similar triggers, to end a sentence with; "" if there are none."""
    close = get_close_matches(trigger.upper(), sorted(TRIGGERS), n=2, cutoff=0.7)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def check_address(address: str, *, is_box: bool) -> Iterator[str]:
    """Yield what Box would find wrong with an address; a stand-in for Box checks addresses itself."""
    parts = split(address)
    if parts is None:
        yield "the address is not an HTTP address."
    elif is_box:
        yield from box_problems(parts)


def split(address: str) -> SplitResult | None:
    """Return the parts of an HTTP address, or None for anything else."""
    if not _VISIBLE.fullmatch(address):
        return None
    try:
        parts = urlsplit(address)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if is_whole and parts.scheme in ("http", "https") and "@" not in parts.netloc else None


def box_problems(parts: SplitResult) -> Iterator[str]:
    """Yield what Box would find wrong with an HTTP address."""
    # https://developer.box.com/guides/webhooks/v2/limitations-v2/ (as of 2026). No name is resolved: the result from
    # here says little about what Box would find.
    host = parts.hostname or ""
    if parts.scheme != "https":
        yield "Box calls https addresses only."
    if parts.port not in (None, 443):
        yield f"Box calls port 443 only, not {parts.port}."
    if is_at_box(host):
        yield "Box refuses addresses at box.com."
    if not _is_public(host):
        yield f"{host} is not reachable from outside: Box calls public hosts only."


def is_at_box(host: str) -> bool:
    return host == "box.com" or host.endswith(".box.com")


def _is_public(host: str) -> bool:
    found = number(host)
    if found is not None:
        return is_public(str(found))
    return "." in host.strip(".") and not is_loopback(host)
