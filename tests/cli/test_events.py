"""`signalbox events`: what came, what became of it, and once more."""

import json
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from receiver.events import Delivery, Event, Headers, Verified
from receiver.inbox.rows import Inbox
from receiver.jobs import registry
from receiver.jobs import store as jobs
from receiver.jobs.routing import Router
from receiver.jobs.store import Routing
from receiver.jobs.worker import Worker
from receiver.sources import SOURCES
from receiver.storage import search
from tests import listings
from tests.cli.conftest import Keep, Signalbox
from tests.installation import delivery

NASTY = "\x1b[31m\u202e[bold]x[/]\ud800"


@pytest.fixture
def stumble(router: Router) -> Callable[[Event], None]:
    @router.on("*")
    def stumble(event: Event) -> None:
        raise ValueError(f"no such folder {NASTY}")

    return stumble


def work(engine: sa.Engine, router: Router) -> None:
    Worker(engine, router).drain()


def test_events_are_listed_a_line_each(signalbox: Signalbox, keep: Keep) -> None:
    ids = [keep(number=number) for number in range(2)]
    lines = [line.split() for line in signalbox("events", "list").stdout.splitlines()]
    assert [line[2:] for line in lines[1:]] == [
        [ids[1], "box:FILE.UPLOADED", "not", "routed", "yet"],
        [ids[0], "box:FILE.UPLOADED", "not", "routed", "yet"],
    ]


def test_the_json_of_a_listing_is_that_of_the_listing(signalbox: Signalbox, keep: Keep, engine: sa.Engine) -> None:
    keep()
    assert json.loads(signalbox("events", "list", "--json").stdout) == listings.list_events(engine)


def test_options_narrow_a_listing_down(signalbox: Signalbox, keep: Keep) -> None:
    kept = [keep(type_) for type_ in ("box:FILE.UPLOADED", "box:FOLDER.CREATED", "filestack:fp.upload")]

    def found(*words: str) -> list[str]:
        return [item["id"] for item in json.loads(signalbox("events", "list", "--json", *words).stdout)["items"]]

    assert found("--type", "box:FILE.*") == found("--type", "box:FILE.UPLOADED") == [kept[0]]
    assert found("--source", "filestack") == found("-q", "lampe") == [kept[2]]
    assert found("--since", "10m", "--until", "0s") == kept[::-1]
    assert found("--until", "10m") == found("--since", "2999-01-01") == found("--state", "routed") == []


def test_a_listing_takes_every_state_that_the_page_takes(signalbox: Signalbox, keep: Keep, engine: sa.Engine) -> None:
    kept = keep()
    jobs.route(engine, [Routing(kept, ["handlers.log.log_event"])], datetime.now(UTC))
    jobs.bury(engine, 1, reason="no")
    for state in search.STATES:
        items = json.loads(signalbox("events", "list", "--state", state, "--json").stdout)["items"]
        assert bool(items) == (state in ("routed", "dead")), state


@pytest.mark.parametrize("pattern", ["FILE.UPLOADED", "box:", "fox:*", "BOX:*", ":FILE.UPLOADED"])
@pytest.mark.parametrize("command", ["events list", "events export", "events tail", "jobs replay"])
def test_a_pattern_that_no_event_can_be_of_is_refused(signalbox: Signalbox, command: str, pattern: str) -> None:
    result = signalbox(*command.split(), "--type", pattern)
    assert (result.exit_code, pattern in result.stderr, "box:" in result.stderr) == (2, True, True)


def test_the_next_page_is_named(signalbox: Signalbox, keep: Keep) -> None:
    ids = [keep(number=number) for number in range(3)]
    first = signalbox("events", "list", "--limit", "2")
    cursor = first.stderr.split()[-1]
    assert ids[0] not in first.stdout
    assert ids[0] in signalbox("events", "list", "--cursor", cursor).stdout


def test_the_first_listing_says_how_to_get_an_event(signalbox: Signalbox) -> None:
    result = signalbox("events", "list")
    assert (result.exit_code, result.stdout, "signalbox send" in result.stderr) == (0, "", True)


def test_an_event_is_shown_with_every_attempt(
    signalbox: Signalbox, keep: Keep, engine: sa.Engine, router: Router, stumble: Callable[[Event], None]
) -> None:
    kept = keep()
    work(engine, router)
    shown = signalbox("events", "show", kept[-6:]).stdout
    assert kept in shown
    assert "failed after" in shown
    assert "ValueError: no such folder" in shown
    assert "next attempt in" in shown
    assert "Traceback" not in shown


def test_the_whole_traceback_is_shown_when_asked_for(
    signalbox: Signalbox, keep: Keep, engine: sa.Engine, router: Router, stumble: Callable[[Event], None]
) -> None:
    keep()
    work(engine, router)
    shown = signalbox("events", "show", "last", "--full").stdout
    assert "      Traceback (most recent call last):\n" in shown


def test_a_repeated_delivery_is_shown_on_the_time_line(signalbox: Signalbox, keep: Keep) -> None:
    keep()
    keep()
    shown = signalbox("events", "show", "last").stdout
    assert [line.split()[0] for line in shown.splitlines() if "UTC  primary" in line] == ["1st", "2nd"]


def test_a_delivery_that_is_older_than_the_first_is_said_to_be(signalbox: Signalbox, inbox: Inbox) -> None:
    for hours in (0, 3):  # the second one was let in
        came = delivery("box", "FILE.UPLOADED", at=datetime.now(UTC) - timedelta(hours=hours))
        inbox.accept(came, SOURCES["box"].parse(came), Verified("primary"))
    assert "before the first" in signalbox("events", "show", "last").stdout


