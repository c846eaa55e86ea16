"""The phases under a load of deliveries: ingest, latency, drain, handler latency, verification."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from bench.driver import Load, Run, percentile
from bench.figures import Row, row_of_rounds
from bench.sites import Signalbox, Site, cpu_seconds
from bench.stage import Stage, everyone, in_turns
from receiver.storage.tables import events

DRAIN_SECONDS = 240
MILLION = 1e6


@dataclass(frozen=True, slots=True)
class Ingest:
    """One run, with what it cost the side's web group."""

    per_second: float
    cpu_microseconds: float


def ingest(stage: Stage) -> Iterator[Row]:
    """As fast as 32 and 128 connections go: requests a second, and processor time for each."""
    with stage.sides() as (view, ours):
        for connections in (32, 128):
            load = Load(connections=connections, seconds=stage.plan.seconds)
            measure = partial(take_in, load=load, note=partial(stage.note, "ingest"))
            rounds = in_turns(everyone(view, ours), stage.plan.rounds, measure)
            speeds = {name: [one.per_second for one in found] for name, found in rounds.items()}
            costs = {name: [one.cpu_microseconds for one in found] for name, found in rounds.items()}
            name = f"{connections} connections"
            speed = row_of_rounds("ingest", name, "requests/s", speeds)
            stage.capacities = stage.capacities or dict(speed.values)
            yield speed
            yield row_of_rounds("ingest", f"{name}, processor", "µs/request", costs)
        for one in ours:
            stage.check("ingest", one)


def take_in(site: Site, *, load: Load, note: Callable[[Site, Run], None]) -> Ingest:
    before = cpu_seconds(site.web)
    run = site.drive(load)
    spent = cpu_seconds(site.web) - before
    note(site, run)
    return Ingest(run.per_second, spent / max(run.answered, 1) * MILLION)


def latency(stage: Stage) -> Iterator[Row]:
    """Requests that come at a steady rate, whatever the server does: a third and two thirds of what the view can."""
    capacity = stage.capacity()
    with stage.sides() as (view, ours):
        for name, share in (("1/3", 1 / 3), ("2/3", 2 / 3)):
            rates, against = _rates(capacity, share, name)
            measure = partial(_at_its_rate, rates=rates, seconds=stage.plan.seconds)
            runs = in_turns(everyone(view, ours), max(2, stage.plan.rounds - 2), measure)
            yield Row(phase="latency", figure=f"{name}: rate asked for", unit="requests/s", values=rates)
            for label, of in _PERCENTILES.items():
                found = {side: [of(run) for run in some] for side, some in runs.items()}
                yield replace(row_of_rounds("latency", f"{name}: {label}", "ms", found), against=against)
        for one in ours:
            stage.check("latency", one)
    for label, milliseconds in _fsync_milliseconds(stage.folder).items():
        yield Row(
            phase="latency", figure=f"one fsync of this disk, {label}", unit="ms", values={"SQLite": milliseconds}
        )


_PERCENTILES: dict[str, Callable[[Run], float]] = {"p50": lambda run: run.p50_ms, "p99": lambda run: run.p99_ms}


def _rates(capacity: Mapping[str, float], share: float, name: str) -> tuple[dict[str, float], str]:
    """Give each side's rate, in words too: the same for all where all can keep up with it."""
    wanted = share * capacity["empty"]
    if all(wanted < 0.9 * own for own in capacity.values()):
        return dict.fromkeys(capacity, wanted), "empty, same rate"
    return {side: share * own for side, own in capacity.items()}, f"empty, each at {name} of its own capacity"


def _at_its_rate(site: Site, *, rates: Mapping[str, float], seconds: float) -> Run:
    return site.drive(Load(connections=256, seconds=seconds, rate=rates[site.name]))


def _fsync_milliseconds(folder: Path) -> dict[str, float]:
    """Give how long the disk takes for what every commit waits for: a page added to a file, and there to stay."""
    taken = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(300):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            taken.append((time.perf_counter() - began) * 1000)
    return {"p50": percentile(taken, 0.5), "p99": percentile(taken, 0.99)}


def drain(stage: Stage) -> Iterator[Row]:
    """Accepted events, and a worker with a handler that does nothing: jobs a second, and processor time for each."""
    count = stage.plan.drained
    empty = stage.capacity()["empty"]
    speeds, costs = {}, {}
    with stage.sides(empty=False) as (_, ours):
        for site in ours:
            worker = site.work("nothing")
            site.wait_drained(seconds=DRAIN_SECONDS)
            os.killpg(worker, signal.SIGSTOP)
            run = site.drive(Load(connections=32, seconds=120, count=count))
            stage.note("drain", site, run)
            before, since = cpu_seconds(worker), datetime.now(UTC)
            os.killpg(worker, signal.SIGCONT)
            site.wait_drained(seconds=DRAIN_SECONDS)
            costs[site.name] = (cpu_seconds(worker) - before) / run.answered * MILLION
            site.end(worker)
            speeds[site.name] = site.jobs_per_second(since)
            stage.check("drain", site)
    shares = {side: speed / empty for side, speed in speeds.items()}
    against = f"empty's requests/s ({empty:,.0f})"
    yield Row(phase="drain", figure=f"{count:,} waiting", unit="jobs/s", values=speeds, ratios=shares, against=against)
    yield Row(phase="drain", figure="processor of the worker", unit="µs/job", values=costs)


def handler(stage: Stage) -> Iterator[Row]:
    """200 events a second with the worker running: from the moment a delivery was received to its handler's line."""
    waits: dict[str, list[float]] = {}
    with stage.sides(empty=False) as (_, ours):
        for site in ours:
            worker = site.work("note")
            site.wait_drained(seconds=DRAIN_SECONDS)
            known = len(site.notes.read_text().splitlines())
            run = site.drive(Load(connections=64, seconds=stage.plan.seconds * 3, rate=200))
            stage.note("handler", site, run)
            site.wait_drained(seconds=DRAIN_SECONDS)
            site.end(worker)
            waits[site.name] = _waits(site, known)
            stage.check("handler", site, handled=True)
    for label, share in (("p50", 0.5), ("p99", 0.99)):
        values = {name: percentile(found, share) for name, found in waits.items()}
        yield Row(phase="handler", figure=f"wait at 200/s, {label}", unit="ms", values=values)


def _waits(site: Signalbox, known: int) -> list[float]:
    """Give milliseconds from reception to the handler's line, for the lines after the first `known`."""
    with site.engine.connect() as connection:
        received = dict(connection.execute(sa.select(events.c.id, events.c.received_at)).tuples().all())
    lines = [line.split() for line in site.notes.read_text().splitlines()[known:]]
    return [(float(at) - received[event_id].timestamp()) * 1000 for at, event_id in lines]


def verification(stage: Stage) -> Iterator[Row]:
    """Publish with the worker running, then look at every event: its bytes, and the handler's file."""
    promised = {}
    with stage.sides(empty=False) as (_, ours):
        for site in ours:
            worker = site.work("note")
            run = site.drive(Load(connections=64, seconds=120, count=stage.plan.drained))
            stage.note("verification", site, run)
            site.wait_drained(seconds=DRAIN_SECONDS)
            site.end(worker)
            stage.check("verification", site, handled=True)
            promised[site.name] = float(run.statuses.get("200", 0))
    yield Row(phase="verification", figure="answered 200, kept and handled", unit="events", values=promised)
