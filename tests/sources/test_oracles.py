"""Our verifiers against the official SDKs: they accept what we sign, and where verdicts differ the SDK is at fault."""

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest
from box_sdk_gen.internal.utils import escape_unicode
from box_sdk_gen.managers import webhooks as box_sdk
from filestack.helpers import verify_webhook_signature

from receiver.events import Delivery, Headers, Refused, Verified
from receiver.sources import SOURCES, box, filestack, samples, wire

NOW = datetime(2026, 5, 4, 12, 0, 0, 400_000, tzinfo=UTC)
SKEW = timedelta(seconds=60)
MAX_AGE = {"box": timedelta(minutes=10), "filestack": timedelta(hours=24)}
KEYS = {"box": {"primary": "key"}, "filestack": {"secret 1": "key"}}
CASES = 2000


@dataclass(frozen=True)
class Case:
    """One delivery, and the keys that its receiver has."""

    source: str
    body: bytes
    headers: Mapping[str, str]
    keys: Mapping[str, str]

    def value(self, name: str) -> str:
        return Headers(self.headers.items()).get(name, "")

    def sent_at(self) -> datetime | None:
        if self.source == "box":
            return wire.rfc3339(self.value("box-delivery-timestamp"))
        return wire.unix_time(self.value("fs-timestamp"))

    def age(self) -> timedelta:
        sent_at = self.sent_at()
        return NOW.replace(microsecond=0) - sent_at.replace(microsecond=0) if sent_at else timedelta(0)


def ours(case: Case) -> Verified | Refused:
    delivery = Delivery(source=case.source, body=case.body, headers=Headers(case.headers.items()), received_at=NOW)
    return SOURCES[case.source].verify(delivery, case.keys, max_age=MAX_AGE[case.source], max_skew=SKEW)


def our_verdict(case: Case) -> str:
    return "accepted" if isinstance(ours(case), Verified) else "refused"


def sdk_verdict(case: Case) -> str:
    try:
        accepted = ask_box(case) if case.source == "box" else ask_filestack(case)
    except (AttributeError, TypeError, ValueError):
        return "raises"
    return "accepted" if accepted else "refused"


def ask_box(case: Case) -> bool:
    body: Any = case.body if _is_not_utf8(case) else case.body.decode()
    primary: Any = case.keys.get("primary")
    return box_sdk.WebhooksManager.validate_message(
        body, dict(case.headers), primary, secondary_key=case.keys.get("secondary")
    )


def ask_filestack(case: Case) -> bool:
    return any(verify_webhook_signature(key, case.body, dict(case.headers))[0] for key in case.keys.values())


@pytest.fixture(autouse=True)
def _sdk_on_our_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box_sdk, "get_epoch_time_in_seconds", lambda: int(NOW.timestamp()))


def signed(source: str, body: bytes, keys: Mapping[str, str] | None = None, *, age: int = 0) -> Case:
    keys = KEYS[source] if keys is None else keys
    lines = SOURCES[source].sign(body, keys, at=NOW - timedelta(seconds=age))
    return Case(source, body, {name.lower(): value for name, value in lines}, dict(keys))


def with_headers(case: Case, changed: Mapping[str, str]) -> Case:
    return replace(case, headers={**case.headers, **changed})


def respelled(case: Case, spell: Callable[[str], str]) -> Case:
    return replace(case, headers={spell(name): value for name, value in case.headers.items()})


def signed_by_hand(source: str, timestamp: str, key: str = "key") -> Case:
    """Sign `{}` with any timestamp and any key, also those that our own signer would not use."""
    if source == "box":
        signature = box._signature(key, b"{}" + timestamp.encode()).decode()
        headers = {"box-delivery-timestamp": timestamp, "box-signature-primary": signature}
        return replace(with_headers(signed("box", b"{}"), headers), keys={"primary": key})
    signature = filestack._signature(key, f"{timestamp}.{{}}".encode()).decode()
    return Case("filestack", b"{}", {"fs-timestamp": timestamp, "fs-signature": signature}, {"secret 1": key})


# The faults: which verdicts of the SDKs we do not share, why, when, and an example.


@dataclass(frozen=True)
class Fault:
    name: str
    why: str
    sdk: str
    applies: Callable[[Case], bool]
    example: Case


def _is_not_utf8(case: Case) -> bool:
    try:
        case.body.decode()
    except UnicodeDecodeError:
        return True
    return False


def _came_twice(case: Case) -> bool:
    return any(re.fullmatch(r"(.+), \1", value) for value in case.headers.values())


def _in_capitals(case: Case) -> bool:
    return any(name != name.lower() for name in case.headers)


