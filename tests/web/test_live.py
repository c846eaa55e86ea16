"""Live pages: what comes appears, nothing twice and nothing missed, and however many watch, one looks."""

import html
import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from receiver import service
from receiver.events import Event, Reason, Refused, Verified
from receiver.inbox.rows import Inbox
from receiver.jobs.routing import Router
from receiver.jobs.worker import Worker
from receiver.sources import SOURCES
from receiver.web import sse
from tests.installation import delivery
from tests.waiting import until

Keep = Callable[..., str]


class Told(NamedTuple):
    event: str
    data: str
    id: str | None

    @property
    def event_id(self) -> str:
        found = re.search(r'data-id="(\w+)"', self.data)
        return found[1] if found else ""

    @property
    def fate(self) -> str:
        found = re.search(r'class="jobs" title="([^"]*)"', self.data)
        return html.unescape(found[1]) if found else ""


class Page:
    """A page that watches: reads its stream, message by message."""

    def __init__(self, client: FlaskClient, address: str = "/live?after=0", **headers: str) -> None:
        self._answer = client.get(address, headers=headers)
        assert self._answer.status_code == 200, self._answer.text
        assert self._answer.mimetype == "text/event-stream"
        self._chunks = iter(self._answer.response)
        self._unread: list[Told] = []
        self.retry = _text(next(self._chunks))

    def next(self, *kinds: str) -> Told:
        """Give the next message of one of these kinds, however long it takes; what lies before it is skipped."""
        while True:
            while self._unread:
                told = self._unread.pop(0)
                if told.event in kinds:
                    return told
            self._unread += list(_messages(_text(next(self._chunks))))

    def until_fate(self, fate: str) -> Told:
        while True:
            told = self.next("changed")
            if told.fate == fate:
                return told

    def close(self) -> None:
        self._answer.close()


def _text(chunk: Any) -> str:
    return chunk.decode() if isinstance(chunk, bytes) else str(chunk)


def _messages(text: str) -> Iterator[Told]:
    for block in text.split("\n\n"):
        fields: dict[str, list[str]] = {}
        for line in block.splitlines():
            name, _, value = line.partition(": ")
            fields.setdefault(name, []).append(value)
        if "event" in fields:
            yield Told(fields["event"][0], "\n".join(fields["data"]), fields.get("id", [None])[0])


@pytest.fixture
def keep(inbox: Inbox) -> Keep:
    def accept(number: int = 1, source: str = "box", name: str = "FILE.UPLOADED") -> str:
        came = delivery(source, name, at=datetime.now(UTC), number=number)
        return inbox.accept(came, SOURCES[source].parse(came), Verified("primary")).event_id

    return accept


@pytest.fixture
def watch(client: FlaskClient) -> Iterator[Callable[..., Page]]:
    """Open a stream; all are closed at the end."""
    pages: list[Page] = []

    def start(*address: str, **headers: str) -> Page:
        pages.append(Page(client, *address, **headers))
        return pages[-1]

    yield start
    for page in pages:
        page.close()


Watch = Callable[..., Page]


def test_a_page_is_told_how_soon_to_come_back(watch: Watch) -> None:
    assert watch().retry == "retry: 500\n\n"


def test_an_event_appears_as_a_line(watch: Watch, keep: Keep) -> None:
    page = watch()
    page.next("counts")
    kept = keep()
    told = page.next("came")
    assert (told.event_id, told.id) == (kept, "1")
    assert 'href="/events/' in told.data
    assert "Fahrplan 1" in told.data


def test_a_page_that_comes_back_misses_nothing_and_gets_nothing_twice(watch: Watch, keep: Keep) -> None:
    ids = [keep(number) for number in range(3)]
    page = watch()
    told = [page.next("came") for _ in range(3)]
    page.close()
    ids += [keep(number) for number in range(3, 6)]
    again = watch("/live?after=0", **{"Last-Event-ID": told[-1].id or ""})
    told += [again.next("came") for _ in range(3)]
    ids.append(keep(6))
    told.append(again.next("came"))
    assert [one.event_id for one in told] == ids


def test_what_a_page_shows_already_is_not_new_to_it(watch: Watch, keep: Keep) -> None:
    keep(1)
    page = watch("/live?after=1")
    newer = keep(2)
    assert page.next("came").event_id == newer


