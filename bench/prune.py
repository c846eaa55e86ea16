"""The phase that prunes: half of what is kept is too old and goes by `signalbox db prune`, while deliveries come in."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

from bench.big_store import KEPT_FOR, MODERATE_PER_SECOND, prefill
from bench.driver import Load, Run
from bench.figures import Row
from bench.sites import ROOT, BenchError, Signalbox
from bench.stage import Stage

SHARE = 5  # a fifth of the big store: PostgreSQL takes long to fill
PATIENCE_SECONDS = 300
DAYS = KEPT_FOR.days // 2


@dataclass(frozen=True, slots=True)
class Pruning:
    """How it went: events deleted, seconds of the whole command, and the runs of the driver meanwhile."""

    events: int
    seconds: float
    runs: list[Run]


def prune(stage: Stage) -> Iterator[Row]:
    """Events deleted in a second, and what deliveries wait meanwhile."""
    count = stage.plan.prefilled // SHARE
    load = Load(connections=32, seconds=stage.plan.seconds, rate=MODERATE_PER_SECOND)
    alone: dict[str, Run] = {}
    prunings: dict[str, Pruning] = {}
    with stage.sides(empty=False) as (_, ours):
        for site in ours:
            prefill(site.engine, count)
            alone[site.name] = site.drive(load)
            prunings[site.name] = _prune(stage, site, load)
            stage.check("prune", site)
            # A few more grow too old while PostgreSQL is filled.
            if abs(prunings[site.name].events - count / 2) > count / 100:
                stage.broken.append(f"prune, {site.name}: {prunings[site.name].events} of {count / 2:.0f} events went")
    took = {name: one.seconds for name, one in prunings.items()}
    yield Row(phase="prune", figure=f"{count // 2:,} of {count:,} events", unit="s", values=took)
    speeds = {name: one.events / one.seconds for name, one in prunings.items()}
    yield Row(phase="prune", figure="the same", unit="events/s", values=speeds)
    for name in ("p50_ms", "p99_ms"):
        yield _meanwhile(name, alone, prunings)
    longest = {name: max(run.max_ms for run in one.runs) for name, one in prunings.items()}
    yield Row(phase="prune", figure="longest answer meanwhile", unit="ms", values=longest)


def _meanwhile(name: str, alone: Mapping[str, Run], prunings: Mapping[str, Pruning]) -> Row:
    values = {side: median(getattr(run, name) for run in one.runs) for side, one in prunings.items()}
    ratios = {side: value / getattr(alone[side], name) for side, value in values.items()}
    figure = f"{name[:3]} of ingest at {MODERATE_PER_SECOND}/s meanwhile"
    return Row(phase="prune", figure=figure, unit="ms", values=values, ratios=ratios, against="nothing is pruned")


def _prune(stage: Stage, site: Signalbox, load: Load) -> Pruning:
    """Prune with the command, and let deliveries come in until it is through."""
    runs = []
    with ThreadPoolExecutor(1) as pool:
        command = pool.submit(_run_command, site)
        while not command.done():
            runs.append(site.drive(load))
            stage.insist("prune", site, runs[-1])
        return Pruning(*command.result(), runs)


def _run_command(site: Signalbox) -> tuple[int, float]:
    line = [sys.executable, "wsgi.py", "db", "prune", "--days", str(DAYS), "--json"]
    began = time.monotonic()
    done = subprocess.run(  # noqa: S603 - our own command
        line, cwd=ROOT, env=site.environ, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    if done.returncode:
        raise BenchError(f"signalbox db prune did not work on {site.name}: {done.stderr[-500:]}")
    return json.loads(done.stdout)["events"], time.monotonic() - began
