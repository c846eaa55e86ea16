"""`signalbox rejected verify|release` and `signalbox quarantine release`: one, several, or all that are alike."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import click
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from flask import Flask
from flask.cli import ScriptInfo

from receiver.cli import cli
from receiver.events import Delivery, Headers, Reason, Refused, Verified
from receiver.inbox.rows import Inbox
from tests import listings
from tests.cli.conftest import Signalbox
from tests.installation import delivery

MISMATCH = Refused(Reason.SIGNATURE_MISMATCH, "No key matches.")
Reject = Callable[..., str]


@pytest.fixture
def genuine(inbox: Inbox) -> Reject:
    """Keep as rejected what verifies with the keys that are set now."""
    return lambda number=1: inbox.reject(delivery("box", "FILE.UPLOADED", at=now(), number=number), MISMATCH)


@pytest.fixture
def forged(inbox: Inbox) -> Reject:
    """Keep as rejected what verifies with no key."""
    return lambda: inbox.reject(Delivery(source="box", body=b"{}", headers=Headers(), received_at=now()), MISMATCH)


@pytest.fixture
def stale(inbox: Inbox) -> str:
    """Keep as rejected what is signed right, an hour before it came."""
    came = delivery("box", "FILE.UPLOADED", at=now() - timedelta(hours=1))
    late = Delivery(source="box", body=came.body, headers=came.headers, received_at=now())
    return inbox.reject(late, Refused(Reason.TIMESTAMP_STALE, "Too old."))


def now() -> datetime:
    return datetime.now(UTC)


def answering(app: Flask, answer: str, *words: str) -> Result:
    return CliRunner().invoke(cli, words, obj=ScriptInfo(create_app=lambda: app), input=answer, catch_exceptions=False)


def rejected_ids(engine: sa.Engine) -> set[str]:
    return {item["id"] for item in listings.list_rejected(engine)["items"]}


def test_what_verifies_now_is_said_to_and_stays(signalbox: Signalbox, engine: sa.Engine, genuine: Reject) -> None:
    kept = genuine()
    result = signalbox("rejected", "verify", kept[-6:])
    assert (result.exit_code, result.stdout.split("\n")[1]) == (0, f"{kept}  verifies, by primary")
    assert rejected_ids(engine) == {kept}


def test_what_does_not_verify_says_why_and_fails(signalbox: Signalbox, genuine: Reject, forged: Reject) -> None:
    kept = [genuine(), forged()]
    result = signalbox("rejected", "verify", *kept)
    assert result.exit_code == 1
    assert f"{kept[1]}  signature_missing  Box signs with" in result.stdout
    assert [item["verifies"] for item in json.loads(signalbox("rejected", "verify", "--all", "--json").stdout)["items"]]


def test_one_is_let_in_by_its_id_without_a_question(signalbox: Signalbox, engine: sa.Engine, genuine: Reject) -> None:
    kept = genuine()
    result = signalbox("rejected", "release", "last")
    event = listings.show_event(engine, "last")
    assert (result.exit_code, result.stdout) == (0, f"{kept}  accepted  {event['id']}\n")
    assert rejected_ids(engine) == set()


def test_what_still_does_not_verify_stays_and_fails(signalbox: Signalbox, engine: sa.Engine, forged: Reject) -> None:
    kept = forged()
    result = signalbox("rejected", "release", kept)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"{kept}  stays: signature_missing")
    assert rejected_ids(engine) == {kept}


def test_what_does_not_verify_is_let_in_where_that_is_said_and_nobody_verified_it(
    signalbox: Signalbox, engine: sa.Engine, inbox: Inbox
) -> None:
    body = delivery("box", "FILE.UPLOADED", at=now()).body
    inbox.reject(Delivery(source="box", body=body, headers=Headers(), received_at=now()), MISMATCH)
    assert signalbox("rejected", "release", "last", "--unverified").exit_code == 0
    assert listings.show_event(engine, "last")["verified_by"] == "nobody"


def test_an_age_is_overlooked_only_where_that_is_said(signalbox: Signalbox, engine: sa.Engine, stale: str) -> None:
    assert "stays: timestamp_stale" in signalbox("rejected", "release", stale).stderr
    assert signalbox("rejected", "release", stale, "--any-age").exit_code == 0
    assert listings.show_event(engine, "last")["verified_by"] == "primary"


def test_many_are_let_in_after_a_question_that_gives_the_number(
    app: Flask, engine: sa.Engine, genuine: Reject, forged: Reject
) -> None:
    kept = {genuine(1), genuine(2), forged()}
    refused = answering(app, "n\n", "rejected", "release", "--since", "1h")
    assert "Let 2 rejected deliveries in as events? 1 of 3 does not verify, and will stay. [y/N]" in refused.stderr
    assert (refused.exit_code, rejected_ids(engine)) == (1, kept)
    done = answering(app, "y\n", "rejected", "release", "--since", "1h")
    assert done.exit_code == 0
    assert done.stdout.count("accepted") == 2
    assert len(rejected_ids(engine)) == 1


def test_many_are_let_in_as_one_json_document(signalbox: Signalbox, genuine: Reject, forged: Reject) -> None:
    kept = [genuine(1), genuine(1), forged()]
    assert signalbox("rejected", "release", "--all", "--json").exit_code == 2
    items = json.loads(signalbox("rejected", "release", "--all", "--yes", "--json").stdout)["items"]
    assert [(item["id"], item["status"]) for item in items] == [
        (kept[0], "accepted"),
        (kept[1], "duplicate"),
        (kept[2], "rejected"),
    ]
    assert items[0].keys() == items[2].keys()


def test_it_fails_where_none_of_many_verifies(signalbox: Signalbox, forged: Reject) -> None:
    forged()
    assert signalbox("rejected", "release", "--all").exit_code == 1


@pytest.mark.parametrize("command", ["rejected verify", "rejected release", "quarantine release"])
def test_nothing_of_that_kind_is_no_error(signalbox: Signalbox, command: str) -> None:
    result = signalbox(*command.split(), "--all")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "that is like that" in result.stderr


@pytest.mark.parametrize("command", ["rejected verify", "rejected release", "quarantine release"])
@pytest.mark.parametrize("words", [[], ["last", "--all"], ["last", "--since", "2h"], ["--all", "--since", "2h"]])
def test_which_are_meant_has_to_be_said_in_one_way(signalbox: Signalbox, command: str, words: list[str]) -> None:
    result = signalbox(*command.split(), *words)
    assert result.exit_code == click.UsageError.exit_code
    assert "Say which: ids, or filters" in result.stderr
    assert ("one of these, and not two" in " ".join(result.stderr.split())) == bool(words)


def test_where_none_of_many_verifies_now_that_is_counted_too(signalbox: Signalbox, forged: Reject) -> None:
    forged()
    forged()
    assert signalbox("rejected", "verify", "--all").stderr == "0 of 2 verify now.\n"


def test_a_quarantined_delivery_stays_until_it_is_given_a_name(
    signalbox: Signalbox, engine: sa.Engine, inbox: Inbox
) -> None:
    came = Delivery(source="box", body=b'{"a": 1}', headers=Headers(), received_at=now())
    kept = inbox.quarantine(came, Verified("secondary"), {"trigger": ["Missing."]})
    refused = signalbox("quarantine", "release", kept)
    assert refused.exit_code == 1
    assert refused.stderr == f"{kept}  stays: trigger: Missing data for required field.\n"
    assert signalbox("quarantine", "release", kept, "--as", "SOMETHING.ODD").exit_code == 0
    assert listings.show_event(engine, "last")["type"] == "box:SOMETHING.ODD"


def test_many_quarantined_ones_are_read_again_after_a_question(app: Flask, engine: sa.Engine, inbox: Inbox) -> None:
    for number in (1, 2):
        came = delivery("box", "FILE.UPLOADED", at=now(), number=number)
        inbox.quarantine(came, Verified("primary"), {"trigger": ["An older release could not read it."]})
    result = answering(app, "y\n", "quarantine", "release", "--source", "box")
    assert "Let 2 quarantined deliveries in as events? What still cannot be read will stay." in result.stderr
    assert result.stdout.count("accepted") == 2
    assert listings.list_quarantined(engine)["items"] == []