def test_nothing_that_came_reaches_the_terminal_raw(
    signalbox: Signalbox, inbox: Inbox, engine: sa.Engine, router: Router, stumble: Callable[[Event], None]
) -> None:
    body = json.dumps({"trigger": "FILE.UPLOADED", "id": "1", NASTY: NASTY}).encode()
    headers = Headers([("X-Nasty", NASTY[:-1].encode().decode("latin-1"))])
    came = Delivery(source="box", body=body, headers=headers, received_at=datetime.now(UTC))
    inbox.accept(came, SOURCES["box"].parse(came), Verified("primary"))
    work(engine, router)
    for words in (("events", "show", "last", "--full"), ("events", "list"), ("jobs", "list"), ("jobs", "show", "1")):
        shown = signalbox(*words).stdout
        assert shown.replace("\n", "").isprintable()
    assert json.loads(signalbox("events", "show", "last", "--json").stdout)["payload"][NASTY] == NASTY


def test_an_event_that_nobody_routed_for_long_makes_one_look_for_the_worker(
    signalbox: Signalbox, inbox: Inbox, engine: sa.Engine, keep: Keep
) -> None:
    keep()
    assert "is a worker running?" not in signalbox("events", "show", "last").stdout
    came = Delivery(
        source="box",
        body=b'{"trigger": "FILE.UPLOADED"}',
        headers=Headers(),
        received_at=datetime.now(UTC) - timedelta(minutes=1),
    )
    event_id = inbox.accept(came, SOURCES["box"].parse(came), Verified("primary")).event_id
    assert "is a worker running?" in signalbox("events", "show", event_id).stdout
    registry.beat(engine, datetime.now(UTC))
    assert "Not routed yet." in signalbox("events", "show", event_id).stdout


def test_a_replayed_event_is_routed_again(
    signalbox: Signalbox, keep: Keep, engine: sa.Engine, router: Router, stumble: Callable[[Event], None]
) -> None:
    kept = keep()
    work(engine, router)
    result = signalbox("events", "replay", kept[-8:])
    assert (result.exit_code, result.stdout) == (0, f"{kept}  routed again; 1 job of before runs again\n")
    assert listings.show_event(engine, kept)["state"] == "accepted"


def test_an_event_is_given_to_one_handler_that_did_not_have_it(
    signalbox: Signalbox, keep: Keep, engine: sa.Engine
) -> None:
    kept = keep()
    assert signalbox("events", "replay", kept, "--handler", "handlers.log.log_event").exit_code == 0
    assert [job["handler"] for job in listings.show_event(engine, kept)["jobs"]] == ["handlers.log.log_event"]


def test_a_handler_that_is_not_there_is_not_given_anything(signalbox: Signalbox, keep: Keep, engine: sa.Engine) -> None:
    kept = keep()
    result = signalbox("events", "replay", kept, "--handler", "handlers.log.log_evnt")
    assert (result.exit_code, "did you mean handlers.log.log_event" in result.stderr) == (1, True)
    assert listings.show_event(engine, kept)["jobs"] == []


def test_of_several_events_none_is_replayed_where_one_is_not_there(
    signalbox: Signalbox, keep: Keep, engine: sa.Engine, router: Router
) -> None:
    kept = keep()
    work(engine, router)
    assert signalbox("events", "replay", kept, "01AAAAAAAA").exit_code == 1
    assert listings.show_event(engine, kept)["state"] == "routed"


def test_an_export_holds_whole_events_the_oldest_first(signalbox: Signalbox, keep: Keep, engine: sa.Engine) -> None:
    ids = [keep(number=number) for number in range(3)]
    result = signalbox("events", "export")
    items = [json.loads(line) for line in result.stdout.splitlines()]
    assert [item["id"] for item in items] == ids
    assert items[0] == listings.show_event(engine, ids[0])
    assert result.stderr == "3 events written.\n"


def test_an_export_as_json_is_one_document(signalbox: Signalbox, keep: Keep) -> None:
    assert json.loads(signalbox("events", "export", "--json").stdout) == {"items": [], "next": None}
    ids = [keep(number=number) for number in range(2)]
    document = json.loads(signalbox("events", "export", "--json").stdout)
    assert ([item["id"] for item in document["items"]], document["next"]) == (ids, None)


def test_an_export_is_narrowed_down_like_a_listing(signalbox: Signalbox, keep: Keep) -> None:
    keep("box:FILE.UPLOADED")
    kept = keep("filestack:fp.upload")
    line = signalbox("events", "export", "--type", "filestack:*", "--since", "1h", "-q", "lampe").stdout
    assert json.loads(line)["id"] == kept
    assert signalbox("events", "export", "--type", "nonsense").exit_code == 2


def test_an_export_goes_to_a_new_file_that_is_its_owners_alone(
    signalbox: Signalbox, keep: Keep, tmp_path: Path
) -> None:
    event_id, path = keep(), tmp_path / "events.jsonl"
    before = os.umask(0)
    try:
        exported = signalbox("events", "export", "-o", str(path))
    finally:
        os.umask(before)
    assert (exported.exit_code, exported.stdout, exported.stderr) == (0, "", "1 event written.\n")
    assert oct(stat.S_IMODE(path.stat().st_mode)) == "0o600"
    written = path.read_text()
    assert json.loads(written)["id"] == event_id
    again = signalbox("events", "export", "-o", str(path))
    assert (again.exit_code, path.read_text()) == (1, written)
    assert "-o takes a name that is free" in again.stderr
