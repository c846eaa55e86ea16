"""Bins and captures: what is kept and for how long, the answers, the names, the numbers."""

import base64
import re
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from receiver import bins
from receiver.bins import recording
from receiver.bins.captures import read_form
from receiver.errors import BinError, NotFoundError, StoreError
from receiver.events import Headers
from receiver.storage import db
from receiver.storage.tables import captures
from tests.installation import Clock
from tests.waiting import until

pytestmark = pytest.mark.both_databases

NAME = "brave-otter-41"


def came(**changed: Any) -> bins.Request:
    told: dict[str, Any] = {
        "method": "POST",
        "path": "/below",
        "query": "a=1&b=",
        "client": "192.0.2.1",
        "headers": Headers([("Host", "localhost"), ("Authorization", "Bearer key")]),
        "body": b"\x00\xff",
    }
    return bins.Request(**told | changed)


@pytest.fixture
def made(engine: sa.Engine, clock: Clock) -> str:
    return str(bins.create(engine, name=NAME, now=clock())["name"])


def put(engine: sa.Engine, clock: Clock, count: int = 1, **changed: Any) -> bins.BinResponse:
    for _ in range(count):
        clock.pass_by(seconds=1)
        reply = bins.record(engine, NAME, came(**changed), now=clock())
    return reply


def numbers(engine: sa.Engine) -> list[int]:
    return [item["number"] for item in bins.list_captures(engine, NAME, limit=1000)["items"]]


def test_a_bin_gets_a_name_that_a_person_can_say(engine: sa.Engine, clock: Clock) -> None:
    name = bins.create(engine, now=clock())["name"]
    assert re.fullmatch(r"[a-z]+-[a-z]+-\d\d", name)
    assert bins.is_name(name)


@pytest.mark.parametrize("name", ["", "-x", "A", "a b", "a/b", "ä", "x" * 61, "a\n", "..", "a_b"])
def test_a_name_that_cannot_be_is_refused_with_what_can(engine: sa.Engine, clock: Clock, name: str) -> None:
    with pytest.raises(BinError, match="small letters, digits and dashes"):
        bins.create(engine, name=name, now=clock())
    with pytest.raises(NotFoundError):
        bins.show_bin(engine, name)


def test_a_name_is_given_once(engine: sa.Engine, clock: Clock, made: str) -> None:
    with pytest.raises(BinError, match=f"There is a bin {made} already"):
        bins.create(engine, name=made, now=clock())


def test_bins_are_listed_newest_first_and_page_by_page(engine: sa.Engine, clock: Clock) -> None:
    for name in ("a", "b", "c"):
        bins.create(engine, name=name, now=clock())
    first = bins.list_bins(engine, limit=2)
    second = bins.list_bins(engine, limit=2, cursor=first["next"])
    assert [item["name"] for item in first["items"] + second["items"]] == ["c", "b", "a"]
    assert second["next"] is None


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1" * 40, "\0"])
def test_a_cursor_that_no_listing_gave_is_told(engine: sa.Engine, made: str, cursor: str) -> None:
    with pytest.raises(NotFoundError, match="cursor"):
        bins.list_bins(engine, cursor=cursor)
    with pytest.raises(NotFoundError, match="cursor"):
        bins.list_captures(engine, made, cursor=cursor)


def test_a_new_bin_answers_captured_and_keeps_500(engine: sa.Engine, made: str) -> None:
    item = bins.show_bin(engine, made)
    assert (item["status"], item["keep_count"], item["keep_seconds"], item["captured_at"]) == (200, 500, None, None)
    assert base64.b64decode(item["body_base64"]) == bins.STANDARD_BODY
    assert item["headers"] == [["Content-Type", "application/json"]]
    assert item["has_secret"] is False


