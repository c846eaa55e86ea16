"""Searching far back: in steps, until the page is full or the time is over, without leaving out or repeating."""

import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from receiver.storage import db, search
from receiver.storage.ids import new_id
from receiver.storage.search import Filters
from receiver.storage.tables import events, jobs
from tests import listings

COUNT = 20_000
START = datetime(2026, 5, 4, tzinfo=UTC)
EVERY = timedelta(seconds=1)
AT_ONCE = timedelta(0)


def event(number: int) -> dict[str, Any]:
    """Give a row: each tenth is Filestack's, each thousandth holds a needle."""
    source, name = ("filestack", "fp.upload") if number % 10 == 0 else ("box", "FILE.UPLOADED")
    at = START + number * EVERY
    needle = "needle" if number % 1000 == 500 else "straw"
    return {
        "id": new_id(at),
        "source": source,
        "type": f"{source}:{name}",
        "name": name,
        "identity": str(number),
        "state": "routed",
        "received_at": at,
        "verified_by": "primary",
        "drift": [{"path": "x", "problem": "unknown"}] if number == 7 else [],
        "headers": b"X-Number: %d\r\n" % number,
        "body": f'{{"number": {number}, "holds": "{needle}"}}'.encode(),
    }


@pytest.fixture(scope="session")
def full_file(template_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with COUNT events in it, made once."""
    path = tmp_path_factory.mktemp("many") / "signalbox.db"
    shutil.copyfile(template_file, path)
    engine = db.open_engine(f"sqlite:///{path}")
    with db.writing(engine) as connection:
        connection.execute(sa.insert(events), [event(number) for number in range(COUNT)])
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return path


@pytest.fixture
def many(full_file: Path, tmp_path: Path) -> Iterator[sa.Engine]:
    path = tmp_path / "many.db"
    shutil.copyfile(full_file, path)
    engine = db.open_engine(f"sqlite:///{path}")
    yield engine
    engine.dispose()


def numbers(rows: Any) -> list[int]:
    return [row.seq - 1 for row in rows]


def walk(engine: sa.Engine, filters: Filters, *, limit: int = 3, **more: Any) -> tuple[list[int], int]:
    """Read page after page to the end; give the numbers of the events, and how often the search stopped early."""
    found: list[int] = []
    stops, cursor = 0, None
    while True:
        page = search.find(engine, events, filters, limit=limit, cursor=cursor, **more)
        found += numbers(page.rows)
        stops += page.searched_to is not None
        if page.next is None:
            return found, stops
        cursor = page.next


NEEDLES = list(range(COUNT - 500, 0, -1000))


def test_text_is_found_wherever_it_is(many: sa.Engine) -> None:
    assert walk(many, Filters(q="needle")) == (NEEDLES, 0)


def test_a_search_without_time_stops_after_one_step_and_says_how_far_it_came(many: sa.Engine) -> None:
    page = search.find(many, events, Filters(q="needle"), limit=3, patience=AT_ONCE)
    assert numbers(page.rows) == []
    assert page.next == str(COUNT - search.FIRST_STEP_OF_SEARCH + 1)
    assert page.searched_to == START + (COUNT - search.FIRST_STEP_OF_SEARCH) * EVERY


def test_a_search_that_stops_early_goes_on_without_leaving_out_or_repeating(many: sa.Engine) -> None:
    found, stops = walk(many, Filters(q="needle"), patience=AT_ONCE)
    assert found == NEEDLES
    assert stops == pytest.approx(COUNT / search.FIRST_STEP_OF_SEARCH, abs=30)


def test_how_far_a_search_came_is_counted(many: sa.Engine) -> None:
    page = search.find(many, events, Filters(q="needle"), limit=3, patience=AT_ONCE)
    assert search.progress(many, events, page.next or "") == (search.FIRST_STEP_OF_SEARCH, COUNT)


def test_the_json_of_a_search_that_stopped_says_so(many: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "searched_to" not in listings.list_events(many, Filters(q="needle"))
    monkeypatch.setattr(search, "PATIENCE", AT_ONCE)
    page = listings.list_events(many, Filters(q="needle"))
    assert (page["items"], page["searched_to"]) == ([], "2026-05-04T05:32:48Z")


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        (Filters(source="filestack"), range(COUNT - 10, -1, -10)),
        (Filters(type="filestack:fp.*"), range(COUNT - 10, -1, -10)),
        (Filters(state="drift"), [7]),
        (Filters(state="accepted"), []),
        (Filters(state="routed", since=START + (COUNT - 5) * EVERY), range(COUNT - 1, COUNT - 6, -1)),
        (Filters(since=START + 100 * EVERY, until=START + 103 * EVERY), [102, 101, 100]),
        (Filters(until=START + 2 * EVERY), [1, 0]),
        (Filters(since=START + COUNT * EVERY), []),
        (Filters(since=datetime.min.replace(tzinfo=UTC), until=START + EVERY), [0]),
        (Filters(q="needle", source="filestack"), NEEDLES),
        (Filters(q="needle", source="box"), []),
    ],
)
def test_every_filter_finds_all_of_it_page_by_page(many: sa.Engine, filters: Filters, wanted: Any) -> None:
    assert walk(many, filters, limit=700) == (list(wanted), 0)
    assert walk(many, filters, limit=700, patience=AT_ONCE)[0] == list(wanted)


@pytest.mark.parametrize("count", [3, search.FEW + 3])
@pytest.mark.parametrize("state", ["waiting", "running", "done", "dead"])
def test_events_are_found_by_the_state_of_their_jobs(many: sa.Engine, state: str, count: int) -> None:
    ids = {number: event_id for event_id, number in _ids(many)}
    due = START if state in ("waiting", "running") else None
    rows = [{"event_id": ids[number * 7], "handler": "h", "state": state, "due_at": due} for number in range(count)]
    with db.writing(many) as connection:
        connection.execute(sa.insert(jobs), rows)
    assert walk(many, Filters(state=state), limit=200) == ([number * 7 for number in reversed(range(count))], 0)
    for other in {"waiting", "running", "done", "dead"} - {state}:
        assert walk(many, Filters(state=other)) == ([], 0)


def _ids(engine: sa.Engine) -> list[tuple[str, int]]:
    with db.reading(engine) as connection:
        return [(row.id, row.seq - 1) for row in connection.execute(sa.select(events.c.id, events.c.seq))]


@pytest.mark.parametrize("order", [[0, 1, 2, 300, 3, 4, 5], [300, 5, 4, 3, 2, 1, 0], [4, 5, 300, 0, 1]])
def test_a_time_is_found_although_rows_were_written_out_of_order(engine: sa.Engine, order: list[int]) -> None:
    with db.writing(engine) as connection:
        connection.execute(sa.insert(events), [event(number) for number in order])
    for since, before in ((4, 301), (0, 4), (1, 6), (300, 301), (6, 300)):
        filters = Filters(since=START + since * EVERY, until=START + before * EVERY)
        found = search.find(engine, events, filters, limit=9)
        assert {order[row.seq - 1] for row in found.rows} == {one for one in order if since <= one < before}


def test_a_time_is_exact_within_a_millisecond(engine: sa.Engine) -> None:
    at = START + timedelta(microseconds=500)
    with db.writing(engine) as connection:
        connection.execute(sa.insert(events), event(0) | {"received_at": at, "id": new_id(at)})
    tick = timedelta(microseconds=1)
    for filters, count in (
        (Filters(until=at + tick), 1),
        (Filters(until=at), 0),
        (Filters(since=at), 1),
        (Filters(since=at + tick), 0),
    ):
        assert len(search.find(engine, events, filters, limit=9).rows) == count


def test_paging_through_a_filter_while_events_arrive_neither_leaves_out_nor_repeats(many: sa.Engine) -> None:
    found: list[int] = []
    cursor = None
    for arrival in range(COUNT, COUNT + 8):
        page = search.find(many, events, Filters(source="filestack"), limit=300, cursor=cursor)
        found += numbers(page.rows)
        with db.writing(many) as connection:
            connection.execute(sa.insert(events), event(arrival))
        if (cursor := page.next) is None:
            break
    assert found == list(range(COUNT - 10, -1, -10))


@pytest.fixture
def on_postgres(empty_postgres: str) -> Iterator[sa.Engine]:
    engine = db.open_engine(empty_postgres)
    with db.writing(engine) as connection:
        connection.execute(sa.insert(events), [event(number) for number in range(40)])
        fourth = connection.execute(sa.select(events.c.id).where(events.c.seq == 4)).scalar_one()
        connection.execute(sa.insert(jobs), {"event_id": fourth, "handler": "h", "state": "dead"})
    yield engine
    engine.dispose()


def test_postgresql_finds_the_same(on_postgres: sa.Engine) -> None:
    for filters, wanted in (
        (Filters(source="filestack"), [30, 20, 10, 0]),
        (Filters(type="filestack:fp.*"), [30, 20, 10, 0]),
        (Filters(state="drift"), [7]),
        (Filters(state="dead"), [3]),
        (Filters(state="done"), []),
        (Filters(state="accepted"), []),
        (Filters(q='"number": 12,'), [12]),
        (Filters(q="X-Number: 31"), [31]),
        (Filters(since=START + 5 * EVERY, until=START + 8 * EVERY), [7, 6, 5]),
    ):
        assert walk(on_postgres, filters) == (wanted, 0)
        assert walk(on_postgres, filters, patience=AT_ONCE)[0] == wanted


def test_a_source_is_read_from_above_and_not_by_its_index(many: sa.Engine) -> None:
    found = sa.select(events).where(events.c.seq > 5, *search.conditions(many, events, Filters(source="box")))
    with db.reading(many) as connection:
        text = str(found.order_by(events.c.seq.desc()).compile(many, compile_kwargs={"literal_binds": True}))
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").all()
    assert [row.detail for row in plan] == ["SEARCH events USING INTEGER PRIMARY KEY (rowid>?)"]


def test_other_work_gets_its_turn_between_the_steps(many: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[float] = []
    # The name in that module alone: other threads sleep as well.
    monkeypatch.setattr("receiver.storage.search.time", SimpleNamespace(monotonic=time.monotonic, sleep=turns.append))
    search.find(many, events, Filters(q="no such text"), limit=3)
    assert len(turns) >= 5
    assert all(0 < turn <= search.STEP.total_seconds() for turn in turns)


def step_lengths(took: Callable[[int], float]) -> list[int]:
    steps = [search.FIRST_STEP_OF_SEARCH]
    for _ in range(20):
        steps.append(search._next_step(steps[-1], took(steps[-1])))
    return steps


def test_steps_grow_until_they_take_as_long_as_they_may_and_shrink_again() -> None:
    assert step_lengths(lambda rows: rows * 1e-6)[-1] == pytest.approx(8_000, rel=0.01)
    assert step_lengths(lambda rows: rows * 1e-3)[-1] == pytest.approx(8, abs=1)
    assert step_lengths(lambda rows: 5.0)[-1] == 1
    assert max(step_lengths(lambda rows: 0.0)) == search.MOST_ROWS_A_STEP
