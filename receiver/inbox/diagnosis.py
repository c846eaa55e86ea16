"""Why a delivery was refused, in words: what each code means, what mends it, and what would have made it verify."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import product
from typing import Any

from receiver.events import Delivery, Headers, Reason, Refused, Unread, Verified
from receiver.sources import PROFILES, SOURCES, Profile

Keys = Mapping[str, Mapping[str, str]]

# Longer bodies are not written anew in every way there is: that would hold up the deliveries that arrive meanwhile.
MAX_REWRITTEN_BYTES = 256 * 1024
# Nor are those of more lists and objects: each may be indented, and the deeper the longer.
MAX_REWRITTEN_BRACKETS = 2_000

_ANY_AGE = timedelta(days=10**6)
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
    profile = PROFILES[delivery.source]
    sentence, mend = _meaning(profile, keys, reason)
    if not keys.get(delivery.source) or reason in (Reason.TIMESTAMP_STALE, Reason.TIMESTAMP_IN_FUTURE):
        return Diagnosis(sentence, None, mend)
    for one in _tries(delivery, keys, profile):
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
        "If it is genuine, correct the address where it is sent from: {hooks}.",
    ),
    Unread.METHOD_NOT_ALLOWED: (
        "Refused: deliveries are sent by POST.",
        "If it is a delivery, have it sent by POST. A browser or a monitor that looks here may look at /healthz.",
    ),
    Unread.REDIRECTED: (
        "Refused: the address was not written as it has to be.",
        "No provider follows a redirect. Write the address as {hooks}.",
    ),
    Unread.NOT_UNDERSTOOD: (
        "Refused: it could not be read as a request.",
        "See what sends it, and what the log of web says of that time.",
    ),
}


def refused_unread(source: str, reason: str) -> Diagnosis:
    """Say why a request was refused before anybody looked at its signature, and what mends it."""
    sentence, mend = UNREAD[reason]
    profile = PROFILES.get(source)
    settings = _settings(profile) if profile else "its key"
    return Diagnosis(
        sentence, None, mend.format(settings=settings, hooks=" or ".join(f"/hooks/{name}" for name in SOURCES))
    )


def _settings(profile: Profile) -> str:
    return " and ".join(profile.settings)


def verify_now(delivery: Delivery, keys: Keys, *, max_age: timedelta, max_skew: timedelta) -> Verified | Refused:
    """Verify a kept delivery with the keys of today; its age is judged at the time that it was received at."""
    source = SOURCES[delivery.source]
    return source.verify(delivery, keys.get(delivery.source, {}), max_age=max_age, max_skew=max_skew)


def _would_verify(one: _Try) -> bool:
    verdict = SOURCES[one.delivery.source].verify(one.delivery, one.keys, max_age=_ANY_AGE, max_skew=_ANY_AGE)
    return isinstance(verdict, Verified)


def _tries(delivery: Delivery, keys: Keys, profile: Profile) -> Iterator[_Try]:
    """Give what commonly goes wrong, the most common first: the keys, the headers, the body."""
    own = keys[delivery.source]
    yield _Try(_KEYS_CHANGED, _KEYS_READ, delivery, own)
    for says, changed_keys in _other_keys(profile, keys):
        yield _Try(says, "Then start Signalbox anew and verify this one again.", delivery, changed_keys)
    for says, headers in _other_headers(delivery, profile):
        mend = "The keys are right. Have what stands between pass the headers on as they came."
        yield _Try(says, mend, replace(delivery, headers=headers), own)
    for how, body in _other_bodies(delivery.body):
        says = f"It would match if {how}: something between {profile.label} and here rewrote the body."
        mend = "The keys are right. Have what stands between pass the body on byte for byte."
        yield _Try(says, mend, replace(delivery, body=body), own)


_KEYS_CHANGED = "It verifies with the keys that are set now: web had others, or none, when it arrived."
_KEYS_READ = "Web reads its keys when it starts: if they were changed since, restart it, and the next one is accepted."


def _other_keys(profile: Profile, keys: Keys) -> Iterator[tuple[str, Mapping[str, str]]]:
    own = keys[profile.name]
    yield from profile.swapped(own)
    for other, its_keys in keys.items():
        for key in its_keys.values() if other != profile.name else ():
            label = PROFILES[other].label
            says = f"It verifies with a key that is set for {label}: it belongs into {_settings(profile)}."
            yield says, profile.key_in_all_slots(key)
    for says, mend in _SPOILT_KEYS:
        yield says, {slot: mend(key) for slot, key in own.items()}


_SPOILT_KEYS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("It verifies with the key without its spaces: take them out of the setting.", str.strip),
    ("It verifies with the key without its quotes: take them out of the setting.", lambda key: key.strip("\"'")),
    ("It was signed with the key and a line break after it: take that out where it is signed.", lambda key: key + "\n"),
    ("It was signed with the key and a space after it: take that out where it is signed.", lambda key: key + " "),
)


def _other_headers(delivery: Delivery, profile: Profile) -> Iterator[tuple[str, Headers]]:
    names, timestamp = profile.signature_headers, profile.timestamp_header
    for says, mend in profile.spoilt_signatures:
        yield f"It would match {says}.", _with(delivery.headers, names, mend)
    for says, mend in profile.spoilt_timestamps:
        yield f"It would match {says}: something rewrote {timestamp}.", _with(delivery.headers, (timestamp,), mend)
    yield (
        "It would match if a header that came twice had come once: something between joins or repeats headers.",
        _with(delivery.headers, (*names, timestamp), lambda value: value.split(",")[0].strip()),
    )


def _with(headers: Headers, names: Sequence[str], mend: Callable[[str], str]) -> Headers:
    wanted = {name.lower() for name in names}
    return Headers((name, mend(value) if name.lower() in wanted else value) for name, value in headers.pairs)


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


def _meaning(profile: Profile, keys: Keys, reason: str) -> tuple[str, str]:
    """Return what a reason means and what fixes it: what the profile says, or else what holds for every source."""
    own = {str(one): meaning for one, meaning in profile.meanings.items()}
    if reason in own:
        return own[reason].sentence, own[reason].mend
    return _sentence(profile, len(keys.get(profile.name, {})), reason), _mend(profile, reason)


def _sentence(profile: Profile, keys: int, reason: str) -> str:
    provider, timestamp, signature = profile.label, profile.timestamp_header, " and ".join(profile.signature_headers)
    sentences: Mapping[str, str] = {
        Reason.SIGNATURE_MISSING: f"Refused: it carries no signature. {provider} signs with {signature}.",
        Reason.SIGNATURE_MALFORMED: f"Refused: what stands in {signature} cannot be a signature of {provider}.",
        Reason.SIGNATURE_MISMATCH: f"Refused: the signature {_matches_none_of(keys)}.",
        Reason.TIMESTAMP_MISSING: f"Refused: {timestamp} did not come, and the time is part of what is signed.",
        Reason.TIMESTAMP_MALFORMED: f"Refused: what stands in {timestamp} is not a time as {provider} writes it.",
        Reason.TIMESTAMP_STALE: "Refused: the signature is right, but it was signed too long before it arrived.",
        Reason.TIMESTAMP_IN_FUTURE: "Refused: the signature is right, but it was signed ahead of the clock here.",
        Reason.VERSION_UNSUPPORTED: f"Refused: it is signed by a version of {provider}'s signatures not known here.",
        Reason.ALGORITHM_UNSUPPORTED: f"Refused: it is signed by an algorithm that {provider} is not known to use.",
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


def _mend(profile: Profile, reason: str) -> str:
    portal, settings, timestamp = profile.portal, _settings(profile), profile.timestamp_header
    provider, limit = profile.label, profile.max_age_setting
    mends: Mapping[str, str] = {
        Reason.SIGNATURE_MISSING: f"Generate a key in {portal}, set {settings}. {_RESTART} Or was it sent by others?",
        Reason.SIGNATURE_MALFORMED: "See whether a proxy or relay rewrites headers, or what else sent it.",
        Reason.SIGNATURE_MISMATCH: f"Check {settings} against {portal}, and that nothing rewrites bodies. {_RESTART}",
        Reason.TIMESTAMP_MISSING: f"See whether a proxy or relay drops {timestamp}.",
        Reason.TIMESTAMP_MALFORMED: f"See whether a proxy or relay rewrites {timestamp}.",
        Reason.TIMESTAMP_STALE: f"See what held it up, or set the clock here right. The limit: {limit}.",
        Reason.TIMESTAMP_IN_FUTURE: "Set the clock of this machine right (NTP). The limit: CLOCK_SKEW_SECONDS.",
        Reason.VERSION_UNSUPPORTED: f"See whether {provider} announced new signatures and Signalbox is out of date.",
        Reason.ALGORITHM_UNSUPPORTED: f"See whether {provider} announced a new algorithm and Signalbox is out of date.",
        Reason.HEADER_CONFLICT: "See whether a proxy or relay adds headers of its own, or whether somebody tampers.",
    }
    return mends.get(reason, f"Check {settings} against {portal}. {_RESTART}")