def test_a_request_is_kept_as_it_came_and_shown_without_credentials(engine: sa.Engine, clock: Clock, made: str) -> None:
    reply = put(engine, clock)
    item = bins.show_capture(engine, made, reply.capture_id)
    assert (item["method"], item["path"], item["query"], item["client"]) == ("POST", "/below", "a=1&b=", "192.0.2.1")
    assert item["query_fields"] == [["a", "1"], ["b", ""]]
    assert item["headers"] == [["Host", "localhost"], ["Authorization", "•••"]]
    assert base64.b64decode(item["body_base64"]) == b"\x00\xff"
    assert (item["body_bytes"], item["number"], item["answered"]) == (2, 1, 200)
    assert bins.read_capture(engine, made, reply.capture_id).request == came()


def test_the_newest_capture_is_called_last(engine: sa.Engine, clock: Clock, made: str) -> None:
    newest = put(engine, clock, 2).capture_id
    assert bins.show_capture(engine, made, "last")["id"] == newest
    assert bins.show_capture(engine, made, newest.lower())["id"] == newest


@pytest.mark.parametrize("given", ["", "x", "\0", "0" * 26, "\ud800", "last "])
def test_a_capture_that_is_not_there_is_told(engine: sa.Engine, made: str, given: str) -> None:
    with pytest.raises(NotFoundError, match="no such capture"):
        bins.show_capture(engine, made, given)


def test_a_capture_of_another_bin_is_not_this_ones(engine: sa.Engine, clock: Clock, made: str) -> None:
    bins.create(engine, name="other", now=clock())
    with pytest.raises(NotFoundError):
        bins.show_capture(engine, "other", put(engine, clock).capture_id)


def test_captures_are_listed_newest_first_and_none_twice_while_more_come(
    engine: sa.Engine, clock: Clock, made: str
) -> None:
    put(engine, clock, 5)
    first = bins.list_captures(engine, made, limit=2)
    put(engine, clock)
    second = bins.list_captures(engine, made, limit=2, cursor=first["next"])
    assert [item["number"] for item in first["items"] + second["items"]] == [5, 4, 3, 2]


def test_who_follows_a_bin_gets_what_came_after_a_number(engine: sa.Engine, clock: Clock, made: str) -> None:
    put(engine, clock, 4)
    assert [item["number"] for item in bins.captures_after(engine, made, 2)] == [3, 4]


def test_a_bin_keeps_the_newest(engine: sa.Engine, clock: Clock, made: str) -> None:
    bins.change(engine, made, {"keep_count": 3})
    put(engine, clock, 5)
    assert numbers(engine) == [5, 4, 3]
    item = bins.show_bin(engine, made)
    assert (item["kept"], item["captured"]) == (3, 5)


def test_a_bin_that_is_to_keep_less_does_so_from_its_next_request_on(
    engine: sa.Engine, clock: Clock, made: str
) -> None:
    put(engine, clock, 5)
    bins.change(engine, made, {"keep_count": 2})
    put(engine, clock)
    assert numbers(engine) == [6, 5]


def test_what_is_too_old_goes_with_the_next_request(engine: sa.Engine, clock: Clock, made: str) -> None:
    bins.change(engine, made, {"keep_seconds": 60})
    put(engine, clock, 3)
    clock.pass_by(seconds=58)
    put(engine, clock)
    assert numbers(engine) == [4, 3, 2]
    clock.pass_by(hours=1)
    put(engine, clock)
    assert numbers(engine) == [5]


def test_what_is_too_old_can_be_let_go_without_a_request(engine: sa.Engine, clock: Clock, made: str) -> None:
    bins.change(engine, made, {"keep_seconds": 60})
    put(engine, clock, 3)
    assert bins.prune(engine, now=clock()) == 0
    assert bins.prune(engine, now=clock() + timedelta(minutes=2), name="other") == 0
    assert bins.prune(engine, now=clock() + timedelta(minutes=2)) == 3
    assert bins.show_bin(engine, made)["kept"] == 0
    assert bins.prune(engine, now=clock() + timedelta(minutes=2)) == 0


