"""Why a delivery was refused, in words."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.events import Delivery, Headers, Reason, Refused, Verified
from receiver.inbox.diagnosis import Diagnosis, diagnose, verify_now
from receiver.settings import SETTINGS
from receiver.sources import SOURCES, samples
from tests.installation import BOX_KEYS, FILESTACK_KEYS, KEYS

AT = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
AGES = {"max_age": timedelta(minutes=10), "max_skew": timedelta(minutes=1)}
Changes = dict[str, Callable[[str], str]]
NAMES = {"box": "FILE.UPLOADED", "filestack": "fp.upload"}


def came(source: str = "box", *, body: Callable[[bytes], bytes] = bytes, headers: Changes | None = None) -> Delivery:
    """Give a signed delivery that something changed on the way: its body, or header lines by name."""
    payload = samples.sample(source, NAMES[source], at=AT, number=7)
    if source == "box":
        payload["source"]["name"] = "Plan für Gleis 9/10 🚦.pdf"
    signed, lines = samples.forge(source, payload, KEYS[source], at=AT)
    lines = [(name, (headers or {}).get(name, str)(value)) for name, value in lines]
    return Delivery(source=source, body=body(signed), headers=Headers(lines), received_at=AT)


def diagnosed(delivery: Delivery, keys: Any = KEYS) -> Diagnosis:
    verdict = verify_now(delivery, keys, **AGES)
    reason = verdict.reason if isinstance(verdict, Refused) else Reason.SIGNATURE_MISMATCH
    return diagnose(delivery, keys, reason)


def rewritten(**options: Any) -> Callable[[bytes], bytes]:
    return lambda body: json.dumps(json.loads(body), **options).encode()


REWRITTEN: dict[str, Callable[[bytes], bytes]] = {
    "parsed and written again": rewritten(),
    "written again with letters as themselves": rewritten(ensure_ascii=False, separators=(",", ":")),
    "indented": rewritten(indent=2),
    "without backslashes": lambda body: body.replace(rb"\/", b"/"),
    "with a line break after it": lambda body: body + b"\n",
    "with CRLF after it": lambda body: body + b"\r\n",
    "with a byte order mark": lambda body: b"\xef\xbb\xbf" + body,
    "with spaces around it": lambda body: b"  " + body + b" ",
}


@pytest.mark.parametrize("source", ["box", "filestack"])
@pytest.mark.parametrize("how", REWRITTEN)
def test_a_body_that_was_rewritten_is_recognised(source: str, how: str) -> None:
    delivery = came(source, body=REWRITTEN[how])
    if isinstance(verify_now(delivery, KEYS, **AGES), Verified):
        return
    found = diagnosed(delivery)
    provider = {"box": "Box", "filestack": "Filestack"}[source]
    assert found.finding is not None
    assert found.finding.startswith("It would match if ")
    assert f"something between {provider} and here rewrote the body" in found.finding


def test_slashes_that_lost_their_backslash_are_named() -> None:
    found = diagnosed(came(body=lambda body: body.replace(rb"\/", b"/")))
    assert found.sentence == "Refused: the signature matches none of the two keys."
    assert found.finding is not None
    assert r"every `/` were written `\/`" in found.finding


def test_slashes_that_got_a_backslash_are_named() -> None:
    found = diagnosed(came("filestack", body=lambda body: body.replace(b"/", rb"\/")))
    assert found.finding is not None
    assert r"It would match if `\/` were unescaped: something between Filestack" in found.finding


def test_a_body_that_nothing_explains_has_no_finding() -> None:
    found = diagnosed(came(body=samples.tampered))
    assert found.finding is None
    assert "BOX_PRIMARY_KEY" in found.mend


def test_keys_that_stand_in_each_others_place_are_recognised() -> None:
    swapped = {"primary": BOX_KEYS["secondary"], "secondary": BOX_KEYS["primary"]}
    found = diagnosed(came(), {"box": swapped, "filestack": FILESTACK_KEYS})
    assert found.finding is not None
    assert "swapped" in found.finding


@pytest.mark.parametrize(("source", "other"), [("box", "filestack"), ("filestack", "box")])
def test_a_key_that_is_set_for_the_other_source_is_recognised(source: str, other: str) -> None:
    keys = {source: {"primary": "x", "secret 1": "y"}, other: {"primary": next(iter(KEYS[source].values()))}}
    found = diagnosed(came(source), keys)
    assert found.finding is not None
    assert "a key that is set for" in found.finding


def test_a_key_in_quotes_is_recognised() -> None:
    keys = {"box": {"primary": f'"{BOX_KEYS["primary"]}"'}, "filestack": {}}
    found = diagnosed(came(), keys)
    assert found.finding is not None
    assert "quotes" in found.finding
    assert found.sentence == "Refused: the signature does not match the one key that is set."


def test_a_key_that_was_set_since_is_recognised() -> None:
    found = diagnose(came(), KEYS, Reason.SIGNATURE_MISMATCH)
    assert found.finding is not None
    assert "keys that are set now" in found.finding
    assert "restart it, and the next one is accepted" in found.mend


@pytest.mark.parametrize("reason", ["signature_missing", "signature_mismatch", "a reason of a later release"])
def test_a_mend_that_names_a_key_says_that_web_has_to_start_anew(reason: str) -> None:
    assert "restart it" in diagnose(came(body=samples.tampered), KEYS, reason).mend


@pytest.mark.parametrize("source", ["box", "filestack"])
@pytest.mark.parametrize("reason", Reason)
def test_every_setting_that_it_names_exists(source: str, reason: Reason) -> None:
    found = diagnose(came(source, body=samples.tampered), KEYS, reason)
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", f"{found.sentence} {found.mend}"))
    assert named <= {setting.name for setting in SETTINGS}


@pytest.mark.parametrize("reason", Reason)
def test_only_a_mismatch_leaves_something_to_explain(reason: Reason) -> None:
    found = diagnose(came(body=samples.tampered), KEYS, reason)
    assert found.is_unexplained == (reason is Reason.SIGNATURE_MISMATCH)


HEADERS: dict[str, tuple[str, Changes]] = {
    "an offset without its colon": ("colon", {"BOX-DELIVERY-TIMESTAMP": lambda value: "".join(value.rsplit(":", 1))}),
    "a space in place of T": ('"T"', {"BOX-DELIVERY-TIMESTAMP": lambda value: value.replace("T", " ")}),
    "a prefix": (
        "prefix",
        {name: lambda value: f"sha256={value}" for name in ("BOX-SIGNATURE-PRIMARY", "BOX-SIGNATURE-SECONDARY")},
    ),
    "a secret's prefix": ("prefix", {"FS-Signature": lambda value: f"sha256={value}"}),
    "capitals": ("lower-case", {"FS-Signature": str.upper}),
    "milliseconds": ("in seconds", {"FS-Timestamp": lambda value: f"{value}000"}),
    "a timestamp twice": ("twice", {"FS-Timestamp": lambda value: f"{value}, 1"}),
}


@pytest.mark.parametrize("how", HEADERS)
def test_a_header_that_was_rewritten_is_recognised(how: str) -> None:
    word, changed = HEADERS[how]
    found = diagnosed(came("filestack" if any("FS-" in name for name in changed) else "box", headers=changed))
    assert found.finding is not None
    assert word in found.finding


def test_what_is_stale_is_said_to_be_signed_right() -> None:
    delivery = came()
    late = Delivery(source="box", body=delivery.body, headers=delivery.headers, received_at=AT + timedelta(minutes=11))
    found = diagnosed(late)
    assert "signature is right" in found.sentence
    assert "BOX_MAX_AGE" in found.mend
    assert found.finding is None


def test_the_age_is_judged_at_the_time_that_it_came() -> None:
    assert isinstance(verify_now(came(), KEYS, **AGES), Verified)


def test_a_source_without_a_key_is_said_to_have_none() -> None:
    found = diagnose(came(), {"box": {}, "filestack": {}}, Reason.SIGNATURE_MISMATCH)
    assert "none is set now" in found.sentence
    assert found.finding is None


@pytest.mark.parametrize("source", ["box", "filestack"])
@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_sentence_and_a_mend(source: str, reason: Reason) -> None:
    found = diagnose(came(source, body=samples.tampered), KEYS, reason)
    assert found.sentence.startswith("Refused: ")
    assert found.sentence.endswith(".")
    assert found.mend.endswith((".", "?"))
    assert reason.value not in found.sentence + found.mend


def test_others_get_their_turn_between_two_tries() -> None:
    paused: list[None] = []
    diagnose(came(body=samples.tampered), KEYS, Reason.SIGNATURE_MISMATCH, pause=lambda: paused.append(None))
    assert len(paused) > 50


def test_a_very_long_body_is_not_written_anew_in_every_way() -> None:
    paused: list[None] = []
    delivery = came(body=lambda body: b'["' + b"x" * 1_000_000 + b'"]')
    diagnose(delivery, KEYS, Reason.SIGNATURE_MISMATCH, pause=lambda: paused.append(None))
    assert len(paused) < 50


SECRETS = [*BOX_KEYS.values(), *FILESTACK_KEYS.values()]
JUNK = st.text(st.characters(max_codepoint=255), max_size=80)
TIMES = st.sampled_from(["", AT.isoformat(), str(int(AT.timestamp())), "2026-05-04 12:00:00 00:00"])


@given(
    source=st.sampled_from(["box", "filestack"]),
    reason=st.sampled_from(Reason),
    body=st.binary(max_size=200) | st.sampled_from([b"[" * 20_000, b'{"a": 1e999}', b'{"a": "\\ud800/"}']),
    time=TIMES | JUNK,
    junk=JUNK,
    is_signed=st.booleans(),
)
def test_it_never_raises_and_never_shows_a_key_or_a_signature(
    source: str, reason: Reason, body: bytes, time: str, junk: str, is_signed: bool
) -> None:
    signed = SOURCES[source].sign(body, KEYS[source], at=AT)
    changed = {"box-delivery-timestamp": time, "fs-timestamp": time}
    if not is_signed:
        changed |= {"box-signature-primary": junk, "box-signature-secondary": junk, "fs-signature": junk}
    headers = Headers((name, changed.get(name.lower(), value)) for name, value in signed)
    delivery = Delivery(source=source, body=body, headers=headers, received_at=AT)
    found = diagnose(delivery, KEYS, reason)
    said = " ".join(filter(None, (found.sentence, found.finding, found.mend)))
    signatures = [value for name, value in signed if "signature" in name.lower() and len(value) > 20]
    assert not any(secret in said for secret in [*SECRETS, *signatures])
