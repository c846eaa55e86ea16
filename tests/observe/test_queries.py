"""Listings: the contract's JSON, newest first, narrowed down as asked, and ids that may be given in part."""

import json
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from receiver.errors import NotFoundError, PatternError
from receiver.events import Delivery, Event, Reason, Refused, Verified
from receiver.inbox.rows import Inbox
from receiver.jobs.routing import Router, matches
from receiver.jobs.worker import Worker
from receiver.observe import documents, queries
from receiver.observe.queries import Filters
from receiver.sources import SOURCES
from tests import listings
from tests.installation import Clock, delivery

pytestmark = pytest.mark.both_databases

TYPES = ("box:FILE.UPLOADED", "box:FOLDER.CREATED", "filestack:fp.upload", "filestack:fp.conversion")

Accept = Callable[..., str]


@pytest.fixture
def accept(inbox: Inbox, clock: Clock) -> Accept:
    """Keep a sample of a type, or a delivery, and give its event's id."""

    def keep(what: str | Delivery = "box:FILE.UPLOADED", number: int = 1) -> str:
        source, _, name = what.partition(":") if isinstance(what, str) else ("", "", "")
        came = delivery(source, name, at=clock(), number=number) if isinstance(what, str) else what
        return inbox.accept(came, SOURCES[came.source].parse(came), Verified("primary")).event_id

    return keep


def work(engine: sa.Engine, router: Router, clock: Clock) -> None:
    Worker(engine, router, clock=clock).drain()


def types(engine: sa.Engine, **filters: Any) -> list[str]:
    return [item["type"] for item in listings.list_events(engine, Filters(**filters))["items"]]


def test_an_event_is_listed_as_the_contract_says(engine: sa.Engine, accept: Accept, clock: Clock) -> None:
    kept = accept()
    (item,) = listings.list_events(engine)["items"]
    payload = item.pop("payload")
    assert item == {
        "id": kept,
        "source": "box",
        "type": "box:FILE.UPLOADED",
        "name": "FILE.UPLOADED",
        "state": "accepted",
        "received_at": "2026-05-04T12:00:00Z",
        "occurred_at": "2026-05-04T12:00:00Z",
        "deliveries": 1,
        "verified_by": "primary",
        "drift": [],
        "job_counts": {},
    }
    assert payload == json.loads(delivery("box", "FILE.UPLOADED", at=clock()).body)


def test_fractions_of_a_second_are_written_where_there_are_any(clock: Clock) -> None:
    assert documents.iso(clock() + timedelta(microseconds=1500)) == "2026-05-04T12:00:00.001500Z"


def test_events_come_newest_first(engine: sa.Engine, accept: Accept) -> None:
    ids = [accept(number=number) for number in range(3)]
    assert [item["id"] for item in listings.list_events(engine)["items"]] == ids[::-1]


def test_pages_follow_each_other_without_a_gap_while_more_comes(engine: sa.Engine, accept: Accept) -> None:
    ids = [accept(number=number) for number in range(5)]
    first = listings.list_events(engine, limit=2)
    accept(number=5)
    second = listings.list_events(engine, limit=2, cursor=first["next"])
    third = listings.list_events(engine, limit=2, cursor=second["next"])
    assert [item["id"] for page in (first, second, third) for item in page["items"]] == ids[::-1]
    assert third["next"] is None


@pytest.mark.parametrize("cursor", ["", "nonsense", "-1", "1.5", "9" * 19, "\u0661"])
def test_a_cursor_that_no_listing_gave_is_refused(engine: sa.Engine, cursor: str) -> None:
    with pytest.raises(NotFoundError, match="no listing returned the cursor"):
        listings.list_events(engine, cursor=cursor)


@pytest.mark.parametrize(
    "pattern", ["*", "box:*", "box:FILE.*", "box:FILE.UPLOADED", "box:FILE.UPLOADED.*", "box:file.*", "box:F_LE.*"]
)
def test_a_pattern_lists_what_a_handler_of_it_would_get(engine: sa.Engine, accept: Accept, pattern: str) -> None:
    for number, one in enumerate(TYPES):
        accept(one, number)
    assert types(engine, type=pattern) == [one for one in reversed(TYPES) if matches(pattern, one)]


def test_the_providers_own_name_lists_its_type(engine: sa.Engine, accept: Accept) -> None:
    accept("filestack:fp.conversion")
    assert types(engine, type="filestack:fp.converse") == ["filestack:fp.conversion"]


def test_a_name_without_its_source_is_no_pattern(engine: sa.Engine) -> None:
    with pytest.raises(PatternError, match=r"write box:FILE\.UPLOADED"):
        types(engine, type="FILE.UPLOADED")


