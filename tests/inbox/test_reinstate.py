"""What was kept apart is verified and read again, and let in as an event, whole and once."""

import base64
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa

from receiver.errors import NotFoundError, UnreadableError
from receiver.events import Delivery, Headers, Reason, Refused, Verified
from receiver.inbox import reinstate
from receiver.inbox.rows import Inbox
from receiver.jobs.routing import Router
from receiver.jobs.worker import Worker
from receiver.observe import documents, metrics
from receiver.storage.ids import lowest_id
from receiver.storage.search import Filters
from receiver.storage.tables import quarantined, rejected
from tests import listings
from tests.installation import Clock, arrive, delivery

PRIMARY = Verified("primary")
NO_MESSAGE = b'{"something": "else"}'
Reject = Callable[..., str]

pytestmark = pytest.mark.both_databases


@pytest.fixture
def reject(inbox: Inbox, clock: Clock) -> Reject:
    """Keep a sample as rejected, and give its id."""

    def refuse(number: int = 1, reason: Reason = Reason.SIGNATURE_MISMATCH) -> str:
        came = delivery("box", "FILE.UPLOADED", at=clock(), number=number)
        return inbox.reject(came, Refused(reason, "No key matches."))

    return refuse


def unreadable(clock: Clock, body: bytes = NO_MESSAGE) -> Delivery:
    return Delivery(source="box", body=body, headers=Headers([("X-Came", "so")]), received_at=clock())


def test_what_is_let_in_keeps_its_bytes_its_headers_and_its_time(
    engine: sa.Engine, inbox: Inbox, clock: Clock, reject: Reject
) -> None:
    kept = reject()
    was = reinstate.find(engine, rejected, kept)
    clock.pass_by(days=3)
    became = reinstate.release_rejected(engine, inbox, kept, PRIMARY)
    assert became.status == "accepted"
    item = listings.show_event(engine, str(became.event))
    assert (item["received_at"], item["verified_by"]) == (documents.iso(was.received_at), "primary")
    came = reinstate.delivery_of(was)
    assert base64.b64decode(item["body_base64"]) == came.body
    assert item["headers"] == [list(pair) for pair in came.headers.redacted()]
    assert listings.list_rejected(engine)["items"] == []


def test_what_is_let_in_is_not_the_last_that_came(
    engine: sa.Engine, inbox: Inbox, clock: Clock, reject: Reject
) -> None:
    kept = reject()
    clock.pass_by(days=3)
    for number in (2, 3, 4, 5):  # within one millisecond, in which ids sort by chance
        newest = arrive(inbox, clock, number=number)
    reinstate.release_rejected(engine, inbox, kept, PRIMARY)
    assert listings.show_event(engine, "last")["id"] == newest
    assert metrics.now(engine, clock())["newest_event_at"] == documents.iso(clock())


