"""What is so for Box alone: its words, settings, headers, faults and the commands that sign as it does."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta

from receiver.events import Reason
from receiver.sources import box
from receiver.sources.box import samples
from receiver.sources.profile import HeaderFault, Key, KeyWords, Meaning, Payload, Profile, Signing

_OFFSET_WITHOUT_COLON = re.compile(r"([+-]\d\d)(\d\d)$", re.ASCII)


def _without_prefix(value: str) -> str:
    return re.sub(r"^(?i:sha256=|v1=)", "", value)


def _hex_to_base64(value: str) -> str:
    try:
        return base64.b64encode(bytes.fromhex(value)).decode("ascii")
    except (ValueError, binascii.Error):
        return ""


def _swapped(keys: Mapping[str, str]) -> Sequence[tuple[str, Mapping[str, str]]]:
    says = "It verifies with the two keys swapped: BOX_PRIMARY_KEY and BOX_SECONDARY_KEY stand in each other's place."
    return [(says, {"primary": keys.get("secondary", ""), "secondary": keys.get("primary", "")})]


def _history(payload: Payload) -> dict[str, str]:
    source = payload.get("source")
    file_id = source.get("id") if isinstance(source, dict) else None
    return {"source.id": file_id} if isinstance(file_id, str) else {}


PROFILE = Profile(
    source=box,
    samples=samples,
    label="Box",
    short="Box",
    named_by="trigger",
    example="FILE.UPLOADED",
    portal="the Box Developer Console (your application, Webhooks, Manage signature keys)",
    keys=(Key("BOX_PRIMARY_KEY", "primary"), Key("BOX_SECONDARY_KEY", "secondary")),
    key_words=KeyWords(
        verified="the {slot} key of Box",
        every="both keys, as Box does",
        single="the {slot} key",
        only="{slot} key only",
    ),
    max_age_setting="BOX_MAX_AGE_SECONDS",
    max_age=timedelta(minutes=10),
    signature_headers=tuple(box.SIGNATURE_HEADERS.values()),
    timestamp_header=box.TIMESTAMP_HEADER,
    delivery_header="BOX-DELIVERY-ID",
    meanings={
        Reason.VERSION_UNSUPPORTED: Meaning(
            "Refused: it is signed by a version of Box's signatures that is not known here.",
            "See whether Box announced new signatures and Signalbox is out of date.",
        ),
        Reason.ALGORITHM_UNSUPPORTED: Meaning(
            "Refused: it is signed by an algorithm other than HmacSHA256.",
            "See whether Box announced a new algorithm and Signalbox is out of date.",
        ),
    },
    spoilt_signatures=(
        ('without the prefix before the signature (like "sha256=")', _without_prefix),
        ("if the signature were written in base64, as Box does, and not in hex", _hex_to_base64),
        ('if the signature had kept its "+": something reads headers as a form', lambda value: value.replace(" ", "+")),
        ('if the signature had kept its "=" at the end', lambda value: value + "="),
    ),
    spoilt_timestamps=(
        ("with a colon in the offset of the time", lambda value: _OFFSET_WITHOUT_COLON.sub(r"\1:\2", value)),
        ('if the time had kept its "+"', lambda value: re.sub(r" (\d\d:\d\d)$", r"+\1", value)),
        ('with "T" between date and time', lambda value: value.replace(" ", "T", 1)),
        ('with "Z" for UTC', lambda value: value.replace("+00:00", "Z")),
        ('with "+00:00" for UTC', lambda value: value.replace("Z", "+00:00")),
        ('with "-00:00" for UTC', lambda value: value.replace("+00:00", "-00:00")),
        ('with capitals in the time ("T" and "Z")', str.upper),
    ),
    swapped=_swapped,
    faults={
        "version": HeaderFault("say signature version 2", Reason.VERSION_UNSUPPORTED, box.VERSION_HEADER, "2"),
        "algorithm": HeaderFault("say HmacSHA1", Reason.ALGORITHM_UNSUPPORTED, box.ALGORITHM_HEADER, "HmacSHA1"),
    },
    # The same as `sign` of this source: tests/web/test_copy_as.py runs it, and lets `verify` judge.
    signing=Signing(
        bash="""  key=${BOX_PRIMARY_KEY:?set it as this Signalbox has it}
  timestamp=$(date -u +%Y-%m-%dT%H:%M:%S+00:00)
  signature=$({ body; printf %s "$timestamp"; } | openssl dgst -sha256 -hmac "$key" -binary | openssl base64 -A)""",
        bash_headers=(
            ("BOX-DELIVERY-TIMESTAMP", "$timestamp"),
            ("BOX-SIGNATURE-PRIMARY", "$signature"),
            ("BOX-SIGNATURE-VERSION", "1"),
            ("BOX-SIGNATURE-ALGORITHM", "HmacSHA256"),
        ),
        python="""timestamp = datetime.now(UTC).isoformat(timespec="seconds")
mac = hmac.digest(os.environ["BOX_PRIMARY_KEY"].encode(), body + timestamp.encode(), "sha256")
signature = base64.b64encode(mac).decode()""",
        python_headers=(
            ("BOX-DELIVERY-TIMESTAMP", "timestamp"),
            ("BOX-SIGNATURE-PRIMARY", "signature"),
            ("BOX-SIGNATURE-VERSION", '"1"'),
            ("BOX-SIGNATURE-ALGORITHM", '"HmacSHA256"'),
        ),
        modules=("base64", "hmac"),
    ),
    history=_history,
)