def test_since_is_in_and_until_is_out(engine: sa.Engine, accept: Accept, clock: Clock) -> None:
    accept("box:FILE.UPLOADED")
    earlier = clock()
    clock.pass_by(minutes=1)
    accept("box:FOLDER.CREATED")
    assert types(engine, since=clock()) == ["box:FOLDER.CREATED"]
    assert types(engine, since=earlier, until=clock()) == ["box:FILE.UPLOADED"]


def test_events_are_told_apart_by_state_and_source(
    engine: sa.Engine, accept: Accept, router: Router, clock: Clock
) -> None:
    accept("box:FILE.UPLOADED")
    work(engine, router, clock)
    accept("filestack:fp.upload")
    assert types(engine, state="routed") == ["box:FILE.UPLOADED"]
    assert types(engine, source="filestack") == ["filestack:fp.upload"]


@pytest.mark.parametrize("text", ["Fahrplan 7", "🚂", "Night shift", "Box-WH-Client"])
def test_text_is_found_in_body_and_headers_however_it_is_escaped(engine: sa.Engine, accept: Accept, text: str) -> None:
    accept("filestack:fp.upload")
    accept("box:FILE.UPLOADED", 7)
    assert types(engine, q=text) == ["box:FILE.UPLOADED"]


@pytest.mark.parametrize("text", ["%", "fahrplan", "\0", "\udcff"])
def test_text_is_taken_to_the_letter(engine: sa.Engine, accept: Accept, text: str) -> None:
    accept("box:FILE.UPLOADED")
    assert types(engine, q=text) == []


@pytest.mark.parametrize("text", ["\0", "\udcff", "x' OR 1=1 --"])
def test_no_text_in_a_filter_is_an_error(engine: sa.Engine, accept: Accept, text: str) -> None:
    accept()
    assert types(engine, source=text, state=text) == types(engine, type=f"box:{text}") == []


def test_one_event_shows_bytes_and_headers_with_secrets_masked(engine: sa.Engine, accept: Accept, clock: Clock) -> None:
    came = delivery("box", "FILE.UPLOADED", at=clock())
    item = listings.show_event(engine, accept(came))
    assert b64decode(item["body_base64"]) == came.body
    signatures = {name: value for name, value in item["headers"] if "SIGNATURE-PRIMARY" in name.upper()}
    assert [len(value) for value in signatures.values()] == [11]


def test_one_event_shows_what_repeated_it(engine: sa.Engine, accept: Accept, clock: Clock) -> None:
    came = delivery("box", "FILE.UPLOADED", at=clock())
    kept = accept(came)
    accept(replace(came, received_at=clock() + timedelta(minutes=5)))
    accept(replace(came, received_at=clock() + timedelta(minutes=15), body=came.body + b" "))
    item = listings.show_event(engine, kept)
    assert (item["deliveries"], [(one["received_at"], one["body_differs"]) for one in item["repeats"]]) == (
        3,
        [("2026-05-04T12:05:00Z", False), ("2026-05-04T12:15:00Z", True)],
    )


def test_one_event_shows_every_attempt_of_its_jobs(
    engine: sa.Engine, accept: Accept, router: Router, clock: Clock
) -> None:
    @router.on("box:*", attempts=2)
    def stumble(event: Event) -> None:
        raise ValueError("no such folder")

    kept = accept()
    work(engine, router, clock)
    (waiting,) = listings.show_event(engine, kept)["jobs"]
    clock.pass_by(minutes=1)
    work(engine, router, clock)
    (dead,) = listings.show_event(engine, kept)["jobs"]
    assert (waiting["state"], len(waiting["attempts"]), waiting["next_attempt_at"] is None) == ("waiting", 1, False)
    assert (dead["state"], len(dead["attempts"]), dead["next_attempt_at"]) == ("dead", 2, None)
    assert dead["attempts"][0]["outcome"] == "failed"
    assert dead["attempts"][0]["error"].endswith("ValueError: no such folder\n")


def test_events_are_listed_with_how_their_jobs_stand(
    engine: sa.Engine, accept: Accept, router: Router, clock: Clock
) -> None:
    @router.on("*")
    def succeed(event: Event) -> None: ...

    @router.on("*")
    def stumble(event: Event) -> None:
        raise ValueError

    accept()
    work(engine, router, clock)
    assert listings.list_events(engine)["items"][0]["job_counts"] == {"done": 1, "waiting": 1}


@pytest.mark.parametrize("part", [slice(None), slice(0, 20), slice(-6, None)])
def test_an_id_may_be_given_in_part_and_in_small_letters(engine: sa.Engine, accept: Accept, part: slice) -> None:
    kept = accept()
    assert listings.show_event(engine, kept[part].lower())["id"] == kept


def test_last_is_the_newest(engine: sa.Engine, accept: Accept) -> None:
    accept(number=1)
    newest = accept(number=2)
    assert listings.show_event(engine, "last")["id"] == newest


