"""The dashboard: events, answers, jobs and handlers, minute by minute."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from flask import Blueprint, abort, render_template, request
from markupsafe import Markup

from receiver import service
from receiver.errors import StoreError
from receiver.humanize import parse
from receiver.jobs import registry
from receiver.observe import metrics
from receiver.observe.metrics import Stats
from receiver.service import engine
from receiver.web.page import now, seen, wants_part
from receiver.web.pages.inbox import example
from receiver.web.stats import alarms, charts
from receiver.web.stats.charts import Line, Panel, Strip, Times, took

stats = Blueprint("stats", __name__)

DEFAULT = "1h"
NAMES = {"1h": "hour", "6h": "6 hours", "24h": "24 hours", "7d": "7 days"}
STEPS = {60: "a minute", 300: "5 minutes", 1200: "20 minutes", 7200: "2 hours"}
NOTHING = "\N{EN DASH}"
LATE_SECONDS = alarms.LATE.total_seconds()

# What becomes of a delivery that makes no event, as the charts name it, and in which colour.
NOT_ACCEPTED = {
    "duplicate": ("seen before", "none"),
    "rejected": ("rejected", "rejected"),
    "quarantined": ("quarantined", "quarantined"),
    "unkept": ("not kept, answered 503", "dead"),
}


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing under a title that says what is to be seen in it, and the same in numbers."""

    id: str
    title: str
    drawing: Markup | None
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = field(default=())


@stats.get("/stats")
def page() -> str:
    """Show the figures of a window; htmx asks for the part that changes alone."""
    chosen = request.args.get("window", DEFAULT)
    if chosen not in metrics.WINDOWS:
        abort(404, f"There is no window {chosen}: the windows are {', '.join(metrics.WINDOWS)}.")
    at = now()
    try:
        figures = metrics.read(engine(), **metrics.window(chosen, at))
        gauges = metrics.now(engine(), at)
        lately = metrics.read_alarms(engine(), since=at - timedelta(days=1), until=at, step=timedelta(minutes=5))
        stranded = registry.stranded(engine(), at)
    except StoreError as error:
        abort(503, f"The figures cannot be read now: {error}.")
    time.sleep(0)  # deliveries that came meanwhile are served before the page is drawn
    return render_template(
        "_stats.html" if wants_part("stats") else "stats.html",
        window=chosen,
        windows=NAMES,
        stats=figures,
        now=gauges,
        alarms=alarms.alarms(gauges, lately, figures, at=at, window=NAMES[chosen], stranded=stranded),
        is_empty=alarms.is_empty(gauges, figures),
        example=example(service.current().gates),
        deliveries=[_events(figures), _not_accepted(figures), _answers(figures)],
        jobs=[_oldest(figures), _attempts(figures)],
        handlers_say=alarms.handlers(figures),
        took=took,
        rate_bar=charts.rate_bar,
        range_bar=charts.range_bar,
        every_time=[time for one in figures["handlers"] for time in (one["p50_ms"], one["p99_ms"])],
        step=STEPS[figures["step_seconds"]],
        percent=percent,
        breakable=breakable,
    )


def _times(figures: Stats) -> Times:
    return Times([parse(step) for step in figures["steps"]], timedelta(seconds=figures["step_seconds"]))


def percent(share: float) -> str:
    """Write a share so that only what is whole looks whole: `100 %`, `99.9 %`, `87 %`."""
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    return f"{min(max(share, 0.001), 0.999):.1%}".replace("%", " %")


def breakable(name: str) -> Markup:
    """Give the name of a handler, which may be broken after its dots and lines where there is no room."""
    return seen(name).replace(".", Markup(".<wbr>")).replace("_", Markup("_<wbr>"))


def _each_step(figures: Stats) -> Callable[[float], str]:
    """Give what writes a count of one step: `3 a minute`, `11 in 20 minutes`."""
    step = STEPS[figures["step_seconds"]]
    ending = step if step == "a minute" else f"in {step}"
    return lambda count: f"{count:,.0f} {ending}"


def _a_minute(number: float) -> str:
    return f"{number:,.0f} a minute" if number >= 9.95 or number == int(number) else f"{number:.1f} a minute"


