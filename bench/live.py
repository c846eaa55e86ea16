"""The phase with people looking: many live pages open while deliveries come in, against none."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from operator import truediv
from statistics import median

from bench import streams
from bench.driver import Load
from bench.figures import Row
from bench.phases import Ingest, take_in
from bench.sites import LOGIN, BenchError, Signalbox, connections, cpu_seconds, until
from bench.stage import Stage, take_turns
from bench.streams import Stream
from receiver.observe.queries import newest_seq

PAGES = 100
NONE, MANY = "no page open", f"{PAGES} live pages open"
CATCH_UP_SECONDS = 60
IDLE_SECONDS = 5.0


def live(stage: Stage) -> Iterator[Row]:
    """Ingest as fast as 32 connections go, in turns with no page open and with many, over each database."""
    found: dict[str, dict[str, list[Ingest]]] = {}
    behind: dict[str, list[float]] = {}
    idle: dict[str, float] = {}
    load = Load(connections=32, seconds=stage.plan.seconds)
    with stage.sides(empty=False) as (_, ours):
        for site in ours:
            take = partial(take_in, site, load=load, note=partial(stage.insist, "live"))
            watched = partial(_watched, site, take, behind.setdefault(site.name, []))
            found[site.name] = take_turns({NONE: take, MANY: watched}, max(2, stage.plan.rounds - 2))
            idle[site.name] = _idle_percent(site, seconds=IDLE_SECONDS)
            stage.check("live", site)
    yield from _rows("requests/s", found, lambda one: one.per_second)
    yield from _rows("µs/request", found, lambda one: one.cpu_microseconds)
    longest = {side: max(seconds) for side, seconds in behind.items()}
    yield Row(phase="live", figure="until every page knows of the last event", unit="s", values=longest)
    yield Row(phase="live", figure=f"{MANY}, nothing comes", unit="% of a processor", values=idle)


def _watched(site: Signalbox, take: Callable[[], Ingest], behind: list[float]) -> Ingest:
    """Take deliveries in while pages are open; add how long after the last delivery every page knew of it."""
    with _pages(site) as pages:
        taken = take()
        ended, newest = time.monotonic(), newest_seq(site.engine)
        knows = partial(_all_know, pages, newest)
        until(knows, f"every live page of {site.name} knows of the last event", seconds=CATCH_UP_SECONDS)
        behind.append(time.monotonic() - ended)
    return taken


def _all_know(pages: Sequence[Stream], place: int) -> bool:
    return all(page.place >= place for page in pages)


@contextmanager
def _pages(site: Signalbox) -> Iterator[list[Stream]]:
    """Hold the pages open, and see to it that each is answered, stays open, and is let go of at the end."""
    path = f"/live?after={newest_seq(site.engine)}"
    with streams.opened(site.port, path, LOGIN, count=PAGES) as pages:
        until(lambda: all(page.status for page in pages), f"every live page of {site.name} is answered")
        if refused := Counter(page.status for page in pages if page.status != 200):
            raise BenchError(f"{site.name} answered GET {path} with {dict(refused)}")
        until(lambda: all(page.messages for page in pages), f"every live page of {site.name} has what it lacked")
        yield pages
        if ended := sum(page.is_over for page in pages):
            raise BenchError(f"{site.name} ended {ended} of {PAGES} live pages")
    until(partial(_is_left, site), f"{site.name} lets go of pages that were closed", seconds=CATCH_UP_SECONDS, nap=0.5)


def _is_left(site: Signalbox) -> bool:
    """Say whether nobody is connected any more; one more delivery, so that it finds out who has gone."""
    site.drive(Load(connections=1, seconds=5, count=1))
    return not connections(site.web)


def _idle_percent(site: Signalbox, *, seconds: float) -> float:
    with _pages(site):
        before = cpu_seconds(site.web)
        time.sleep(seconds)
        return (cpu_seconds(site.web) - before) / seconds * 100


def _rows(
    unit: str, found: Mapping[str, Mapping[str, Sequence[Ingest]]], of: Callable[[Ingest], float]
) -> Iterator[Row]:
    rounds = {side: {name: list(map(of, taken)) for name, taken in turns.items()} for side, turns in found.items()}
    alone = {side: median(values[NONE]) for side, values in rounds.items()}
    watched = {side: median(values[MANY]) for side, values in rounds.items()}
    ratios = {side: median(map(truediv, values[MANY], values[NONE])) for side, values in rounds.items()}
    yield Row(phase="live", figure=NONE, unit=unit, values=alone)
    yield Row(phase="live", figure=MANY, unit=unit, values=watched, ratios=ratios, against=NONE)
