"""`signalbox rejected` and `signalbox quarantine`: why, and every byte."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from flask import Flask

from receiver import service
from receiver.events import Delivery, Headers, Reason, Refused, Verified
from receiver.humanize import hex_lines
from receiver.inbox.refusals import BEGINNING
from receiver.inbox.rows import Inbox
from receiver.sources import samples
from tests.cli.conftest import Signalbox
from tests.installation import KEYS

BODY = b'{"\xff": \x00\x1b[31m}\r\n'

Put = Callable[..., str]


def came(body: bytes) -> Delivery:
    headers = Headers([("Authorization", "Bearer secret"), ("X-Nasty", "\x9b31m")])
    return Delivery(source="box", body=body, headers=headers, received_at=datetime.now(UTC))


def reject(inbox: Inbox, body: bytes = BODY) -> str:
    return inbox.reject(came(body), Refused(Reason.SIGNATURE_MISMATCH, "No key matches."))


def quarantine(inbox: Inbox, body: bytes = BODY) -> str:
    return inbox.quarantine(came(body), Verified("primary"), {"body": ["Not UTF-8."]})


both = pytest.mark.parametrize(("command", "put"), [("rejected", reject), ("quarantine", quarantine)])


def test_what_was_rejected_is_listed_with_its_reason(signalbox: Signalbox, inbox: Inbox) -> None:
    kept = reject(inbox)
    assert signalbox("rejected", "list").stdout.split()[-4:] == [kept, "box", "signature_mismatch", str(len(BODY))]


def test_what_was_rejected_is_listed_by_its_reason(signalbox: Signalbox, inbox: Inbox) -> None:
    kept = reject(inbox)
    inbox.reject(came(BODY), Refused(Reason.TIMESTAMP_STALE, "Signed too long ago."))
    page = json.loads(signalbox("rejected", "list", "--reason", "signature_mismatch", "--json").stdout)
    assert [item["id"] for item in page["items"]] == [kept]
    none = signalbox("rejected", "list", "--reason", "header_conflict")
    assert (none.exit_code, none.stdout, none.stderr) == (0, "", "Nothing was rejected that is like that.\n")


def test_what_is_quarantined_is_listed_with_what_is_wrong(signalbox: Signalbox, inbox: Inbox) -> None:
    kept = quarantine(inbox)
    assert signalbox("quarantine", "list").stdout.split()[-5:] == [kept, "box", "body:", "Not", "UTF-8."]


def test_a_rejected_delivery_is_shown_with_what_would_have_made_it_match(signalbox: Signalbox, inbox: Inbox) -> None:
    body, lines = samples.forge("box", "FILE.UPLOADED", KEYS["box"], at=datetime.now(UTC))
    rewritten = json.dumps(json.loads(body), indent=2).encode()
    delivery = Delivery(source="box", body=rewritten, headers=Headers(lines), received_at=datetime.now(UTC))
    inbox.reject(delivery, Refused(Reason.SIGNATURE_MISMATCH, "No key matches."))
    shown = " ".join(signalbox("rejected", "show", "last").stdout.split())
    assert "Finding It would match if its JSON were written compact" in shown
    assert "Mend The keys are right. Have what stands between pass the body on byte for byte." in shown


def test_where_nothing_usual_explains_a_refusal_that_is_said(signalbox: Signalbox, inbox: Inbox) -> None:
    reject(inbox)
    assert "Finding Nothing that usually" in " ".join(signalbox("rejected", "show", "last").stdout.split())


def test_a_reason_that_explains_itself_wants_no_finding(signalbox: Signalbox, inbox: Inbox) -> None:
    inbox.reject(came(BODY), Refused(Reason.TIMESTAMP_STALE, "Signed too long ago."))
    shown = signalbox("rejected", "show", "last").stdout
    assert "Finding" not in shown
    assert "BOX_MAX_AGE_SECONDS" in shown


@both
def test_the_json_of_a_listing_holds_the_delivery(signalbox: Signalbox, inbox: Inbox, command: str, put: Put) -> None:
    kept = put(inbox)
    assert [item["id"] for item in json.loads(signalbox(command, "list", "--json").stdout)["items"]] == [kept]
    assert json.loads(signalbox(command, "show", kept[-6:], "--json").stdout)["id"] == kept


@both
def test_nothing_kept_is_no_error(signalbox: Signalbox, command: str, put: Put) -> None:
    result = signalbox(command, "list")
    assert (result.exit_code, result.stdout) == (0, "")


@both
def test_bytes_are_shown_as_a_dump_and_credentials_not_at_all(
    signalbox: Signalbox, inbox: Inbox, command: str, put: Put
) -> None:
    put(inbox)
    shown = signalbox(command, "show", "last").stdout
    assert "00000000  7b 22 ff 22 3a 20 00 1b  5b 33 31 6d 7d 0d 0a" in shown
    assert "secret" not in shown
    assert shown.replace("\n", "").isprintable()


@both
def test_text_is_shown_as_text(signalbox: Signalbox, inbox: Inbox, command: str, put: Put) -> None:
    put(inbox, "été\n\x1b[31m".encode())
    assert signalbox(command, "show", "last").stdout.endswith("été\n\\u001b[31m\n")


@both
def test_an_empty_body_is_called_empty(signalbox: Signalbox, inbox: Inbox, command: str, put: Put) -> None:
    put(inbox, b"")
    assert signalbox(command, "show", "last").stdout.endswith("(empty)\n")


@both
@pytest.mark.parametrize("byte", [b"\xff", b"x"])
def test_of_a_long_body_the_beginning_is_shown(
    signalbox: Signalbox, inbox: Inbox, command: str, put: Put, byte: bytes
) -> None:
    put(inbox, byte * 100_000)
    shown = signalbox(command, "show", "last").stdout
    assert len(shown) < 30_000
    assert "bytes more: --raw writes all of it" in shown


@both
def test_raw_is_the_body_byte_for_byte(signalbox: Signalbox, inbox: Inbox, command: str, put: Put) -> None:
    put(inbox)
    assert signalbox(command, "show", "last", "--raw").stdout_bytes == BODY


def test_a_dump_is_that_of_hexdump() -> None:
    assert list(hex_lines(bytes(range(60, 78)))) == [
        "00000000  3c 3d 3e 3f 40 41 42 43  44 45 46 47 48 49 4a 4b  |<=>?@ABCDEFGHIJK|",
        "00000010  4c 4d                                             |LM|",
    ]


@pytest.mark.usefixtures("served")
def test_what_was_too_long_is_shown_as_cut_with_the_setting_that_mends_it(signalbox: Signalbox, app: Flask) -> None:
    assert app.test_client().post("/hooks/box", data=b"x" * 3_000_000).status_code == 413
    service.of(app).inbox.refusals.write_out()
    assert signalbox("rejected", "list").stdout.split()[-4:] == ["box", "body_too_long", f"{BEGINNING:,}", "(cut)"]
    shown = " ".join(signalbox("rejected", "show", "last").stdout.split())
    assert "raise MAX_BODY_BYTES" in shown
    assert "POST /hooks/box, answered 413" in shown
    assert f"Body, cut: the first {BEGINNING:,} bytes of 3,000,000" in shown
    refused = signalbox("rejected", "release", "last", "--unverified")
    assert (refused.exit_code, "neither be verified nor let in" in refused.stderr) == (1, True)
