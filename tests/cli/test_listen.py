"""`signalbox listen`: the same bytes, signed afresh, each once, from where it stopped, whatever is away meanwhile."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from receiver.cli.listen import cursor as cursor_module
from receiver.cli.listen import forwarder
from receiver.cli.listen import remote as far_module
from receiver.cli.listen.cursor import Cursor
from receiver.cli.listen.forwarder import Forwarded, forward
from receiver.cli.listen.remote import Far, FarError, begin, unknown
from receiver.errors import SignalboxError
from receiver.events import Delivery, Headers, Verified
from receiver.outbound import Client, Reply
from receiver.sources import SOURCES
from tests import listings
from tests.cli.conftest import Keep, Signalbox
from tests.installation import BOX_KEYS
from tests.waiting import PATIENCE_SECONDS

TOKEN = "token-of-the-tests-of-signalbox"
SOON = timedelta(milliseconds=10)
IN_ALL = timedelta(seconds=PATIENCE_SECONDS)


@dataclass
class Near:
    """A URL of ours that notes what is posted to it."""

    url: str = ""
    came: list[Delivery] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)


@pytest.fixture
def near() -> Iterator[Near]:
    noted = Near()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            noted.came.append(
                Delivery(source="box", body=body, headers=Headers(self.headers.items()), received_at=now())
            )
            self.send_response(noted.statuses.pop(0) if noted.statuses else 204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    noted.url = f"http://127.0.0.1:{server.server_port}/webhooks"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield noted
    server.shutdown()
    thread.join()
    server.server_close()


Follow = Callable[..., Iterator[Forwarded]]


@pytest.fixture
def follow(app: Flask, served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Follow]:
    """Begin to listen to the application of this test, as a new process would."""
    monkeypatch.setattr(forwarder, "PAUSE", SOON)
    opened: list[Far | Client] = []

    def start(to: str, *, since: timedelta = timedelta(), **filters: str) -> Iterator[Forwarded]:
        far, near = Far(served, None, filters, within=IN_ALL), Client(within=IN_ALL, most=1000)
        opened.extend([far, near])
        return forward(far, Cursor.read(tmp_path / "below" / "cursor.json"), near, to, now() - since)

    with app.app_context():
        yield start
    for one in opened:
        one.close()


def now() -> datetime:
    return datetime.now(UTC)


def test_an_event_is_forwarded_byte_for_byte_and_signed_afresh(
    follow: Follow, near: Near, keep: Keep, engine: sa.Engine
) -> None:
    event_id = keep()
    told = next(follow(near.url, since=timedelta(minutes=1)))
    assert (told.event, told.type, told.status) == (event_id, "box:FILE.UPLOADED", 204)
    (came,) = near.came
    verdict = SOURCES["box"].verify(came, BOX_KEYS, max_age=timedelta(minutes=1), max_skew=timedelta(minutes=1))
    assert verdict == Verified("primary")
    kept = dict(listings.show_event(engine, event_id)["headers"])
    assert came.body == body_of(engine, event_id)
    assert came.headers["Box-Delivery-Id"] == kept["BOX-DELIVERY-ID"]
    assert came.headers["Signalbox-Event"] == event_id


def body_of(engine: sa.Engine, event_id: str) -> bytes:
    with engine.connect() as connection:
        return bytes(connection.exec_driver_sql("SELECT body FROM events WHERE id = ?", (event_id,)).scalar_one())


def test_what_was_there_before_is_left_alone_and_what_comes_later_is_forwarded_once(
    follow: Follow, near: Near, keep: Keep
) -> None:
    keep(number=1)
    stream = follow(near.url)
    second = keep(number=2)
    assert next(stream).event == second
    third = keep(number=3)
    assert next(stream).event == third
    assert len(near.came) == 2


def test_started_again_it_goes_on_where_it_stopped(follow: Follow, near: Near, keep: Keep) -> None:
    ids = [keep(number=number) for number in range(3)]
    stream = follow(near.url, since=timedelta(minutes=1))
    assert [next(stream).event, next(stream).event] == ids[:2]
    meanwhile = keep(number=9)
    again = follow(near.url)
    assert next(again).event == ids[1]  # told of, and stopped before that was written down: at least once
    assert [next(again).event, next(again).event] == [ids[2], meanwhile]


def test_only_what_is_asked_for_is_forwarded(follow: Follow, near: Near, keep: Keep) -> None:
    keep("filestack:fp.upload")
    wanted = keep("box:FILE.TRASHED")
    assert next(follow(near.url, since=timedelta(minutes=1), type="box:*")).event == wanted


def test_an_answer_is_an_answer_and_nothing_is_sent_twice_for_a_500(follow: Follow, near: Near, keep: Keep) -> None:
    near.statuses = [500]
    keep(number=1)
    stream = follow(near.url, since=timedelta(minutes=1))
    assert next(stream).status == 500
    keep(number=2)
    assert next(stream).status == 204
    assert len(near.came) == 2


def test_while_the_url_does_not_answer_it_is_tried_again(
    follow: Follow, near: Near, keep: Keep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep()
    urls = iter(["http://127.0.0.1:1/", "http://127.0.0.1:1/"])
    fetch = Client.fetch

    def astray(self: Client, method: str, url: str, **more: Any) -> Reply:
        return fetch(self, method, next(urls, url) if method == "POST" else url, **more)

    monkeypatch.setattr(Client, "fetch", astray)
    assert next(follow(near.url, since=timedelta(minutes=1))).status == 204
    said = capsys.readouterr().err
    assert said.count("it is tried again, and nothing is missed") == 1
    assert "It answers again." in said


def test_while_the_other_side_is_away_it_is_asked_again(
    follow: Follow, near: Near, keep: Keep, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_id = keep()
    troubles = iter([FarError("away"), FarError("away")])
    pages = Far.pages

    def stumbling(self: Far) -> object:
        for trouble in troubles:
            raise trouble
        return pages(self)

    monkeypatch.setattr(Far, "pages", stumbling)
    assert next(follow(near.url, since=timedelta(minutes=1))).event == event_id


def test_what_the_other_side_answers_is_told_apart(served: str, app: Flask, near: Near) -> None:
    app.config.update(ENV="production", API_TOKEN=TOKEN)
    with pytest.raises(SignalboxError, match="wants its own API_TOKEN"):
        list(Far(served, "another", {}, within=IN_ALL).pages())
    assert list(Far(served, TOKEN, {}, within=IN_ALL).pages()) == [[]]
    with pytest.raises(SignalboxError, match="is that a Signalbox"):
        list(Far(f"{served}/nowhere", TOKEN, {}, within=IN_ALL).pages())
    with pytest.raises(FarError, match="No response of"):
        list(Far("http://127.0.0.1:1", None, {}, within=IN_ALL).pages())


def test_a_listing_that_is_dealt_with_is_given_again_only_where_it_changed(served: str, keep: Keep) -> None:
    far = Far(served, None, {}, within=IN_ALL)
    keep(number=1)
    assert len(list(far.pages())) == 1
    assert len(list(far.pages())) == 1
    far.settle()
    assert list(far.pages()) == []
    keep(number=2)
    assert [len(page) for page in far.pages()] == [2]


def line(number: int, at: str = "2026-05-04T12:00:00Z") -> dict[str, str]:
    return {"id": f"{number:04}", "received_at": at}


def test_one_that_came_late_among_the_known_is_found_and_no_further_is_looked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(far_module, "LATE_PLACES", 3)
    pages = [[line(9), line(8)], [line(7), line(6), line(5)], [line(4)]]
    assert unknown(pages, {"0008", "0006", "0005"}) == ["0007", "0009"]
    assert unknown(pages, {"0009", "0008", "0007"}) == []


def test_the_first_look_knows_what_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(far_module, "LATE_PLACES", 2)
    old = "2026-05-04T11:00:00Z"
    pages = [[line(5), line(4, old)], [line(3), line(2, old), line(1, old)]]
    assert begin(pages, datetime(2026, 5, 4, 11, 30, tzinfo=UTC)) == (["0002", "0004"], ["0003", "0005"])


def test_a_cursor_is_whole_or_as_it_was_and_holds_no_more_than_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cursor_module, "REMEMBERED", 2)
    path = tmp_path / "cursor.json"
    Cursor.read(path).pass_by(["a", "b", "c"])
    again = Cursor.read(path)
    assert (list(again.known), again.is_new) == (["b", "c"], False)
    assert json.loads(path.read_text()) == {"known": ["b", "c"]}
    path.write_text("{")
    with pytest.raises(SignalboxError, match="is no cursor"):
        Cursor.read(path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "http://127.0.0.1:1"], "--from"),
        (["--from", "http://127.0.0.1:1"], "--to"),
        (["--from", "nothing", "--to", "http://127.0.0.1:1"], "'nothing' is no URL to send to"),
        (["--from", "http://127.0.0.1:1", "--to", "ftp://x"], "'ftp://x' is no URL to send to"),
        (["--from", "http://127.0.0.1:1", "--to", "http://127.0.0.1:1", "--type", "x"], "not a pattern"),
    ],
)
def test_where_from_and_where_to_have_to_be_said(signalbox: Signalbox, words: list[str], said: str) -> None:
    result = signalbox("listen", *words)
    assert (result.exit_code, said in result.stderr) == (2, True)
