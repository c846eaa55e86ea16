"""What is so for Filestack alone: its words, settings, headers, faults and the commands that sign as it does."""

import base64
import binascii
import re
from datetime import timedelta

from receiver.sources import filestack
from receiver.sources.filestack import samples
from receiver.sources.profile import Key, KeyWords, Payload, Profile, Signing


def _without_prefix(value: str) -> str:
    return re.sub(r"^(?i:sha256=|v1=)", "", value)


def _base64_to_hex(value: str) -> str:
    try:
        return base64.b64decode(value).hex()
    except (ValueError, binascii.Error):
        return ""


def _history(payload: Payload) -> dict[str, str]:
    text = payload.get("text")
    url = text.get("url") if isinstance(text, dict) else None
    handle = url.rpartition("/")[2] if isinstance(url, str) else ""
    return {"text.url": handle} if handle else {}


PROFILE = Profile(
    source=filestack,
    samples=samples,
    label="Filestack",
    short="Fs",
    named_by="action",
    example="fp.upload",
    aliases=frozenset({"fp.conversion"}),  # what Filestack itself writes fp.converse
    portal="the Filestack developer portal (Webhooks, the secret of this very webhook)",
    keys=(Key("FILESTACK_SECRETS", "secret", is_list=True),),
    key_words=KeyWords(verified="{slot} of FILESTACK_SECRETS", every="the first secret", single="the secret"),
    max_age_setting="FILESTACK_MAX_AGE_SECONDS",
    max_age=timedelta(days=1),
    signature_headers=(filestack.SIGNATURE_HEADER,),
    timestamp_header=filestack.TIMESTAMP_HEADER,
    spoilt_signatures=(
        ('without the prefix before the signature (like "sha256=")', _without_prefix),
        ("if the signature were written in lower-case letters", str.lower),
        ("if the signature were written in hex, as Filestack does, and not in base64", _base64_to_hex),
    ),
    spoilt_timestamps=(
        ("with the time in seconds, not milliseconds", lambda value: re.sub(r"^(\d{10})\d{3}$", r"\1", value)),
        ("with the time without its quotes", lambda value: value.strip("\"'")),
        ("with the time in whole seconds", lambda value: value.partition(".")[0]),
    ),
    # The same as `sign` of this source: tests/web/test_copy_as.py runs it, and lets `verify` judge.
    signing=Signing(
        bash="""  key=${FILESTACK_SECRETS:?set it as this Signalbox has it}
  key=${key%%,*}
  timestamp=$(date +%s)
  signature=$({ printf %s. "$timestamp"; body; } | openssl dgst -sha256 -hmac "$key" -binary"""
        r""" | od -An -v -tx1 | tr -d ' \n')""",
        bash_headers=(("FS-Timestamp", "$timestamp"), ("FS-Signature", "$signature")),
        python="""timestamp = str(int(datetime.now(UTC).timestamp()))
key = os.environ["FILESTACK_SECRETS"].split(",")[0].strip().encode()
signature = hmac.digest(key, timestamp.encode() + b"." + body, "sha256").hex()""",
        python_headers=(("FS-Timestamp", "timestamp"), ("FS-Signature", "signature")),
    ),
    history=_history,
)