def test_a_line_changes_with_the_state_of_its_jobs(watch: Watch, keep: Keep, engine: sa.Engine, router: Router) -> None:
    @router.on("box:*")
    def succeed(event: Event) -> None: ...

    page = watch()
    kept = keep()
    assert page.next("came").fate == "not routed yet"
    Worker(engine, router, clock=lambda: datetime.now(UTC)).drain()
    assert page.until_fate("1 job: 1 done").event_id == kept


def test_a_line_that_changed_while_nobody_watched_is_told_anew(
    watch: Watch, keep: Keep, engine: sa.Engine, router: Router
) -> None:
    keep()
    first = watch()
    first.next("came")
    first.close()
    Worker(engine, router, clock=lambda: datetime.now(UTC)).drain()
    assert watch("/live?after=1").next("changed").fate == "no handler wanted it"


def test_a_page_is_told_of_what_its_filter_lets_through(watch: Watch, keep: Keep) -> None:
    page = watch("/live?source=filestack&type=filestack:fp.*&after=0")
    keep(1)
    kept = keep(2, "filestack", "fp.upload")
    told = page.next("came")
    assert told.event_id == kept
    assert f"/events/{kept}?source=filestack&amp;type=filestack" in told.data


def test_too_many_at_once_are_counted_instead(watch: Watch, keep: Keep) -> None:
    for number in range(sse.MOST_AT_ONCE + 5):
        keep(number)
    told = watch().next("came", "more")
    assert told == Told("more", "55", "55")


def test_counting_takes_the_filter_into_account(watch: Watch, keep: Keep) -> None:
    keep(1, "filestack", "fp.upload")
    for number in range(sse.MOST_AT_ONCE + 5):
        keep(number)
    assert watch("/live?source=filestack&after=0").next("came", "more").event == "came"


def test_what_is_rejected_is_counted(watch: Watch, inbox: Inbox) -> None:
    page = watch()
    assert json.loads(page.next("counts").data) == {"events": "0 events", "rejected": "0", "quarantine": "0"}
    inbox.reject(delivery("box", "FILE.UPLOADED", at=datetime.now(UTC)), Refused(Reason.SIGNATURE_MISMATCH, "No."))
    assert json.loads(page.next("counts").data)["rejected"] == "1"


def test_how_many_events_there_are_is_told_as_they_come(watch: Watch, keep: Keep) -> None:
    keep(1)
    page = watch()
    assert json.loads(page.next("counts").data)["events"] == "1 event"
    keep(2)
    assert json.loads(page.next("counts").data)["events"] == "2 events"


def test_the_list_of_the_rejected_hears_of_more(watch: Watch, inbox: Inbox) -> None:
    page = watch("/live?kind=rejected&after=0")
    page.next("counts")
    inbox.reject(delivery("box", "FILE.UPLOADED", at=datetime.now(UTC)), Refused(Reason.SIGNATURE_MISMATCH, "No."))
    assert page.next("more") == Told("more", "1", "1")


@pytest.mark.parametrize("after", ["", "x", "-1", "1e3", "9" * 19, "\u0661", "999999999999"])
def test_any_cursor_is_taken(watch: Watch, keep: Keep, after: str) -> None:
    page = watch(f"/live?after={after}")
    page.next("counts")
    kept = keep()
    assert page.next("came").event_id == kept


def test_a_page_that_joins_takes_nothing_from_those_that_are_there(watch: Watch, keep: Keep) -> None:
    pages, ids = [watch()], [keep(0)]
    for number in range(1, 6):
        pages.append(watch("/live?after=0"))
        ids.append(keep(number))
        assert {page.next("came").event_id for page in pages[:1]} <= set(ids)
    for page in pages[1:]:
        told = [page.next("came").event_id for _ in ids]
        assert sorted(told) == sorted(ids)


def test_a_page_that_looks_anew_after_a_flood_hears_of_what_comes_next(watch: Watch, keep: Keep) -> None:
    page = watch()
    page.next("counts")
    for number in range(sse.MOST_AT_ONCE + 1):
        keep(number)
    told = 0
    while told < sse.MOST_AT_ONCE + 1:
        one = page.next("came", "more")
        told += int(one.data) if one.event == "more" else 1
    anew = watch(f"/live?after={told}")
    assert anew.next("changed").event_id
    kept = keep(1000)
    assert [page.next("came", "more").event_id, anew.next("came", "more").event_id] == [kept, kept]


