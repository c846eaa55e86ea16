"""The phases under hard conditions: a burst with no worker, many events in memory's sight, a big store."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from statistics import median

from bench.driver import Load
from bench.figures import Row
from bench.phases import DRAIN_SECONDS
from bench.sites import Signalbox, megabytes
from bench.stage import Stage, everyone, in_turns
from receiver import db
from receiver.inbox import Arrival, new_id
from receiver.listing import list_events

MODERATE_PER_SECOND = 200
AT_ONCE = 20_000
PREFILLED_BODY = b'{"type":"webhook_event","trigger":"FILE.UPLOADED","pad":"' + b"x" * 240 + b'"}'


def burst(stage: Stage) -> Iterator[Row]:
    """Over 256 connections with the worker stopped; then it drains while deliveries go on coming."""
    count = stage.plan.burst
    speeds, longest, drains, drains_while = {}, {}, {}, {}
    with stage.sides() as (view, ours):
        for site in everyone(view, ours):
            run = site.drive(Load(connections=256, seconds=120, count=count))
            stage.note("burst", site, run)
            if run.statuses.keys() - {"200", "503"}:
                stage.remarks.append(f"burst, {site.name}: UNEXPECTED statuses {run.statuses}")
            speeds[site.name], longest[site.name] = run.per_second, run.max_ms
        for one in ours:
            worker = one.work("note")
            began = time.monotonic()
            run = one.drive(Load(connections=32, seconds=stage.plan.seconds * 3, rate=MODERATE_PER_SECOND))
            one.wait_drained(seconds=DRAIN_SECONDS)
            drains[one.name] = time.monotonic() - began
            drains_while[one.name] = run.p99_ms
            one.end(worker)
            stage.check("burst", one, handled=True)
    name = f"{count:,} over 256 connections"
    ratios = {side: speed / speeds["empty"] for side, speed in speeds.items() if side != "empty"}
    yield Row(phase="burst", figure=name, unit="requests/s", values=speeds, ratios=ratios)
    slower = {side: value / longest["empty"] for side, value in longest.items() if side != "empty"}
    yield Row(phase="burst", figure="longest answer", unit="ms", values=longest, ratios=slower)
    yield Row(phase="burst", figure="until the worker is through", unit="s", values=drains)
    yield Row(phase="burst", figure="p99 of ingest meanwhile", unit="ms", values=drains_while)


def memory(stage: Stage) -> Iterator[Row]:
    """Resident memory of web and worker at rest, after some events, and after many; SQLite."""
    some, many = stage.plan.memory
    web, worker_sizes = [], []
    with stage.sides(empty=False, postgres=False) as (_, (site,)):
        worker = site.work("nothing")
        for goal in (0, some, many):
            if goal:
                site.drive(Load(connections=32, seconds=200, count=goal - site.first))
            site.wait_drained(seconds=DRAIN_SECONDS * 2)
            time.sleep(1)
            web.append(megabytes(site.web))
            worker_sizes.append(megabytes(worker))
        stage.check("memory", site)
    for name, sizes in (("web group", web), ("worker", worker_sizes)):
        yield Row(phase="memory", figure=f"{name} at rest", unit="MB", values={"SQLite": sizes[0]})
        for goal, size, before, words in (
            (some, sizes[1], sizes[0], "at rest"),
            (many, sizes[2], sizes[1], f"after {some:,}"),
        ):
            ratios = {"SQLite": size / before}
            figure = f"{name} after {goal:,}"
            yield Row(phase="memory", figure=figure, unit="MB", values={"SQLite": size}, ratios=ratios, against=words)


def big_store(stage: Stage) -> Iterator[Row]:
    """Ingest and the first page of the listing, over a store with many events and over one with few; SQLite."""
    count = stage.plan.prefilled
    load = Load(connections=32, seconds=stage.plan.seconds)
    with (
        stage.sides(empty=False, postgres=False) as (_, (big,)),
        stage.sides(empty=False, postgres=False) as (_, (small,)),
    ):
        prefill(big, count)
        big.name, small.name = "big", "small"
        speeds = in_turns([small, big], max(2, stage.plan.rounds - 2), lambda site: site.drive(load).per_second)
        pages = {site.name: _first_page_milliseconds(site) for site in (small, big)}
        for one in (big, small):
            stage.check("big store", one)
    yield _held_against_small("ingest over", "requests/s", speeds, count)
    yield _held_against_small("first page over", "ms", pages, count)


def _held_against_small(figure: str, unit: str, rounds: dict[str, list[float]], count: int) -> Row:
    ratio = median(big / small for big, small in zip(rounds["big"], rounds["small"], strict=True))
    return Row(
        phase="big store",
        figure=f"{figure} {count:,}",
        unit=unit,
        values={"SQLite": median(rounds["big"])},
        ratios={"SQLite": ratio},
        against=f"few events ({median(rounds['small']):,.2f})",
    )


def _first_page_milliseconds(site: Signalbox) -> list[float]:
    taken = []
    for _ in range(21):
        began = time.perf_counter()
        list_events(site.engine)
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def prefill(site: Signalbox, count: int) -> None:
    """Write events as if they had come and been routed, with bodies of 300 bytes to spare the disk."""
    names = Arrival._fields
    statement = f"INSERT INTO events ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608
    for first in range(0, count, AT_ONCE):
        rows = [_prefilled(number, site) for number in range(first, min(first + AT_ONCE, count))]
        with db.writing_directly(site.engine) as cursor:
            cursor.executemany(statement, rows)


def _prefilled(number: int, site: Signalbox) -> tuple[object, ...]:
    at = datetime.now(UTC)
    stored = db.moment(site.engine.dialect, at)
    name = "FILE.UPLOADED"
    identity = f"prefilled {number}"
    return (
        new_id(at), "box", f"box:{name}", name, identity, "routed", stored, stored, "primary", b"[]", PREFILLED_BODY
    )  # fmt: skip
