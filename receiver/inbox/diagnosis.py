"""Why a delivery was refused, in words: what each code means, what mends it, and what would have made it verify."""

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import product
from typing import Any

from receiver.events import Delivery, Headers, Reason, Refused, Unread, Verified
from receiver.sources import SOURCES

Keys = Mapping[str, Mapping[str, str]]

# Longer bodies are not written anew in every way there is: that would hold up the deliveries that arrive meanwhile.
MAX_REWRITTEN_BYTES = 256 * 1024
# Nor are those of more lists and objects: each may be indented, and the deeper the longer.
MAX_REWRITTEN_BRACKETS = 2_000

_ANY_AGE = timedelta(days=10**6)
_PROVIDERS = {"box": "Box", "filestack": "Filestack"}
_PORTAL = {
    "box": "the Box Developer Console (your application, Webhooks, Manage signature keys)",
    "filestack": "the Filestack developer portal (Webhooks, the secret of this very webhook)",
}
_SETTINGS = {"box": "BOX_PRIMARY_KEY and BOX_SECONDARY_KEY", "filestack": "FILESTACK_SECRETS"}
_SIGNATURES = {"box": ("BOX-SIGNATURE-PRIMARY", "BOX-SIGNATURE-SECONDARY"), "filestack": ("FS-Signature",)}
_TIMESTAMPS = {"box": "BOX-DELIVERY-TIMESTAMP", "filestack": "FS-Timestamp"}
_AGES = {"box": "BOX_MAX_AGE_SECONDS", "filestack": "FILESTACK_MAX_AGE_SECONDS"}
_RESTART = "Web reads its keys when it starts: restart it after a change."


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Sentences for people: why it was refused, what would have made it verify (None: nothing that we know), the mend.

    None of them holds a key or a signature. `is_unexplained` says that the reason explains nothing by itself, and that
    nothing which commonly goes wrong does.
    """

    sentence: str
    finding: str | None
    mend: str
    is_unexplained: bool = False


@dataclass(frozen=True, slots=True)
class _Try:
    """A delivery, or keys, changed in one way, and what it says if this verifies."""

    says: str
    mend: str
    delivery: Delivery
    keys: Mapping[str, str]


def diagnose(delivery: Delivery, keys: Keys, reason: str, *, pause: Callable[[], None] = lambda: None) -> Diagnosis:
    """Say why a delivery was refused, by trying what commonly goes wrong; never raises on what came.

    `keys` are those of every source by slot; `pause` is called between tries, so that others get their turn.
    """
    sentence, mend = _sentence(delivery.source, keys, reason), _mend(delivery.source, reason)
    if not keys.get(delivery.source) or reason in (Reason.TIMESTAMP_STALE, Reason.TIMESTAMP_IN_FUTURE):
        return Diagnosis(sentence, None, mend)
    for one in _tries(delivery, keys):
        if _would_verify(one):
            return Diagnosis(sentence, one.says, one.mend)
        pause()
    return Diagnosis(sentence, None, mend, is_unexplained=reason == Reason.SIGNATURE_MISMATCH)


# What is refused before anybody looks at its signature: why, and what mends it.
UNREAD: Mapping[str, tuple[str, str]] = {
    Unread.BODY_TOO_LONG: (
        "Refused: its body is longer than MAX_BODY_BYTES. Only the beginning was kept.",
        "If it is genuine, raise MAX_BODY_BYTES, restart web, and have it sent again.",
    ),
    Unread.CUT_OFF: (
        "Refused: the connection ended before the body did, or its length made no sense.",
        "See what stands between that ends connections; who sends comes again.",
    ),
    Unread.COMPRESSED: (
        "Refused: its body is compressed, and the signature is over the bytes as they were signed.",
        "Have what stands between pass the body on as it came, without compressing it.",
    ),
    Unread.SOURCE_OFF: (
        "Refused: no key was set for this source.",
        "Set {settings} and restart web. Then verify this one again: it can be let in.",
    ),
    Unread.NO_SUCH_SOURCE: (
        "Refused: it was sent to an address that is no source's.",
        "If it is genuine, correct the address where it is sent from: /hooks/box or /hooks/filestack.",
    ),
    Unread.METHOD_NOT_ALLOWED: (
        "Refused: deliveries are sent by POST.",
        "If it is a delivery, have it sent by POST. A browser or a monitor that looks here may look at /healthz.",
    ),
    Unread.REDIRECTED: (
        "Refused: the address was not written as it has to be.",
        "No provider follows a redirect. Write the address as /hooks/box or /hooks/filestack.",
    ),
    Unread.NOT_UNDERSTOOD: (
        "Refused: it could not be read as a request.",
        "See what sends it, and what the log of web says of that time.",
    ),
}


def refused_unread(source: str, reason: str) -> Diagnosis:
    """Say why a request was refused before anybody looked at its signature, and what mends it."""
    sentence, mend = UNREAD[reason]
    return Diagnosis(sentence, None, mend.format(settings=_SETTINGS.get(source, "its key")))


def verify_now(delivery: Delivery, keys: Keys, *, max_age: timedelta, max_skew: timedelta) -> Verified | Refused:
    """Verify a kept delivery with the keys of today; its age is judged at the time that it was received at."""
    source = SOURCES[delivery.source]
    return source.verify(delivery, keys.get(delivery.source, {}), max_age=max_age, max_skew=max_skew)


def _would_verify(one: _Try) -> bool:
    verdict = SOURCES[one.delivery.source].verify(one.delivery, one.keys, max_age=_ANY_AGE, max_skew=_ANY_AGE)
    return isinstance(verdict, Verified)


def _tries(delivery: Delivery, keys: Keys) -> Iterator[_Try]:
    """Give what commonly goes wrong, the most common first: the keys, the headers, the body."""
    own, provider = keys[delivery.source], _PROVIDERS[delivery.source]
    yield _Try(_KEYS_CHANGED, _KEYS_READ, delivery, own)
    for says, changed_keys in _other_keys(delivery.source, keys):
        yield _Try(says, "Then start Signalbox anew and verify this one again.", delivery, changed_keys)
    for says, headers in _other_headers(delivery):
        mend = "The keys are right. Have what stands between pass the headers on as they came."
        yield _Try(says, mend, replace(delivery, headers=headers), own)
    for how, body in _other_bodies(delivery.body):
        says = f"It would match if {how}: something between {provider} and here rewrote the body."
        mend = "The keys are right. Have what stands between pass the body on byte for byte."
        yield _Try(says, mend, replace(delivery, body=body), own)


_KEYS_CHANGED = "It verifies with the keys that are set now: web had others, or none, when it arrived."
_KEYS_READ = "Web reads its keys when it starts: if they were changed since, restart it, and the next one is accepted."


def _other_keys(source: str, keys: Keys) -> Iterator[tuple[str, dict[str, str]]]:
    own = keys[source]
    if source == "box":
        yield (
            "It verifies with the two keys swapped: BOX_PRIMARY_KEY and BOX_SECONDARY_KEY stand in each other's place.",
            {"primary": own.get("secondary", ""), "secondary": own.get("primary", "")},
        )
    for other, its_keys in keys.items():
        for key in its_keys.values() if other != source else ():
            says = f"It verifies with a key that is set for {_PROVIDERS[other]}: it belongs into {_SETTINGS[source]}."
            yield says, dict.fromkeys(("primary", "secondary") if source == "box" else ("secret",), key)
    for says, mend in _SPOILT_KEYS:
        yield says, {slot: mend(key) for slot, key in own.items()}


_SPOILT_KEYS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("It verifies with the key without its spaces: take them out of the setting.", str.strip),
    ("It verifies with the key without its quotes: take them out of the setting.", lambda key: key.strip("\"'")),
    ("It was signed with the key and a line break after it: take that out where it is signed.", lambda key: key + "\n"),
    ("It was signed with the key and a space after it: take that out where it is signed.", lambda key: key + " "),
)


def _other_headers(delivery: Delivery) -> Iterator[tuple[str, Headers]]:
    names = _SIGNATURES[delivery.source]
    for says, mend in _SPOILT_SIGNATURES[delivery.source]:
        yield f"It would match {says}.", _with(delivery.headers, names, mend)
    timestamp = _TIMESTAMPS[delivery.source]
    for says, mend in _SPOILT_TIMESTAMPS[delivery.source]:
        yield f"It would match {says}: something rewrote {timestamp}.", _with(delivery.headers, (timestamp,), mend)
    yield (
        "It would match if a header that came twice had come once: something between joins or repeats headers.",
        _with(delivery.headers, (*names, timestamp), lambda value: value.split(",")[0].strip()),
    )


def _with(headers: Headers, names: tuple[str, ...], mend: Callable[[str], str]) -> Headers:
    wanted = {name.lower() for name in names}
    return Headers((name, mend(value) if name.lower() in wanted else value) for name, value in headers.pairs)


def _hex_to_base64(value: str) -> str:
    return base64.b64encode(_bytes_of(bytes.fromhex, value)).decode("ascii")


def _base64_to_hex(value: str) -> str:
    return _bytes_of(base64.b64decode, value).hex()


def _bytes_of(read: Callable[[str], bytes], value: str) -> bytes:
    try:
        return read(value)
    except (ValueError, binascii.Error):
        return b""


def _without_prefix(value: str) -> str:
    return re.sub(r"^(?i:sha256=|v1=)", "", value)


Mends = tuple[tuple[str, Callable[[str], str]], ...]

_SPOILT_SIGNATURES: Mapping[str, Mends] = {
    "box": (
        ('without the prefix before the signature (like "sha256=")', _without_prefix),
        ("if the signature were written in base64, as Box does, and not in hex", _hex_to_base64),
        ('if the signature had kept its "+": something reads headers as a form', lambda value: value.replace(" ", "+")),
        ('if the signature had kept its "=" at the end', lambda value: value + "="),
    ),
    "filestack": (
        ('without the prefix before the signature (like "sha256=")', _without_prefix),
        ("if the signature were written in lower-case letters", str.lower),
        ("if the signature were written in hex, as Filestack does, and not in base64", _base64_to_hex),
    ),
}
_OFFSET_WITHOUT_COLON = re.compile(r"([+-]\d\d)(\d\d)$", re.ASCII)
_SPOILT_TIMESTAMPS: Mapping[str, Mends] = {
    "box": (
        ("with a colon in the offset of the time", lambda value: _OFFSET_WITHOUT_COLON.sub(r"\1:\2", value)),
        ('if the time had kept its "+"', lambda value: re.sub(r" (\d\d:\d\d)$", r"+\1", value)),
        ('with "T" between date and time', lambda value: value.replace(" ", "T", 1)),
        ('with "Z" for UTC', lambda value: value.replace("+00:00", "Z")),
        ('with "+00:00" for UTC', lambda value: value.replace("Z", "+00:00")),
        ('with "-00:00" for UTC', lambda value: value.replace("+00:00", "-00:00")),
        ('with capitals in the time ("T" and "Z")', str.upper),
    ),
    "filestack": (
        ("with the time in seconds, not milliseconds", lambda value: re.sub(r"^(\d{10})\d{3}$", r"\1", value)),
        ("with the time without its quotes", lambda value: value.strip("\"'")),
        ("with the time in whole seconds", lambda value: value.partition(".")[0]),
    ),
}


def _other_bodies(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Give the body as it may have been before something rewrote it: first byte for byte, then as JSON."""
    yield r"`\/` were unescaped", body.replace(rb"\/", b"/")
    yield r"every `/` were written `\/`", body.replace(rb"\/", b"/").replace(b"/", rb"\/")
    yield "it had no line break or space at its end", body.rstrip()
    yield "it had no line break or space around it", body.strip()
    yield "it ended with a line break", body + b"\n"
    yield "it ended with a line break (CRLF)", body + b"\r\n"
    yield "its line breaks were LF and not CRLF", body.replace(b"\r\n", b"\n")
    yield "its line breaks were CRLF and not LF", body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    yield "it did not begin with a byte order mark", body.removeprefix(b"\xef\xbb\xbf")
    yield from _in_other_letters(body)
    brackets = body.count(b"[") + body.count(b"{")
    if len(body) <= MAX_REWRITTEN_BYTES and brackets <= MAX_REWRITTEN_BRACKETS:
        yield from _as_other_json(body)