BOX_FAULTS = [
    Fault(
        "a clock a little ahead",
        "refuses what was signed one second ahead of its own clock: no two machines can promise that",
        "refused",
        lambda case: -SKEW <= case.age() < timedelta(0),
        signed("box", b"{}", age=-5),
    ),
    Fault(
        "a rewritten body",
        "accepts bytes that nobody signed, if what they look like when escaped was signed",
        "accepted",
        lambda case: escape_unicode(case.body.decode()).encode() != case.body,
        replace(signed("box", rb'{"name":"\u00e9"}'), body='{"name":"é"}'.encode()),
    ),
    Fault(
        "no timestamp",
        "raises AttributeError",
        "raises",
        lambda case: not case.value("box-delivery-timestamp"),
        Case("box", b"{}", {"box-signature-version": "1"}, KEYS["box"]),
    ),
    Fault(
        "an unreadable timestamp",
        "raises ValueError",
        "raises",
        lambda case: case.sent_at() is None,
        signed_by_hand("box", "yesterday"),
    ),
    Fault(
        "a timestamp without an offset",
        "takes it for local time, so that the age depends on where the receiver stands",
        "accepted",
        lambda case: case.sent_at() is None,
        signed_by_hand("box", NOW.astimezone().replace(tzinfo=None).isoformat(timespec="seconds")),
    ),
    Fault(
        "header names in capitals",
        "raises AttributeError: it finds lower-case names only, though HTTP's names have no case",
        "raises",
        _in_capitals,
        respelled(signed("box", b"{}"), str.title),
    ),
    Fault(
        "a signature's name in capitals",
        "does not find it, for the same reason",
        "refused",
        _in_capitals,
        respelled(signed("box", b"{}"), lambda name: name.upper() if "primary" in name else name),
    ),
    Fault(
        "a signature that is not ASCII",
        "raises TypeError, and does not look at the other signature, which may be right",
        "raises",
        lambda case: not (case.value("box-signature-primary") + case.value("box-signature-secondary")).isascii(),
        with_headers(signed("box", b"{}", {"primary": "a", "secondary": "b"}), {"box-signature-primary": "é" * 44}),
    ),
    Fault(
        "an empty key",
        "takes it for a key, so that anybody can sign",
        "accepted",
        lambda case: "" in case.keys.values(),
        signed_by_hand("box", "2026-05-04T12:00:00+00:00", key=""),
    ),
    Fault(
        "a body that is not UTF-8",
        "takes text only, though bodies are bytes",
        "raises",
        _is_not_utf8,
        signed("box", b"\xff"),
    ),
    Fault(
        "a header that came twice, the same",
        "refuses the two values as the server joins them, though nothing in them is ambiguous",
        "refused",
        _came_twice,
        with_headers(signed("box", b"{}"), {"box-signature-version": "1, 1"}),
    ),
]
FILESTACK_FAULTS = [
    Fault(
        "any age",
        "has no window: a delivery that was overheard once verifies for ever",
        "accepted",
        lambda case: not -SKEW <= case.age() <= MAX_AGE["filestack"],
        signed("filestack", b"{}", age=365 * 86400),
    ),
    Fault(
        "a timestamp that is no time",
        "never reads it",
        "accepted",
        lambda case: case.sent_at() is None,
        signed_by_hand("filestack", "soon"),
    ),
    Fault(
        "a body that is not UTF-8",
        "raises UnicodeDecodeError",
        "raises",
        _is_not_utf8,
        signed("filestack", b"\xff"),
    ),
    Fault(
        "a header that came twice, the same",
        "refuses the two values as the server joins them, though nothing in them is ambiguous",
        "refused",
        _came_twice,
        with_headers(signed("filestack", b"{}"), {"fs-timestamp": f"{int(NOW.timestamp())}, {int(NOW.timestamp())}"}),
    ),
]
FAULTS = {"box": BOX_FAULTS, "filestack": FILESTACK_FAULTS}


# Random cases: a signed delivery, and then none, one or two things done to it.

TEXTS = ["a/b", "\\/", "\\u00e9", "é", "日本", "🚂", "\r\n\t", '"', "\\", "\x7f", "{}", "x" * 300]
KEY_TEXTS = ["key", "Schlüssel", "鍵 with spaces", "k" * 200, " "]


def random_case(source: str, rng: random.Random) -> Case:
    body = "".join(rng.choices(TEXTS, k=rng.randrange(6))).encode()
    if rng.random() < 0.1:
        body += rng.randbytes(8)
    slots = ["primary", "secondary"] if source == "box" else ["secret 1", "secret 2"]
    keys = {slot: rng.choice(KEY_TEXTS) for slot in slots[: rng.choice([1, 2])]}
    limit = int(MAX_AGE[source].total_seconds())
    age = rng.choice([0, 1, 30, limit - 1, limit, limit + 1, -1, -60, -61, rng.randrange(-200, 2 * limit)])
    case = signed(source, body, keys, age=age)
    for change in rng.sample(CHANGES, rng.choice([0, 0, 1, 1, 2])):
        case = change(case, rng)
    return case