def test_a_part_of_two_ids_is_refused(engine: sa.Engine, accept: Accept) -> None:
    kept = [accept(number=number) for number in range(2)]
    with pytest.raises(NotFoundError, match="give more of it"):
        listings.show_event(engine, kept[0][:8])


@pytest.mark.parametrize("given", ["", "ABC", "%%%%%%", "______", "not an id", "0" * 26, "0" * 27, "\udcff"])
def test_what_is_no_id_of_an_event_is_not_found(engine: sa.Engine, accept: Accept, given: str) -> None:
    accept()
    with pytest.raises(NotFoundError):
        listings.show_event(engine, given)


def test_the_newest_of_none_is_not_found(engine: sa.Engine) -> None:
    with pytest.raises(NotFoundError, match="there is no event yet"):
        listings.show_event(engine, "last")


def test_what_comes_after_is_given_oldest_first_and_without_what_is_known(engine: sa.Engine, accept: Accept) -> None:
    accept(number=0)
    start = queries.newest_seq(engine)
    ids = [accept(number=number) for number in (1, 2, 3)]
    assert [item["id"] for _, item in listings.events_after(engine, start)] == ids
    assert [item["id"] for _, item in listings.events_after(engine, start, known=[start + 2])] == [ids[0], ids[2]]


def test_jobs_are_listed_with_event_and_last_attempt(
    engine: sa.Engine, accept: Accept, router: Router, clock: Clock
) -> None:
    @router.on("box:*")
    def succeed(event: Event) -> None: ...

    kept = accept()
    work(engine, router, clock)
    (item,) = listings.list_jobs(engine, state="done", handler=router.handlers()[0].name, event=kept[-8:])["items"]
    assert (item["event"], item["type"], item["last_attempt"]["outcome"]) == (kept, "box:FILE.UPLOADED", "done")
    assert listings.list_jobs(engine, state="dead")["items"] == []


def test_one_job_shows_its_attempts(engine: sa.Engine, accept: Accept, router: Router, clock: Clock) -> None:
    @router.on("box:*")
    def succeed(event: Event) -> None: ...

    accept()
    work(engine, router, clock)
    assert [attempt["outcome"] for attempt in listings.show_job(engine, 1)["attempts"]] == ["done"]


def test_a_job_that_runs_says_since_when(engine: sa.Engine, accept: Accept, router: Router, clock: Clock) -> None:
    router.on("box:*")(lambda event: None)
    accept()
    Worker(engine, router, clock=clock).turn()  # begun, and not ended
    assert listings.show_job(engine, 1)["running_since"] == documents.iso(clock())
    clock.pass_by(minutes=1)
    work(engine, router, clock)  # its lease has ended
    assert listings.show_job(engine, 1)["running_since"] is None


def test_a_job_that_is_not_there_is_not_found(engine: sa.Engine) -> None:
    with pytest.raises(NotFoundError, match="no job has the id 7"):
        listings.show_job(engine, 7)


def test_a_rejected_delivery_is_shown_with_reason_and_bytes(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    came = replace(delivery("box", "FILE.UPLOADED", at=clock()), body=b"\xff\x00")
    kept = inbox.reject(came, Refused(Reason.SIGNATURE_MISMATCH, "No key matches."))
    (item,) = listings.list_rejected(engine, Filters(source="box"))["items"]
    assert (item["id"], item["reason"], item["body_bytes"]) == (kept, "signature_mismatch", 2)
    assert b64decode(listings.show_rejected(engine, kept[-6:])["body_base64"]) == came.body


def test_a_quarantined_delivery_is_shown_with_errors_and_bytes(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    came = replace(delivery("box", "FILE.UPLOADED", at=clock()), body=b"{}")
    kept = inbox.quarantine(came, Verified("secondary"), {"trigger": ["Missing data."]})
    (item,) = listings.list_quarantined(engine, Filters(q="{}"))["items"]
    assert (item["errors"], item["verified_by"]) == ({"trigger": ["Missing data."]}, "secondary")
    assert b64decode(listings.show_quarantined(engine, kept)["body_base64"]) == came.body


@pytest.mark.parametrize("name", [r"\ud800", r"\u0000", r"\u202e", "1e308"])
def test_any_payload_is_written_out_as_ascii_json(engine: sa.Engine, accept: Accept, clock: Clock, name: str) -> None:
    came = delivery("box", "FILE.UPLOADED", at=clock())
    accept(replace(came, body=f'{{"trigger": "FILE.UPLOADED", "id": "1", "name": "{name}"}}'.encode()))
    written = json.dumps(listings.list_events(engine), allow_nan=False)
    assert json.loads(written)["items"][0]["payload"]["name"] == json.loads(f'"{name}"')
    assert written.isascii()
