"""The phase over a big store: ingest, the listing and the pages, with many events kept and with few or none."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median
from time import perf_counter

import sqlalchemy as sa

from bench.driver import Load
from bench.figures import Row
from bench.sites import BenchError, Got, Signalbox
from bench.stage import Stage, in_turns, take_turns
from receiver.inbox.rows import Arrival
from receiver.observe.queries import list_events
from receiver.storage import db
from receiver.storage.ids import new_id

AT_ONCE = 20_000
KEPT_FOR = timedelta(days=30)
BODY = b'{"type":"webhook_event","trigger":"FILE.UPLOADED","pad":"' + b"x" * 240 + b'"}'
EVENT_FIELDS = Arrival._fields
JOB_FIELDS = ("id", "event_id", "handler", "state", "attempt")
ATTEMPT_FIELDS = ("job_id", "number", "started_at", "finished_at", "outcome")
LOOKS = 21
SEARCHES = 5
SEARCH = "/?q=a-text-that-is-nowhere"
UNFINISHED = b"Searched back to"
MODERATE_PER_SECOND = 200


def big_store(stage: Stage) -> Iterator[Row]:
    """Ingest, the listing and the pages over a store with many events, and over an empty or small one; SQLite."""
    count = stage.plan.prefilled
    load = Load(connections=32, seconds=stage.plan.seconds)
    with (
        stage.sides(empty=False, postgres=False, warm=False) as (_, (big,)),
        stage.sides(empty=False, postgres=False, warm=False) as (_, (small,)),
    ):
        prefill(big.engine, count)
        big.name, small.name = "big", "small"
        both = (small, big)
        yield _held_against("inbox over", "ms", _looks(both, "/"), count, other="none")
        for site in both:
            site.warm_up()
        speeds = in_turns(both, max(2, stage.plan.rounds - 2), lambda site: site.drive(load).per_second)
        yield _held_against("ingest over", "requests/s", speeds, count)
        yield _held_against("first page over", "ms", in_turns(both, LOOKS, _listing_milliseconds), count)
        for name, path in (("inbox", "/"), ("stats", "/stats"), ("handlers", "/handlers")):
            yield _held_against(f"{name} over", "ms", _looks(both, path), count)
        yield from _search(stage, big)
        for site in both:
            stage.check("big store", site)


def _held_against(
    figure: str, unit: str, rounds: Mapping[str, Sequence[float]], count: int, *, other: str = "few events"
) -> Row:
    ratio = median(big / small for big, small in zip(rounds["big"], rounds["small"], strict=True))
    return Row(
        phase="big store",
        figure=f"{figure} {count:,}",
        unit=unit,
        values={"SQLite": median(rounds["big"])},
        ratios={"SQLite": ratio},
        against=f"{other} ({median(rounds['small']):,.2f})",
    )


def _listing_milliseconds(site: Signalbox) -> float:
    began = perf_counter()
    list_events(site.engine)
    return (perf_counter() - began) * 1000


def _looks(sites: Sequence[Signalbox], path: str) -> dict[str, list[float]]:
    in_turns(sites, 2 * 2, partial(_look, path=path))  # each web process makes its templates ready at the first look
    return in_turns(sites, LOOKS, partial(_look, path=path))


def _look(site: Signalbox, path: str) -> float:
    return _opened(site, path).milliseconds


def _opened(site: Signalbox, path: str) -> Got:
    got = site.get(path)
    if got.status != 200:
        raise BenchError(f"{site.name} answered GET {path} with {got.status}")
    return got


def _search(stage: Stage, big: Signalbox) -> Iterator[Row]:
    """Look for a text that no event has: how long the page takes, and what deliveries wait meanwhile."""
    searches = [_opened(big, SEARCH) for _ in range(SEARCHES)]
    slowest = max(got.milliseconds for got in searches)
    came = "as far as it got" if any(UNFINISHED in got.body for got in searches) else "to the end"
    yield Row(phase="big store", figure=f"search in vain {came}, slowest", unit="ms", values={"SQLite": slowest})
    load = Load(connections=32, seconds=stage.plan.seconds, rate=MODERATE_PER_SECOND)

    def ingest() -> float:
        run = big.drive(load)
        stage.note("big store", big, run)
        return run.p99_ms

    def ingest_while_searching() -> float:
        with _searching(big):
            return ingest()

    waits = take_turns({"alone": ingest, "searching": ingest_while_searching}, max(2, stage.plan.rounds - 2))
    yield Row(
        phase="big store",
        figure=f"p99 at {MODERATE_PER_SECOND}/s while somebody searches",
        unit="ms",
        values={"SQLite": median(waits["searching"])},
        ratios={"SQLite": median(one / other for one, other in zip(waits["searching"], waits["alone"], strict=True))},
        against=f"nobody does ({median(waits['alone']):,.2f})",
    )


@contextmanager
def _searching(site: Signalbox) -> Iterator[None]:
    """Search, one time after the other, until the end."""
    is_over = threading.Event()

    def search() -> None:
        while not is_over.is_set():
            _opened(site, SEARCH)

    with ThreadPoolExecutor(1) as pool:
        searching = pool.submit(search)
        try:
            yield
        finally:
            is_over.set()
        searching.result()


def prefill(engine: sa.Engine, count: int) -> None:
    """Write events of a month as if each had come and had one job done, with bodies of 300 bytes to spare the disk."""
    since = datetime.now(UTC) - KEPT_FOR
    for first in range(0, count, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, count))
        moments = [since + KEPT_FOR * (number / count) for number in numbers]
        ids = [new_id(at) for at in moments]
        stored = [db.moment(engine.dialect, at) for at in moments]
        with db.writing_directly(engine) as cursor:
            for table, names, rows in (
                ("events", EVENT_FIELDS, map(_event, numbers, ids, stored)),
                ("jobs", JOB_FIELDS, map(_job, numbers, ids)),
                ("attempts", ATTEMPT_FIELDS, map(_attempt, numbers, stored)),
            ):
                cursor.executemany(_insert(engine.dialect, table, names), rows)


def _insert(dialect: sa.Dialect, table: str, names: Sequence[str]) -> str:
    return db.marked(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", dialect)  # noqa: S608


def _event(number: int, event_id: str, at: object) -> tuple[object, ...]:
    name, identity = "FILE.UPLOADED", f"prefilled {number}"
    return (event_id, "box", f"box:{name}", name, identity, "routed", at, at, "primary", b"[]", BODY)


def _job(number: int, event_id: str) -> tuple[object, ...]:
    return (number + 1, event_id, "bench.handlers.nothing", "done", 1)


def _attempt(number: int, at: object) -> tuple[object, ...]:
    return (number + 1, 1, at, at, "done")