def _events(figures: Stats) -> Chart:
    """Events a minute, a strip for each source."""
    times, minutes = _times(figures), figures["step_seconds"] / 60
    nothing = [0] * len(times)
    counts = {one["source"]: one["series"].get("accepted", nothing) for one in figures["sources"]}
    strips = [
        Strip(name, [count / minutes for count in series], _a_minute, note=alarms.events(sum(series)))
        for name, series in counts.items()
    ]
    return _chart("events", alarms.busiest(figures), times, strips, counts)


def _not_accepted(figures: Stats) -> Chart:
    """Deliveries that made no event, a strip for each outcome that there was."""
    times, everything = _times(figures), figures["all_sources"]
    found = {name: everything["series"][name] for name in NOT_ACCEPTED if name in everything["series"]}
    strips = [
        Strip(NOT_ACCEPTED[name][0], series, _each_step(figures), f"{sum(series):,}", NOT_ACCEPTED[name][1])
        for name, series in found.items()
    ]
    counts = {f"{one['source']} {NOT_ACCEPTED[name][0]}": one["series"][name]
              for name in found for one in figures["sources"] if name in one["series"]}  # fmt: skip
    return _chart("refused", alarms.not_accepted(everything["outcomes"]), times, strips, counts)


def _answers(figures: Stats) -> Chart:
    """How long providers waited for their answer, a panel for each source."""
    times = _times(figures)
    panels = [
        Panel(
            one["source"],
            [Line("p50", one["p50_ms_series"]), Line("p99", one["p99_ms_series"], dashed=True)],
            _power,
            note=f"p50 {took(one['p50_ms'] or 0)} · p99 {took(one['p99_ms'] or 0)}",
        )
        for one in figures["sources"]
    ]
    columns = {
        f"{one['source']} {name}": [took(time) if time is not None else NOTHING for time in series]
        for one in figures["sources"]
        for name, series in (("p50", one["p50_ms_series"]), ("p99", one["p99_ms_series"]))
    }
    return _chart("answers", alarms.answers(figures["all_sources"]), times, panels, columns)


def _power(milliseconds: float) -> str:
    return f"{milliseconds:g} ms" if milliseconds < 1000 else f"{milliseconds / 1000:g} s"


def _oldest(figures: Stats) -> Chart:
    """The longest that a job was due, or an event not routed, with the line above which it is an alarm."""
    times, waits = _times(figures), figures["oldest_job_seconds"]
    strip = Strip("longest wait", waits, alarms.seconds, limit=LATE_SECONDS, state="waiting", height=64)
    shown = {"longest wait": [alarms.seconds(wait) if wait else NOTHING for wait in waits]}
    return _chart("oldest", alarms.oldest(waits, times), times, [strip] if any(waits) else [], shown)


def _attempts(figures: Stats) -> Chart:
    """Attempts that were done, that are made again, and jobs that died."""
    times, series = _times(figures), figures["attempts"]["series"]
    rows = {
        "done": ("done", "done"),
        "retries": ("made again", "waiting"),
        "dead": ("jobs that died", "dead"),
    }
    strips = [
        Strip(name, series[key], _each_step(figures), f"{sum(series[key]):,}", state)
        for key, (name, state) in rows.items()
        if any(series.get(key, ()))
    ]
    counts = {name: series[key] for key, (name, _) in rows.items() if key in series} if strips else {}
    return _chart("attempts", alarms.attempts(figures["attempts"]), times, strips, counts)


def _chart(
    name: str,
    title: str,
    times: Times,
    rows: Sequence[Strip | Panel],
    columns: "dict[str, list[int]] | dict[str, list[str]]",
) -> Chart:
    """Give a chart with its table: a line for each step, a column for each name."""
    if not rows:
        return Chart(name, title, None)
    series = [[_written(value) for value in values] for values in columns.values()]
    table = [[times.label(number), *each] for number, each in enumerate(zip(*series, strict=True))]
    said = [
        f"{line[0]}: " + ", ".join(f"{column} {value}" for column, value in zip(columns, line[1:], strict=True))
        for line in table
    ]
    return Chart(name, title, charts.draw(times, rows, label=title, said=said), list(columns), table[::-1])


def _written(value: int | str) -> str:
    return value if isinstance(value, str) else f"{value:,}"