def _in_other_letters(body: bytes) -> Iterator[tuple[str, bytes]]:
    for how, written, read in (
        ("it were UTF-8 written once and not twice", "latin-1", "utf-8"),
        ("it were Latin-1 and not UTF-8", "latin-1", "utf-8"),
        ("it were UTF-8 and not Latin-1", "utf-8", "latin-1"),
    ):
        try:
            yield how, body.decode(read).encode(written)
        except UnicodeError:
            continue


_SPACINGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("compact", {"separators": (",", ":")}),
    ("with a space after each comma and colon", {"separators": (", ", ": ")}),
    ("indented by two spaces", {"indent": 2}),
    ("indented by four spaces", {"indent": 4}),
    ("indented by tabs", {"indent": "\t"}),
)
_LETTERS = ((r"other letters than ASCII as `\uXXXX`", True), ("all letters as themselves", False))
_SLASHES = ((r"`/` as `\/`", r"\/"), ("`/` as itself", "/"))
_ORDERS = (("", False), (", its keys in alphabetical order", True))
_ENDS = (("", ""), (", with a line break at its end", "\n"))


def _as_other_json(body: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return
    for order, letters, spacing in product(_ORDERS, _LETTERS, _SPACINGS):
        try:
            text = json.dumps(value, sort_keys=order[1], ensure_ascii=letters[1], **spacing[1])
        except (ValueError, RecursionError):
            return
        for slash, end in product(_SLASHES, _ENDS):
            how = f"its JSON were written {spacing[0]}, {letters[0]}, {slash[0]}{order[0]}{end[0]}"
            yield how, (text.replace("/", slash[1]) + end[1]).encode("utf-8", "surrogatepass")


def _sentence(source: str, keys: Keys, reason: str) -> str:
    provider, timestamp = _PROVIDERS[source], _TIMESTAMPS[source]
    signature = " and ".join(_SIGNATURES[source])
    sentences: Mapping[str, str] = {
        Reason.SIGNATURE_MISSING: f"Refused: it carries no signature. {provider} signs with {signature}.",
        Reason.SIGNATURE_MALFORMED: f"Refused: what stands in {signature} cannot be a signature of {provider}.",
        Reason.SIGNATURE_MISMATCH: f"Refused: the signature {_matches_none_of(len(keys.get(source, {})))}.",
        Reason.TIMESTAMP_MISSING: f"Refused: {timestamp} did not come, and the time is part of what is signed.",
        Reason.TIMESTAMP_MALFORMED: f"Refused: what stands in {timestamp} is not a time as {provider} writes it.",
        Reason.TIMESTAMP_STALE: "Refused: the signature is right, but it was signed too long before it arrived.",
        Reason.TIMESTAMP_IN_FUTURE: "Refused: the signature is right, but it was signed ahead of the clock here.",
        Reason.VERSION_UNSUPPORTED: "Refused: it is signed by a version of Box's signatures that is not known here.",
        Reason.ALGORITHM_UNSUPPORTED: "Refused: it is signed by an algorithm other than HmacSHA256.",
        Reason.HEADER_CONFLICT: "Refused: a header that is part of the signature came twice with different values.",
    }
    return sentences.get(reason, "Refused: the signature did not verify.")


def _matches_none_of(count: int) -> str:
    if count == 0:
        return "matches no key, because none is set now"
    return (
        "does not match the one key that is set"
        if count == 1
        else f"matches none of the {'two' if count == 2 else count} keys"
    )


def _mend(source: str, reason: str) -> str:
    portal, settings, timestamp = _PORTAL[source], _SETTINGS[source], _TIMESTAMPS[source]
    mends: Mapping[str, str] = {
        Reason.SIGNATURE_MISSING: f"Generate a key in {portal}, set {settings}. {_RESTART} Or was it sent by others?",
        Reason.SIGNATURE_MALFORMED: "See whether a proxy or relay rewrites headers, or what else sent it.",
        Reason.SIGNATURE_MISMATCH: f"Check {settings} against {portal}, and that nothing rewrites bodies. {_RESTART}",
        Reason.TIMESTAMP_MISSING: f"See whether a proxy or relay drops {timestamp}.",
        Reason.TIMESTAMP_MALFORMED: f"See whether a proxy or relay rewrites {timestamp}.",
        Reason.TIMESTAMP_STALE: f"See what held it up, or set the clock here right. The limit: {_AGES[source]}.",
        Reason.TIMESTAMP_IN_FUTURE: "Set the clock of this machine right (NTP). The limit: CLOCK_SKEW_SECONDS.",
        Reason.VERSION_UNSUPPORTED: "See whether Box announced new signatures and Signalbox is out of date.",
        Reason.ALGORITHM_UNSUPPORTED: "See whether Box announced a new algorithm and Signalbox is out of date.",
        Reason.HEADER_CONFLICT: "See whether a proxy or relay adds headers of its own, or whether somebody tampers.",
    }
    return mends.get(reason, f"Check {settings} against {portal}. {_RESTART}")
