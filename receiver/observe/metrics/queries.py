"""What was counted, read back: series for charts, figures of each source and handler, totals since the beginning."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple, TypedDict

import msgspec
import sqlalchemy as sa

from receiver.humanize import iso
from receiver.observe.metrics.counters import EVER, KEPT
from receiver.observe.metrics.histogram import Spread, add, percentile
from receiver.storage import db
from receiver.storage.tables import tallies

STEPS = tuple(timedelta(seconds=step) for step in KEPT)
WINDOWS = {
    "1h": (timedelta(hours=1), timedelta(minutes=1)),
    "6h": (timedelta(hours=6), timedelta(minutes=5)),
    "24h": (timedelta(hours=24), timedelta(minutes=20)),
    "7d": (timedelta(days=7), timedelta(hours=2)),
}
MOST_STEPS = 1000

# Outcomes of an attempt after which the job is not done.
NOT_DONE = ("failed", "retry", "discarded", "lost", "outlived")
COMES_AGAIN = ("failed", "retry", "lost")


class Window(TypedDict):
    """The window that `read` takes: from when, to when, in which steps."""

    since: datetime
    until: datetime
    step: timedelta


class SourceStats(TypedDict):
    """Deliveries of one source: counts by outcome, and how long responses took; None if there were none.

    Every series has one entry for each step.
    """

    source: str
    outcomes: dict[str, int]
    p50_ms: float | None
    p99_ms: float | None
    series: dict[str, list[int]]
    p50_ms_series: list[float | None]
    p99_ms_series: list[float | None]


class HandlerStats(TypedDict):
    """Attempts of one handler: counts by outcome, how many are retried, and how many jobs died.

    `success_rate` is the share of attempts that were done, 0 to 1; `p50_ms` and `p99_ms` are how long attempts took.
    """

    handler: str
    attempts: int
    outcomes: dict[str, int]
    success_rate: float
    retries: int
    dead: int
    p50_ms: float | None
    p99_ms: float | None


class AttemptStats(TypedDict):
    """Attempts of all handlers: by outcome, and in `series` by step, with `retries` and `dead` besides the outcomes."""

    outcomes: dict[str, int]
    retries: int
    dead: int
    series: dict[str, list[int]]


class AlarmStats(TypedDict):
    """A type that is an alarm: how many events of it were received, and when the step of the last one began."""

    type: str
    count: int
    last_at: str


class Stats(TypedDict):
    """The figures of a window. `steps` has the beginning of each step, and every series has one entry for each.

    `oldest_job_seconds` is the longest wait of a due job or an unrouted event that was seen in each step.
    """

    since: str
    until: str
    step_seconds: int
    steps: list[str]
    sources: list[SourceStats]
    all_sources: SourceStats
    attempts: AttemptStats
    handlers: list[HandlerStats]
    alarms: list[AlarmStats]
    oldest_job_seconds: list[float]


class Total(NamedTuple):
    """The count of one outcome since the beginning."""

    kind: str
    subject: str
    outcome: str
    counted: int
    milliseconds: float
    spread: Spread


class _Row(NamedTuple):
    began_at: datetime
    kind: str
    subject: str
    outcome: str
    counted: int
    milliseconds: float
    spread: str


def window(name: str, at: datetime) -> Window:
    """Return the window of WINDOWS (`1h`, `6h`, `24h`, `7d`) that ends now; KeyError for another name."""
    length, step = WINDOWS[name]
    return {"since": at - length + step, "until": at, "step": step}


def read(engine: sa.Engine, *, since: datetime, until: datetime, step: timedelta) -> Stats:
    """Return the figures from the step that holds `since` to the one that holds `until`, failing handlers first.

    Raises ValueError for a step that is not in STEPS, and for more than 1,000 steps.
    """
    since, steps = _steps(since, until, step)
    place = {began: number for number, began in enumerate(steps)}
    rows = _by_kind(_rows(engine, ("source", "handler", "dead", "wait", "alarm"), since, steps[-1], step))
    time.sleep(0)  # a web process serves deliveries between the parts: together they take tens of milliseconds
    sources = _sources(rows["source"], place)
    time.sleep(0)
    everything = _sources((row._replace(subject="all") for row in rows["source"]), place)
    time.sleep(0)
    return {
        "since": iso(since),
        "until": iso(steps[-1] + step),
        "step_seconds": int(step.total_seconds()),
        "steps": [iso(began) for began in steps],
        "sources": sources,
        "all_sources": everything[0] if everything else _source("all", [], place),
        "attempts": _attempts(rows["handler"], rows["dead"], place),
        "handlers": _handlers(rows["handler"], rows["dead"]),
        "alarms": _alarms(rows["alarm"]),
        "oldest_job_seconds": _longest(rows["wait"], place),
    }


def read_handlers(engine: sa.Engine, *, since: datetime, until: datetime, step: timedelta) -> list[HandlerStats]:
    """Return only the figures of the handlers, failing ones first: `handlers` of `read`, at less cost."""
    since, steps = _steps(since, until, step)
    rows = _by_kind(_rows(engine, ("handler", "dead"), since, steps[-1], step))
    return _handlers(rows["handler"], rows["dead"])


def read_alarms(engine: sa.Engine, *, since: datetime, until: datetime, step: timedelta) -> list[AlarmStats]:
    """Return the types received that are alarms, the latest first."""
    since, steps = _steps(since, until, step)
    return _alarms(_rows(engine, ("alarm",), since, steps[-1], step))


_TOTALLED = ("source", "handler", "dead", "connection", "refused", "login")


def read_totals(engine: sa.Engine) -> list[Total]:
    """Return the counts of all time. They outlive the spans in which they were counted, so they never fall."""
    rows = _rows(engine, _TOTALLED, None, None, timedelta(seconds=EVER))
    return sorted(Total(*row[1:6], _spread(row)) for row in rows)


def _steps(since: datetime, until: datetime, step: timedelta) -> tuple[datetime, list[datetime]]:
    if step not in STEPS:
        said = ", ".join(str(int(one.total_seconds())) for one in STEPS)
        raise ValueError(f"counts are kept in steps of {said} seconds")
    first, last = (_floor(moment, step) for moment in (since, until))
    count = (last - first) // step + 1
    if not 1 <= count <= MOST_STEPS:
        raise ValueError(f"from {iso(since)} to {iso(until)} are {count} steps, and at most {MOST_STEPS} are possible")
    return first, [first + number * step for number in range(count)]


def _floor(moment: datetime, step: timedelta) -> datetime:
    seconds = int(step.total_seconds())
    return datetime.fromtimestamp(int(moment.timestamp()) // seconds * seconds, moment.tzinfo)


def _rows(
    engine: sa.Engine, kinds: Iterable[str], since: datetime | None, until: datetime | None, step: timedelta
) -> list[_Row]:
    table = tallies.c
    # Read as text, and only if needed: most of the cost of reading would be the spreads.
    chosen = (table.began_at, table.kind, table.subject, table.outcome, table.count, table.milliseconds)
    wanted = sa.select(*chosen, sa.cast(table.spread, sa.Text)).where(
        table.step == int(step.total_seconds()), table.kind.in_(list(kinds))
    )
    if since is not None and until is not None:
        wanted = wanted.where(table.began_at.between(since, until))
    with db.reading(engine) as connection:
        return [_Row(*row) for row in connection.execute(wanted)]


def _by_kind(rows: Iterable[_Row]) -> defaultdict[str, list[_Row]]:
    found: defaultdict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        found[row.kind].append(row)
    return found


_decode = msgspec.json.Decoder(dict[int, int]).decode


def _spread(row: _Row) -> Spread:
    return _decode(row.spread)


Places = dict[datetime, int]


def _sources(rows: Iterable[_Row], place: Places) -> list[SourceStats]:
    return [_source(name, its, place) for name, its in _by_subject(rows)]


def _by_subject(rows: Iterable[_Row]) -> Iterator[tuple[str, list[_Row]]]:
    found: defaultdict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        found[row.subject].append(row)
    return iter(sorted(found.items()))


def _source(name: str, rows: list[_Row], place: Places) -> SourceStats:
    took: list[Spread] = [{} for _ in place]
    together: Spread = {}
    for row in rows:
        its = _spread(row)
        add(took[place[row.began_at]], its)
        add(together, its)
    return {
        "source": name,
        "outcomes": _outcomes(rows),
        "p50_ms": percentile(together, 0.5),
        "p99_ms": percentile(together, 0.99),
        "series": _series(rows, place),
        "p50_ms_series": [percentile(one, 0.5) for one in took],
        "p99_ms_series": [percentile(one, 0.99) for one in took],
    }


def _outcomes(rows: Iterable[_Row]) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        found[row.outcome] = found.get(row.outcome, 0) + row.counted
    return found


def _series(rows: Iterable[_Row], place: Places) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row in rows:
        line = found.get(row.outcome)
        if line is None:
            line = found[row.outcome] = [0] * len(place)
        line[place[row.began_at]] += row.counted
    return found


def _attempts(attempts: list[_Row], buried: list[_Row], place: Places) -> AttemptStats:
    series = _series(attempts, place)
    deaths = _series(buried, place)
    nothing = [0] * len(place)
    died = [sum(each) for each in zip(nothing, *deaths.values(), strict=True)]
    again = [
        sum(series.get(outcome, nothing)[at] - deaths.get(outcome, nothing)[at] for outcome in COMES_AGAIN)
        for at in range(len(place))
    ]
    retries = [max(0, count) for count in again]
    return {
        "outcomes": _outcomes(attempts),
        "retries": sum(retries),
        "dead": sum(died),
        "series": series | {"retries": retries, "dead": died},
    }


def _handlers(attempts: Iterable[_Row], buried: Iterable[_Row]) -> list[HandlerStats]:
    deaths = dict(_by_subject(buried))
    found = [_handler(name, its, _outcomes(deaths.get(name, ()))) for name, its in _by_subject(attempts)]
    return sorted(found, key=lambda one: (one["success_rate"], one["handler"]))


def _handler(name: str, rows: list[_Row], deaths: dict[str, int]) -> HandlerStats:
    outcomes = _outcomes(rows)
    together: Spread = {}
    for row in rows:
        add(together, _spread(row))
    made = sum(outcomes.values())
    again = sum(outcomes.get(outcome, 0) - deaths.get(outcome, 0) for outcome in COMES_AGAIN)
    return {
        "handler": name,
        "attempts": made,
        "outcomes": outcomes,
        "success_rate": outcomes.get("done", 0) / made if made else 1.0,
        "retries": max(0, again),
        "dead": sum(deaths.values()),
        "p50_ms": percentile(together, 0.5),
        "p99_ms": percentile(together, 0.99),
    }


def _alarms(rows: Iterable[_Row]) -> list[AlarmStats]:
    found: list[AlarmStats] = [
        {"type": name, "count": sum(row.counted for row in its), "last_at": iso(max(row.began_at for row in its))}
        for name, its in _by_subject(rows)
    ]
    return sorted(found, key=lambda one: one["last_at"], reverse=True)


def _longest(rows: Iterable[_Row], place: Places) -> list[float]:
    longest = [0.0] * len(place)
    for row in rows:
        at = place[row.began_at]
        longest[at] = max(longest[at], round(row.milliseconds / 1000, 1))
    return longest
