"""What every phase plays on: its plan, the sides that it opens, and the account of what was lost."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

import sqlalchemy as sa

from bench.deliveries import Deliveries
from bench.driver import Load, Run
from bench.sites import Empty, Signalbox, Site
from bench.verify import Verdict

T = TypeVar("T")
SomeSite = TypeVar("SomeSite", bound=Site)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long and how much; counts are of events."""

    deliveries: int
    rounds: int
    seconds: float
    drained: int
    burst: int
    memory: tuple[int, int]
    prefilled: int


FULL = Plan(
    deliveries=300_000, rounds=5, seconds=3, drained=20_000, burst=20_000, memory=(20_000, 200_000), prefilled=1_000_000
)
QUICK = Plan(
    deliveries=60_000, rounds=2, seconds=1, drained=3_000, burst=5_000, memory=(2_000, 10_000), prefilled=50_000
)


@dataclass(slots=True, kw_only=True)
class Stage:
    """Opens sides in folders of their own and closes them, whatever happens; remembers what phases hand on."""

    plan: Plan
    folder: Path
    driver: Path
    deliveries: Deliveries
    postgres: str | None
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    capacities: dict[str, float] = field(default_factory=dict)
    _opened: int = 0

    @contextmanager
    def sides(
        self, *, empty: bool = True, postgres: bool = True, warm: bool = True
    ) -> Iterator[tuple[Empty | None, list[Signalbox]]]:
        """Give the empty view, if wanted, and Signalbox over each database, all fresh and serving."""
        names = ["SQLite", *(["PostgreSQL"] if postgres and self.postgres else [])]
        view = Empty("empty", self.room(), self.driver, self.deliveries) if empty else None
        ours = [self._signalbox(name) for name in names]
        everyone: list[Empty | Signalbox] = [*([view] if view else []), *ours]
        try:
            for one in everyone:
                one.open()
            for one in everyone:
                one.wait_serving()
                if warm:
                    one.warm_up()
            yield view, ours
        finally:
            for one in everyone:
                one.tell_to_stop()
            for one in everyone:
                one.stop()
                one.remove()

    def room(self) -> Path:
        self._opened += 1
        return self.folder / f"{self._opened}"

    def _signalbox(self, name: str) -> Signalbox:
        room = self.room()
        url = f"sqlite:///{room}/signalbox.db" if name == "SQLite" else self._fresh_postgres()
        return Signalbox(name, room, self.driver, self.deliveries, url=url)

    def _fresh_postgres(self) -> str:
        assert self.postgres  # noqa: S101 - only asked for where there is one
        server = sa.make_url(self.postgres).set(drivername="postgresql+psycopg")
        name = f"bench_{self._opened}"
        engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        engine.dispose()
        return server.set(drivername="postgresql", database=name).render_as_string(hide_password=False)

    def check(self, phase: str, site: Signalbox, *, handled: bool = False) -> None:
        """Hold what this side promised against what it kept; what is missing makes the whole run fail."""
        self.verdicts[f"{phase}, {site.name}"] = site.verify(handled=handled)

    def note(self, phase: str, site: Site, run: Run) -> None:
        """Remember what was answered otherwise than by 200."""
        if others := run.others():
            self.remarks.append(f"{phase}, {site.name}: answered otherwise than by 200: {others}")

    def insist(self, phase: str, site: Site, run: Run) -> None:
        """Make the whole run fail where anything was answered otherwise than by 200."""
        if others := run.others():
            self.broken.append(f"{phase}, {site.name}: answered otherwise than by 200: {others}")

    def capacity(self) -> Mapping[str, float]:
        """Give each side's requests/s with 32 connections, from the phase that measured it or by a look of its own."""
        if not self.capacities:
            load = Load(connections=32, seconds=self.plan.seconds)
            with self.sides() as (view, ours):
                rounds = in_turns(everyone(view, ours), 2, lambda site: site.drive(load).per_second)
            self.capacities = {name: median(values) for name, values in rounds.items()}
        return self.capacities


def everyone(view: Empty | None, ours: Sequence[Signalbox]) -> list[Site]:
    return [*([view] if view else []), *ours]


def in_turns(sites: Sequence[SomeSite], rounds: int, measure: Callable[[SomeSite], T]) -> dict[str, list[T]]:
    """Measure all sides in each round, every other round from the last to the first."""
    return take_turns({site.name: partial(measure, site) for site in sites}, rounds)


def take_turns(measures: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Take all measures in each round, every other round from the last to the first."""
    found: dict[str, list[T]] = {name: [] for name in measures}
    for number in range(rounds):
        for name in measures if number % 2 == 0 else reversed(list(measures)):
            found[name].append(measures[name]())
    return found
