"""The phases under hard conditions: a burst with no worker, and many events in memory's sight."""

import time
from collections.abc import Iterator

from bench.driver import Load
from bench.figures import Row
from bench.phases import DRAIN_SECONDS
from bench.sites import megabytes
from bench.stage import Stage, everyone

MODERATE_PER_SECOND = 200


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
