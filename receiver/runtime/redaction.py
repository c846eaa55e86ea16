"""Header lines as people see them: credentials and signatures masked, also in errors that quote them."""

import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

MASK = "•••"
LEAST_QUOTED = 4  # a shorter value occurs in any text by chance
LEAST_WITHIN = 8  # a shorter one is masked only as a whole word, so that no line number loses its digits

Pairs = Iterable[tuple[str, str]]

# The name tells the content, whatever provider or proxy chose it: `X-Gitlab-Token`, `Api-Key`, `X-Session-Id`.
_CREDENTIAL = re.compile(
    r"token|secret|passw|passphrase|pwd|cookie|credential|session|[cx]srf|jwt|auth(?!or(?!i[sz]))"
    r"|(^|[-_])keys?($|[-_])|(api|app|access|private|signing|shared|client|licen[cs]e|service|account|security|hook)keys?",
    re.IGNORECASE,
)
_SIGNATURE = re.compile(r"signature|hmac|(^|[-_])sig($|[-_])", re.IGNORECASE)
# Similar names without a credential: a request for a login, ids of requests, how something was signed.
_HARMLESS = re.compile(
    r"(www|proxy)-authenticate|access-control-.*|.*rate-?limit.*|.*signature-(version|algorithm|method|type)"
    r"|(x-)?(idempotency|sec-websocket|surrogate|cache|partition|routing|ordering|public)-key",
    re.IGNORECASE,
)
# Of signatures that we verify both ends are shown: they tell which of two was compared, and reveal nothing.
_OURS = re.compile(r"box-signature-(primary|secondary)|fs-signature", re.IGNORECASE)


def is_secret(header: str) -> bool:
    """Return whether a header of this name holds a credential; a signature does not, as it is valid for one body."""
    return _CREDENTIAL.search(header) is not None and not _HARMLESS.fullmatch(header) and not _OURS.fullmatch(header)


def shown(header: str, value: str) -> str:
    """Return a header's value as people see it: credentials and signatures masked, our sources' signatures cut."""
    if _OURS.fullmatch(header):
        return f"{value[:6]}…{value[-4:]}" if len(value) > 20 else value
    is_foreign = _SIGNATURE.search(header) is not None and not _HARMLESS.fullmatch(header)
    return MASK if is_foreign or is_secret(header) else value


def hide(pairs: Pairs, text: str) -> str:
    """Return a text with the header values that it quotes masked as `shown` does."""
    hidden: dict[str, str] = {}
    for name, value in pairs:
        seen = shown(name, value)
        if seen != value:
            hidden |= {form: MASK for part in _parts(value) for form in _forms(part)}
            hidden |= dict.fromkeys(_forms(value), seen)
    quoted = sorted((form for form in hidden if len(form) >= LEAST_QUOTED), key=len, reverse=True)
    if not quoted:
        return text
    return re.sub("|".join(map(_pattern, quoted)), lambda found: hidden[found[0]], text)


def _parts(value: str) -> Iterator[str]:
    """Yield what a program extracts from such a value: the token after its scheme, the value of a cookie."""
    for word in re.split(r"[\s,;]+", value):
        for part in (word, word.partition("=")[2]):
            if len(part) >= LEAST_WITHIN:
                yield part


def _forms(value: str) -> set[str]:
    """Return how a value may be written in a traceback: as it is, in a `repr`, as JSON, in a URL."""
    return {value, repr(value)[1:-1], json.dumps(value)[1:-1], quote(value, safe="")}


def _pattern(form: str) -> str:
    escaped = re.escape(form)
    return escaped if len(form) >= LEAST_WITHIN else rf"(?<!\w){escaped}(?!\w)"