class Counted:
    """Looks at a list of numbers, and counts how often and in how many threads."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.looks: list[int] = []
        self.finds: list[int] = []
        self.threads: set[threading.Thread] = set()

    def __call__(self, after: int) -> sse.Look:
        self.looks.append(after)
        self.threads.add(threading.current_thread())
        new = [sse.Message("came", f"<p>{number}</p>", number) for number in self.numbers if number > after]
        if new:
            self.finds.append(len(self.looks))
        return sse.Look(new, max([after, *self.numbers]))


@pytest.fixture
def counted(app: Flask) -> Counted:
    """A route of a test's own, whose looks are counted."""
    look = Counted()
    app.add_url_rule("/counted", "live.counted", lambda: sse.stream("counted", look, sse.cursor()))
    return look


def test_pages_that_watch_the_same_share_each_look(watch: Watch, counted: Counted) -> None:
    pages = [watch("/counted?after=0") for _ in range(20)]
    until(lambda: len(counted.looks) >= 21, "every page was caught up")
    counted.numbers.append(1)
    assert {page.next("came").data for page in pages} == {"<p>1</p>"}
    assert len(counted.finds) == 1
    assert len(counted.threads) == 1


def test_what_comes_is_found_by_the_next_look_and_looks_are_less_than_a_second_apart(
    watch: Watch, counted: Counted
) -> None:
    page = watch("/counted?after=0")
    until(lambda: counted.looks, "a look")
    counted.numbers.append(1)
    begun = len(counted.looks)
    page.next("came")
    assert counted.finds[0] <= begun + 1
    assert sse.TICK_SECONDS <= 0.5


def test_nobody_looks_when_nobody_watches(watch: Watch, counted: Counted) -> None:
    page = watch("/counted")
    until(lambda: counted.looks, "a look")
    page.close()
    (thread,) = counted.threads
    until(lambda: not thread.is_alive(), "the thread ends")


def test_a_page_that_went_away_is_forgotten(app: Flask, watch: Watch, counted: Counted) -> None:
    pages = [watch("/counted") for _ in range(3)]
    hub = service.of(app).part(sse.Hub)
    assert hub.count() == 3
    for page in pages:
        page.close()
    assert hub.count() == 0


def test_who_does_not_read_is_let_go(watch: Watch, counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MOST_UNREAD", 0)
    page = watch("/counted")
    counted.numbers.append(1)
    with pytest.raises(StopIteration):
        page.next("came")


def test_one_page_too_many_is_told_so(client: FlaskClient, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MOST_STREAMS", 1)
    watch()
    answer = client.get("/live")
    assert answer.status_code == 503
    assert "1 pages watch already" in answer.text


def test_an_idle_stream_shows_that_it_lives(watch: Watch, counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.01)
    assert _text(next(watch("/counted")._chunks)) == ": still here\n\n"


def test_streams_end_when_their_process_is_told_to_end(app: Flask, watch: Watch, counted: Counted) -> None:
    page = watch("/counted")
    service.of(app).ending = lambda: True
    with pytest.raises(StopIteration):
        page.next("came")


def test_data_of_any_kind_stays_the_data_of_its_message() -> None:
    written = sse._lines(sse.Message("came", "a\n\nevent: b\r\rid: 7\u2028\n", 3))
    assert [line.partition(":")[0] for line in written.splitlines() if line] == ["id", "event", *["data"] * 6]


def test_the_database_may_go_away_for_a_while(app: Flask, watch: Watch, keep: Keep, engine: sa.Engine) -> None:
    page = watch()
    page.next("counts")
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE events RENAME TO elsewhere")
    until(lambda: _looks_fail(app), "a look fails")
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO events")
    kept = keep()
    assert page.next("came").event_id == kept


def _looks_fail(app: Flask) -> bool:
    return bool(service.of(app).part(sse.Hub).failures)


def test_a_page_that_watches_is_told_nothing_more_after_its_logout(
    client_with: Callable[..., FlaskClient], inbox: Inbox, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.02)
    client = client_with(ADMIN_PASSWORD="a-password-of-the-tests")
    client.post("/login", data={"password": "a-password-of-the-tests"})
    page, other = Page(client), Page(client)
    keep()
    assert page.next("came")
    client.post("/logout")
    until(lambda: next(page._chunks, None) is None, "the end of its stream")
    other.close()