def test_what_is_let_into_quarantine_is_not_the_last_there(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    kept = inbox.reject(unreadable(clock), Refused(Reason.SIGNATURE_MISMATCH, "No key matches."))
    clock.pass_by(days=3)
    newest = inbox.quarantine(unreadable(clock, b'{"another": 1}'), PRIMARY, {"id": ["Missing."]})
    reinstate.release_rejected(engine, inbox, kept, PRIMARY)
    assert listings.show_quarantined(engine, "last")["id"] == newest


def test_what_is_let_in_has_an_id_of_the_time_that_it_came_at(
    engine: sa.Engine, inbox: Inbox, clock: Clock, reject: Reject
) -> None:
    before = arrive(inbox, clock, number=1)
    clock.pass_by(hours=1)
    since = clock()
    kept = [reject(2), inbox.quarantine(delivery("box", "FILE.MOVED", at=since), PRIMARY, {"trigger": ["Missing."]})]
    clock.pass_by(hours=1)
    after = arrive(inbox, clock, number=3)
    became = [
        reinstate.release_rejected(engine, inbox, kept[0], PRIMARY),
        reinstate.release_quarantined(engine, kept[1]),
    ]
    for one in became:
        assert before < str(one.event) < after
        assert lowest_id(since) <= str(one.event) < lowest_id(since, milliseconds=1)


def test_what_cannot_be_read_is_quarantined_under_an_id_of_the_time_that_it_came_at(
    engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    since = clock()
    kept = inbox.reject(unreadable(clock), Refused(Reason.SIGNATURE_MISMATCH, "No."))
    clock.pass_by(hours=1)
    became = reinstate.release_rejected(engine, inbox, kept, PRIMARY)
    assert lowest_id(since) <= str(became.quarantined) < lowest_id(since, milliseconds=1)


def test_what_is_let_in_goes_to_its_handlers(
    engine: sa.Engine, inbox: Inbox, clock: Clock, reject: Reject, router: Router
) -> None:
    bodies = []
    router.on("box:FILE.*")(lambda event: bodies.append(event.body))
    kept = reject()
    body = reinstate.find(engine, rejected, kept).body
    reinstate.release_rejected(engine, inbox, kept, PRIMARY)
    Worker(engine, router, clock=clock).drain()
    assert bodies == [body]


def test_one_of_an_event_that_is_here_is_counted_on_it(
    engine: sa.Engine, inbox: Inbox, clock: Clock, reject: Reject
) -> None:
    event_id = arrive(inbox, clock, number=1)
    became = reinstate.release_rejected(engine, inbox, reject(1), PRIMARY)
    assert (became.status, became.event) == ("duplicate", event_id)
    assert listings.show_event(engine, event_id)["deliveries"] == 2


def test_one_that_verifies_and_cannot_be_read_is_quarantined(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    kept = inbox.reject(unreadable(clock), Refused(Reason.SIGNATURE_MISMATCH, "No."))
    became = reinstate.release_rejected(engine, inbox, kept, PRIMARY)
    assert (became.status, became.event) == ("quarantined", None)
    assert became.errors == {"trigger": ["Missing data for required field."]}
    assert [item["id"] for item in listings.list_quarantined(engine)["items"]] == [became.quarantined]
    assert listings.list_rejected(engine)["items"] == []


def test_of_two_that_let_one_in_at_once_one_is_too_late(engine: sa.Engine, inbox: Inbox, reject: Reject) -> None:
    kept = reject()
    outcomes: list[str] = []

    def let_in() -> None:
        try:
            outcomes.append(reinstate.release_rejected(engine, inbox, kept, PRIMARY).status)
        except NotFoundError:
            outcomes.append("too late")

    threads = [threading.Thread(target=let_in) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["accepted", "too late"]
    assert listings.show_event(engine, "last")["deliveries"] == 1


def test_a_quarantined_delivery_that_can_be_read_now_is_let_in_with_its_count(
    engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    came = delivery("box", "FILE.UPLOADED", at=clock())
    for _ in range(3):
        kept = inbox.quarantine(came, PRIMARY, {"trigger": ["An older release could not read it."]})
    became = reinstate.release_quarantined(engine, kept)
    assert became.status == "accepted"
    item = listings.show_event(engine, str(became.event))
    assert (item["type"], item["deliveries"], item["verified_by"]) == ("box:FILE.UPLOADED", 3, "primary")
    assert listings.list_quarantined(engine)["items"] == []


def test_a_quarantined_delivery_that_cannot_be_read_stays(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    kept = inbox.quarantine(unreadable(clock), PRIMARY, {"trigger": ["Missing."]})
    with pytest.raises(UnreadableError, match="trigger"):
        reinstate.release_quarantined(engine, kept)
    assert [item["id"] for item in listings.list_quarantined(engine)["items"]] == [kept]


def test_an_object_is_let_in_under_a_name_that_is_given_and_what_is_odd_is_drift(
    engine: sa.Engine, inbox: Inbox, clock: Clock, router: Router
) -> None:
    payloads = []
    router.on("box:FILE.UPLOADED")(lambda event: payloads.append(event.payload))
    kept = inbox.quarantine(unreadable(clock), PRIMARY, {"trigger": ["Missing."]})
    reinstate.release_quarantined(engine, kept, name="FILE.UPLOADED")
    Worker(engine, router, clock=clock).drain()
    assert payloads == [{"something": "else"}]
    assert {"path": "something", "problem": "Unknown field."} in listings.show_event(engine, "last")["drift"]


@pytest.mark.parametrize(
    ("body", "name", "field"),
    [(b"[1]", "FILE.UPLOADED", "body"), (b"\xff", "FILE.UPLOADED", "body"), (NO_MESSAGE, "TWO WORDS", "name")],
)
def test_what_no_handler_could_take_stays_whatever_the_name(
    engine: sa.Engine, inbox: Inbox, clock: Clock, body: bytes, name: str, field: str
) -> None:
    kept = inbox.quarantine(unreadable(clock, body), PRIMARY, {"body": ["No."]})
    with pytest.raises(UnreadableError) as caught:
        reinstate.release_quarantined(engine, kept, name=name)
    assert list(caught.value.errors) == [field]
    assert [item["id"] for item in listings.list_quarantined(engine)["items"]] == [kept]


def test_what_is_gone_is_said_to_be_gone(engine: sa.Engine, inbox: Inbox, reject: Reject) -> None:
    kept = reject()
    reinstate.release_rejected(engine, inbox, kept, PRIMARY)
    with pytest.raises(NotFoundError, match="is missing: it was reinstated"):
        reinstate.release_rejected(engine, inbox, kept, PRIMARY)
    with pytest.raises(NotFoundError, match="is missing: it was reinstated"):
        reinstate.release_quarantined(engine, kept)


def test_many_are_chosen_by_filters_the_oldest_first(engine: sa.Engine, clock: Clock, reject: Reject) -> None:
    old = reject(1)
    clock.pass_by(hours=1)
    stale, new = reject(2, Reason.TIMESTAMP_STALE), reject(3)
    since = clock() - timedelta(minutes=1)
    assert reinstate.which(engine, rejected, Filters()) == [old, stale, new]
    assert reinstate.which(engine, rejected, Filters(), reason="signature_mismatch") == [old, new]
    assert reinstate.which(engine, rejected, Filters(since=since)) == [stale, new]
    assert reinstate.which(engine, rejected, Filters(source="filestack")) == []
    assert reinstate.which(engine, quarantined, Filters()) == []
