"""The benchmark's own parts: it would notice a lost event, and its driver sends what was prepared."""

import itertools
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import sqlalchemy as sa

from bench import big_store, deliveries, driver, figures, peers, streams, verify
from bench.driver import Answered, Load
from bench.sites import FEWEST_LEFT
from bench.stage import QUICK, Stage, take_turns
from receiver.observe.queries import list_events
from tests.waiting import until

SENT = {0: b"first", 1: b"second"}
MESSAGE = b"id: 71\nevent: came\ndata: <li>\ndata: an event</li>\n\n"

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
needs_node_red = pytest.mark.skipif(not shutil.which("node-red"), reason="Node-RED is not installed")


@pytest.fixture
def bodies() -> list[bytes]:
    return []


@pytest.fixture
def port(bodies: list[bytes]) -> Iterator[int]:
    """A server that remembers bodies and answers with an event id; who asks for a stream gets one message of it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            answer = b'{"status": "accepted", "event": "E%d"}\n' % len(bodies)
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def do_GET(self) -> None:
            self.send_response(200 if self.headers["Authorization"] == "Bearer x" else 401)
            self.end_headers()
            self.wfile.write(b": begins\n\n" + MESSAGE[:5])
            self.wfile.flush()
            self.wfile.write(MESSAGE[5:])
            self.close_connection = self.path != "/kept-open"

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@needs_gcc
def test_the_driver_sends_what_was_prepared_and_writes_down_every_answer(
    tmp_path: Path, port: int, bodies: list[bytes]
) -> None:
    requests, answers = tmp_path / "requests", tmp_path / "answers"
    deliveries.write(requests, deliveries.forge(20))
    binary = driver.compile_driver(tmp_path)
    load = Load(connections=1, seconds=10, count=15)
    run = driver.drive(binary, port=port, requests=requests, answers=answers, load=load, first=3)
    prepared = deliveries.Deliveries(requests)
    assert (run.answered, run.unanswered, run.next, run.statuses) == (15, 0, 18, {"200": 15})
    assert bodies == [prepared.body(index) for index in range(3, 18)]
    found = verify.promised(driver.read_answers(answers.read_text().splitlines()))
    assert found == {f"E{number}": number + 2 for number in range(1, 16)}


def test_requests_are_read_back_by_number(tmp_path: Path) -> None:
    bodies = [b"a", b"", b"\r\n\r\nof its own"]
    deliveries.write(tmp_path / "requests", [deliveries.request("/hooks/box", [("A", "b")], body) for body in bodies])
    prepared = deliveries.Deliveries(tmp_path / "requests")
    assert [prepared.body(index) for index in range(len(prepared))] == bodies


def test_no_two_deliveries_are_alike() -> None:
    assert len(set(deliveries.forge(50))) == 50


def test_what_was_answered_otherwise_than_by_200_was_not_promised() -> None:
    answers = [Answered(0, 200, '{"event": "A"}'), Answered(1, 503, '{"status": "unavailable"}'), Answered(2, 0, "-")]
    assert verify.promised(answers) == {"A": 0}


def test_a_kept_promise_is_found_kept() -> None:
    kept = [("A", b"first"), ("B", b"second"), ("not ours", b"")]
    verdict = verify.compare({"A": 0, "B": 1}, SENT.__getitem__, kept, handled=["B", "A", "B"])
    assert verdict == verify.Verdict(promised=2)
    assert verdict.is_kept


def test_a_lost_event_is_noticed() -> None:
    verdict = verify.compare({"A": 0, "B": 1}, SENT.__getitem__, [("A", b"first")], handled=None)
    assert verdict.missing == 1
    assert not verdict.is_kept


def test_a_changed_byte_is_noticed() -> None:
    kept = [("A", b"first"), ("B", b"sec0nd")]
    verdict = verify.compare({"A": 0, "B": 1}, SENT.__getitem__, kept, handled=None)
    assert verdict.changed == 1
    assert not verdict.is_kept


def test_an_event_that_no_handler_saw_is_noticed() -> None:
    kept = [("A", b"first"), ("B", b"second")]
    verdict = verify.compare({"A": 0, "B": 1}, SENT.__getitem__, kept, handled=["A"])
    assert verdict.unhandled == 1
    assert not verdict.is_kept


@pytest.mark.parametrize(("share", "value"), [(0.5, 51), (0.99, 100), (1, 101)])
def test_a_percentile_is_one_of_the_values(share: float, value: float) -> None:
    assert driver.percentile([float(number) for number in range(101, 0, -1)], share) == value


def test_a_percentile_of_nothing_is_nothing() -> None:
    assert driver.percentile([], 0.99) == 0


def test_ratios_are_taken_within_a_round_so_that_a_slow_minute_slows_both_sides() -> None:
    row = figures.row_of_rounds("ingest", "x", "requests/s", {"empty": [100, 10, 200], "SQLite": [50, 5, 100]})
    assert row.ratios == {"SQLite": 0.5}
    assert row.values == {"empty": 100, "SQLite": 50}


def test_turns_are_taken_forth_and_back() -> None:
    numbers = itertools.count()
    found = take_turns({"A": lambda: next(numbers), "B": lambda: next(numbers)}, 3)
    assert found == {"A": [0, 3, 4], "B": [1, 2, 5]}


def test_open_pages_are_read_until_they_are_closed(port: int) -> None:
    with streams.opened(port, "/kept-open", {"Authorization": "Bearer x"}, count=3) as pages:
        until(lambda: all(page.messages for page in pages), "each page has its message")
        assert [(page.status, page.messages, page.place, page.is_over) for page in pages] == [(200, 1, 71, False)] * 3


def test_a_page_that_the_server_ends_is_noticed(port: int) -> None:
    with streams.opened(port, "/", {"Authorization": "Bearer y"}, count=1) as (page,):
        until(lambda: page.is_over, "the page is over")
        assert (page.status, page.messages) == (401, 1)


def test_the_big_store_holds_a_month_of_events_each_with_its_job_done(engine: sa.Engine) -> None:
    big_store.prefill(engine, 3)
    items = list_events(engine).items
    assert [item.job_counts for item in items] == [{"done": 1}] * 3
    assert [item.state for item in items] == ["routed"] * 3
    assert items == sorted(items, key=lambda item: item.received_at, reverse=True)


@needs_gcc
@needs_node_red
def test_node_red_has_written_what_it_answers_200(tmp_path: Path) -> None:
    requests = tmp_path / "requests"
    deliveries.write(requests, deliveries.forge(FEWEST_LEFT))
    prepared = deliveries.Deliveries(requests)
    site = peers.NodeRed("Node-RED", tmp_path / "node-red", driver.compile_driver(tmp_path), prepared)
    try:
        site.open()
        site.wait_serving()
        run = site.drive(Load(connections=1, seconds=10, count=20))
        kept = [json.loads(line) for line in site.kept.read_text().splitlines()]
    finally:
        site.stop()
    assert run.statuses == {"200": 20}
    assert kept == [json.loads(prepared.body(index)) for index in range(20)]


def test_a_peer_that_is_not_installed_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    requests = tmp_path / "requests"
    deliveries.write(requests, deliveries.forge(1))
    prepared = deliveries.Deliveries(requests)
    stage = Stage(plan=QUICK, folder=tmp_path, driver=tmp_path / "drive", deliveries=prepared, postgres=None)
    assert list(peers.peers(stage)) == []
    assert stage.remarks == ["adnanh/webhook: not installed, left out", "Node-RED: not installed, left out"]