def test_clearing_says_how_many_were_there_and_counts_on(engine: sa.Engine, clock: Clock, made: str) -> None:
    put(engine, clock, 120)
    assert bins.clear(engine, made) == 120
    put(engine, clock)
    assert numbers(engine) == [121]


def test_deleting_a_bin_takes_its_captures_along_and_says_how_many(engine: sa.Engine, clock: Clock, made: str) -> None:
    put(engine, clock, 3)
    assert bins.delete(engine, made) == 3
    with pytest.raises(NotFoundError, match=f"signalbox bins create {made}"):
        bins.show_bin(engine, made)
    with db.reading(engine) as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(captures)).scalar_one() == 0


@pytest.mark.parametrize("change", [bins.clear, bins.delete, bins.list_captures])
def test_a_bin_that_is_not_there_is_told(engine: sa.Engine, change: Any) -> None:
    with pytest.raises(NotFoundError, match="there is no bin nobody"):
        change(engine, "nobody")


def test_the_answer_is_as_set_up(engine: sa.Engine, clock: Clock, made: str) -> None:
    bins.change(
        engine, made, {"status": 418, "headers": [["X-A", "1"], ["X-A", "2"]], "body": b"\xff", "delay_seconds": 1.5}
    )
    reply = put(engine, clock)
    assert (reply.status, reply.body, reply.delay) == (418, b"\xff", timedelta(seconds=1.5))
    assert reply.headers == (("X-A", "1"), ("X-A", "2"))


def test_every_third_request_fails_if_it_is_to(engine: sa.Engine, clock: Clock, made: str) -> None:
    bins.change(engine, made, {"fail_every": 3, "fail_status": 503, "body": b"fine"})
    replies = [put(engine, clock) for _ in range(6)]
    assert [reply.status for reply in replies] == [200, 200, 503, 200, 200, 503]
    assert replies[2].body == recording.FAILED_BODY
    assert bins.show_capture(engine, made, "last")["answered"] == 503


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", 199),
        ("status", 600),
        ("status", True),
        ("status", "200"),
        ("fail_status", 100),
        ("delay_seconds", 30.1),
        ("delay_seconds", -1),
        ("delay_seconds", float("nan")),
        ("delay_seconds", True),
        ("fail_every", -1),
        ("keep_count", 0),
        ("keep_count", 10**9),
        ("keep_seconds", 0),
        ("keep_seconds", 10**12),
        ("body", "text"),
        ("body", b"x" * (1024 * 1024 + 1)),
        ("secret", "with space"),
        ("secret", "é"),
        ("secret", "x" * 201),
        ("secret", "a\r\n"),
        ("headers", [["X-A", "a\r\nSet-Cookie: b=c"]]),
        ("headers", [["X-A\r\nX-B", "a"]]),
        ("headers", [["X-A", "\0"]]),
        ("headers", [["X A", "a"]]),
        ("headers", [["", "a"]]),
        ("headers", [["X-A", "€"]]),
        ("headers", [["Content-Length", "0"]]),
        ("headers", [["Transfer-Encoding", "chunked"]]),
        ("headers", [["connection", "close"]]),
        ("headers", [["X-A"]]),
        ("headers", "X-A: 1"),
        ("headers", [["X-A", "a" * 9000]]),
        ("headers", [["X-A", "a"]] * 101),
    ],
)
def test_what_no_answer_can_be_is_refused_and_changes_nothing(
    engine: sa.Engine, made: str, field: Any, value: Any
) -> None:
    before = bins.show_bin(engine, made)
    with pytest.raises(BinError) as refused:
        bins.change(engine, made, {field: value, "keep_count": 7 if field != "keep_count" else value})  # type: ignore[misc]
    assert field in refused.value.problems
    assert bins.show_bin(engine, made) == before