def _drop_a_header(case: Case, rng: random.Random) -> Case:
    gone = rng.choice(sorted(case.headers))
    return replace(case, headers={name: value for name, value in case.headers.items() if name != gone})


def _respell(case: Case, rng: random.Random) -> Case:
    return respelled(case, rng.choice([str.title, str.upper]))


def _alter_a_header(case: Case, rng: random.Random) -> Case:
    name = rng.choice(sorted(case.headers))
    value = case.headers[name]
    place = rng.randrange(len(value) + 1)
    altered = value[:place] + rng.choice("0Aa+ =é,") + value[place + 1 :]
    return with_headers(case, {name: rng.choice([altered, altered, f"{value}=", value[:-1], "", value + value])})


def _repeat_a_header(case: Case, rng: random.Random) -> Case:
    name = rng.choice(sorted(case.headers))
    return with_headers(case, {name: f"{case.headers[name]}, {case.headers[name]}"})


def _swap_the_signatures(case: Case, rng: random.Random) -> Case:
    swapped = {"primary": "secondary", "secondary": "primary"}
    return respelled(case, lambda name: re.sub("primary|secondary", lambda found: swapped[found[0]], name))


def _alter_the_body(case: Case, rng: random.Random) -> Case:
    return replace(case, body=rng.choice(_altered_bodies(case.body)))


def _altered_bodies(body: bytes) -> list[bytes]:
    return [body + b" ", body[:-1], samples.tampered(body), body.replace(rb"\u00e9", "é".encode())]


def _change_a_key(case: Case, rng: random.Random) -> Case:
    slot = rng.choice(sorted(case.keys) or sorted(KEYS[case.source]))
    return replace(case, keys={**case.keys, slot: rng.choice(["another", ""])})


def _forget_a_key(case: Case, rng: random.Random) -> Case:
    return replace(case, keys=dict(rng.sample(sorted(case.keys.items()), len(case.keys) - 1)))


CHANGES = [
    _drop_a_header,
    _respell,
    _alter_a_header,
    _repeat_a_header,
    _swap_the_signatures,
    _alter_the_body,
    _change_a_key,
    _forget_a_key,
]


@pytest.mark.parametrize("source", SOURCES)
def test_our_verdict_is_the_sdks_but_for_its_written_faults(source: str) -> None:
    rng = random.Random(f"Signalbox {source}")
    agreed: Counter[str] = Counter()
    for case in (random_case(source, rng) for _ in range(CASES)):
        sdk = sdk_verdict(case)
        if sdk == our_verdict(case):
            agreed[sdk] += 1
        else:
            assert any(fault.sdk == sdk and fault.applies(case) for fault in FAULTS[source]), (sdk, ours(case), case)
    assert agreed["accepted"] > CASES / 8
    assert agreed["refused"] > CASES / 8


@pytest.mark.parametrize(
    ("source", "fault"),
    [pytest.param(source, fault, id=f"{source}: {fault.name}") for source in SOURCES for fault in FAULTS[source]],
)
def test_the_sdk_has_this_fault_and_we_do_not(source: str, fault: Fault) -> None:
    assert sdk_verdict(fault.example) == fault.sdk
    assert our_verdict(fault.example) != fault.sdk
    assert fault.applies(fault.example)


@pytest.mark.parametrize(("source", "name"), [(source, name) for source in SOURCES for name in samples.names(source)])
def test_the_sdk_accepts_every_sample_that_we_sign(source: str, name: str) -> None:
    body, lines = samples.forge(source, name, KEYS[source], at=NOW, number=1)
    case = Case(source, body, {header.lower(): value for header, value in lines}, KEYS[source])
    assert sdk_verdict(case) == "accepted"


def test_the_sdk_of_filestack_tells_anybody_the_right_signature_and_we_do_not() -> None:
    case = signed("filestack", b"{}")
    right = case.headers["fs-signature"]
    forged = with_headers(case, {"fs-signature": "0" * 64})
    assert right in verify_webhook_signature("key", b"{}", dict(forged.headers))[1]["error"]
    assert right not in repr(ours(forged))


def test_the_sdk_of_filestack_gives_a_tuple_which_is_true_whatever_it_holds() -> None:
    assert verify_webhook_signature("key", b"{}", {"fs-signature": "0", "fs-timestamp": "0"})


def test_the_sdk_of_filestack_refuses_headers_that_are_not_a_dict() -> None:
    case = signed("filestack", b"{}")
    assert not verify_webhook_signature("key", b"{}", MappingProxyType(dict(case.headers)))[0]
    assert our_verdict(case) == "accepted"