def test_all_problems_are_told_at_once(engine: sa.Engine, clock: Clock) -> None:
    with pytest.raises(BinError) as refused:
        bins.create(engine, now=clock(), changes={"status": 1, "keep_count": 0})
    assert set(refused.value.problems) == {"status", "keep_count"}


def test_a_secret_is_kept_as_a_digest_and_never_shown(engine: sa.Engine, made: str) -> None:
    item = bins.change(engine, made, {"secret": "open-sesame"})
    assert item["has_secret"] is True
    with db.reading(engine) as connection:
        assert "open-sesame" not in str(connection.execute(sa.text("SELECT * FROM bins")).all()) + str(item)
    secret = bins.secret_of(engine, made)
    assert secret
    assert secret.is_among([b"", b"open-sesame"])
    assert not secret.is_among([b"", b"open-sesam", b"\xff"])
    assert bins.change(engine, made, {"secret": ""})["has_secret"] is False


def test_a_bin_is_made_by_its_first_request_where_that_is_wanted(engine: sa.Engine, clock: Clock) -> None:
    with pytest.raises(NotFoundError):
        bins.record(engine, NAME, came(), now=clock())
    bins.record(engine, NAME, came(), now=clock(), may_make=True)
    assert numbers(engine) == [1]
    with pytest.raises(NotFoundError, match="small letters"):
        bins.record(engine, "A", came(), now=clock(), may_make=True)


def test_requests_that_come_together_get_each_its_number(engine: sa.Engine, clock: Clock) -> None:
    def send() -> None:
        for _ in range(10):
            bins.record(engine, NAME, came(), now=clock(), may_make=True)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(engine) == list(range(40, 0, -1))
    assert bins.show_bin(engine, NAME)["captured"] == 40


def test_a_bin_from_its_making_to_its_end(engine: sa.Engine, clock: Clock) -> None:
    with pytest.raises(NotFoundError):
        bins.show_bin(engine, "\0")
    bins.create(engine, name=NAME, now=clock(), changes={"keep_count": 3, "keep_seconds": 60, "secret": "open"})
    last = put(engine, clock, 5)
    assert numbers(engine) == [5, 4, 3]
    item = bins.show_capture(engine, NAME, last.capture_id)
    assert (item["number"], base64.b64decode(item["body_base64"])) == (5, b"\x00\xff")
    assert [one["name"] for one in bins.list_bins(engine)["items"]] == [NAME]
    clock.pass_by(hours=1)
    assert bins.prune(engine, now=clock()) == 3
    put(engine, clock, 2)
    assert (bins.clear(engine, NAME), bins.delete(engine, NAME)) == (2, 0)


def test_only_so_many_bins_are_made_by_requests(
    engine: sa.Engine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "MOST_AUTO_BINS", 2)
    for name in ("a", "b", "a"):
        bins.record(engine, name, came(), now=clock(), may_make=True)
    with pytest.raises(BinError, match="signalbox bins create c"):
        bins.record(engine, "c", came(), now=clock(), may_make=True)
    bins.create(engine, name="c", now=clock())
    bins.record(engine, "c", came(), now=clock(), may_make=True)


MULTIPART = (
    b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    b'--x\r\nContent-Disposition: form-data; name="f"; filename="../\xc3\xa9.png"\r\nContent-Type: image/png\r\n\r\n'
    b"\x89PNG\r\n\r\n--x--\r\n"
)


def test_the_fields_and_files_of_a_form_are_listed(engine: sa.Engine, clock: Clock, made: str) -> None:
    headers = Headers([("Content-Type", "multipart/form-data; boundary=x")])
    put(engine, clock, headers=headers, body=MULTIPART)
    item = bins.show_capture(engine, made, "last")
    assert item["form"] == [["a", "1"]]
    assert [(file["name"], file["content_type"], file["bytes"]) for file in item["files"]] == [("f", "image/png", 6)]


@pytest.mark.parametrize(
    ("content_type", "body", "fields"),
    [
        ("application/x-www-form-urlencoded", b"a=1&a=2&b=%00", [["a", "1"], ["a", "2"], ["b", "\0"]]),
        ("application/x-www-form-urlencoded", b"\xff&=&&&", [["\ufffd", ""], ["", ""]]),
        ("multipart/form-data", MULTIPART, []),
        ("multipart/form-data; boundary=x", b"--x\r\n", []),
        ("multipart/form-data; boundary=\xff", MULTIPART, []),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 2000, []),
        ("multipart/form-data; boundary=x", MULTIPART.replace(b"\xc3", b"\xff"), []),
        ("application/x-www-form-urlencoded", b"a&" * 2000, []),
        ("application/json", b"a=1", []),
        ("", b"a=1", []),
    ],
)
def test_a_form_is_read_and_what_is_none_does_no_harm(content_type: str, body: bytes, fields: list[list[str]]) -> None:
    assert read_form(Headers([("Content-Type", content_type)]), body)[0] == fields


# Captures that come together


def test_captures_that_come_together_share_a_commit_and_each_has_its_number(engine: sa.Engine, made: str) -> None:
    recorder = bins.Recorder(engine)
    commits: list[object] = []
    replies: list[bins.BinResponse] = []
    held, may_go = threading.Event(), threading.Event()

    def wait_once() -> bool:
        held.set()
        may_go.wait()
        return False

    recorder._goes_first = wait_once
    sa.event.listen(engine, "commit", commits.append)
    now = datetime.now(UTC)
    threads = [
        threading.Thread(target=lambda: replies.append(recorder.record(made, came(), now=now)), daemon=True)
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    until(lambda: held.is_set() and len(recorder._group._open.arrivals) == 20, "all wait for one commit")
    commits.clear()
    may_go.set()
    for thread in threads:
        thread.join()
    assert len({reply.capture_id for reply in replies}) == 20
    assert len(commits) == 1
    assert sorted(numbers(engine)) == list(range(1, 21))


def test_a_request_to_no_bin_fails_alone_among_those_that_share_its_commit(engine: sa.Engine, made: str) -> None:
    now = datetime.now(UTC)
    asked = [recording.Came(name=name, request=came(), at=now, may_make=False) for name in (made, "nowhere", made)]
    with db.writing(engine) as connection:
        first, lost, last = recording._record(connection, asked)
    assert isinstance(lost, NotFoundError)
    assert isinstance(first, bins.BinResponse)
    assert isinstance(last, bins.BinResponse)
    assert sorted(numbers(engine)) == [1, 2]


def test_deliveries_that_wait_go_before_captures(engine: sa.Engine, made: str) -> None:
    asked: list[bool] = []

    def wait_for_three() -> bool:
        asked.append(True)
        return len(asked) < 3

    bins.Recorder(engine, goes_first=wait_for_three).record(made, came(), now=datetime.now(UTC))
    assert (len(asked), numbers(engine)) == (3, [1])


def test_a_delivery_that_never_ends_to_wait_holds_no_capture_up_for_ever(
    engine: sa.Engine, made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bins.Recorder, "LETS_PASS_SECONDS", 0.01)
    bins.Recorder(engine, goes_first=lambda: True).record(made, came(), now=datetime.now(UTC))
    assert numbers(engine) == [1]


def test_captures_beyond_those_that_may_wait_are_asked_to_come_again(
    engine: sa.Engine, made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording._Group, "MOST_WAITING", 1)
    recorder, may_go = bins.Recorder(engine), threading.Event()
    recorder._goes_first = lambda: not may_go.wait()
    first = threading.Thread(target=lambda: recorder.record(made, came(), now=datetime.now(UTC)), daemon=True)
    first.start()
    until(lambda: recorder._group._open.arrivals, "one waits")
    with pytest.raises(StoreError, match="too many captures"):
        recorder.record(made, came(), now=datetime.now(UTC))
    may_go.set()
    first.join()
    assert numbers(engine) == [1]
