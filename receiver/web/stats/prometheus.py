"""`/metrics`: the figures of all processes for Prometheus, whichever process it asks."""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa
from flask import Blueprint, Response, abort

from receiver import service
from receiver.errors import StoreError
from receiver.observe import metrics
from receiver.observe.metrics import Gauges, Total
from receiver.observe.metrics.histogram import PER_DOUBLING, Spread, add, end_of
from receiver.runtime.version import version

if TYPE_CHECKING:
    from prometheus_client.metrics_core import HistogramMetricFamily, Metric

# Ends of the buckets that Prometheus gets: the doublings of a tenth of a millisecond. Answers up to 26 s, as
# Box waits for 30; attempts up to two hours.
ANSWERS = range(0, 18 * PER_DOUBLING + 1, PER_DOUBLING)
ATTEMPTS = range(0, 26 * PER_DOUBLING + 1, PER_DOUBLING)

prometheus = Blueprint("prometheus", __name__)


@prometheus.get("/metrics")
def scrape() -> Response:
    """Give what was counted since the beginning, and how things stand, in Prometheus' own format."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

    registry = CollectorRegistry()
    registry.register(Figures(service.current().engine, lambda: datetime.now(UTC)))
    try:
        # The plain format whatever is asked for: every scraper reads it, and the library chokes on some Accept lines.
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)
    except StoreError as error:
        abort(503, f"The figures cannot be read now: {error}.")


class Figures:
    """Reads the figures from the database when they are collected."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    def describe(self) -> Sequence["Metric"]:
        """Name nothing beforehand, so that nothing is read before it is collected."""
        return ()

    def collect(self) -> Iterator["Metric"]:
        totals = metrics.read_totals(self._engine)
        gauges = metrics.now(self._engine, self._clock())
        yield _build()
        yield from _counters(totals)
        yield _ended_connections(totals)
        yield _histogram("signalbox_ack_seconds", "How long answers took.", totals, "source", ANSWERS)
        yield _histogram("signalbox_attempt_seconds", "How long attempts took.", totals, "handler", ATTEMPTS)
        yield from _gauges(gauges)


def _build() -> "Metric":
    from prometheus_client.metrics_core import InfoMetricFamily

    said = {"version": version(), "python": ".".join(map(str, sys.version_info[:3]))}
    return InfoMetricFamily("signalbox_build", "The release that answers.", value=said)


def _counters(totals: Sequence[Total]) -> Iterator["Metric"]:
    from prometheus_client.metrics_core import CounterMetricFamily

    for kind, name, help_text, labels in (
        ("source", "signalbox_deliveries", "Deliveries by what became of them.", ("source", "outcome")),
        ("handler", "signalbox_attempts", "Attempts by how they ended.", ("handler", "outcome")),
        ("dead", "signalbox_dead", "Jobs that died, by the outcome of their last attempt.", ("handler", "outcome")),
        ("login", "signalbox_logins", "Logins and wrong tokens, by how they ended.", ("by", "outcome")),
    ):
        family = CounterMetricFamily(name, help_text, labels=labels)
        for total in totals:
            if total.kind == kind:
                family.add_metric([total.subject, total.outcome], total.counted)
        yield family
    yield from _refusals([total for total in totals if total.kind == "refused"])


def _refusals(totals: Sequence[Total]) -> Iterator["Metric"]:
    from prometheus_client.metrics_core import CounterMetricFamily

    refused = CounterMetricFamily(
        "signalbox_refused", "Requests that were refused, by source and reason.", labels=("source", "reason")
    )
    for total in totals:
        if total.outcome == "refused":
            refused.add_metric(total.subject.split("/", 1), total.counted)
    yield refused
    left_out = sum(total.counted for total in totals if total.outcome == "left_out")
    yield CounterMetricFamily(
        "signalbox_refusals_left_out", "Refusals that were counted and not kept: too many came.", value=left_out
    )


def _ended_connections(totals: Sequence[Total]) -> "Metric":
    from prometheus_client.metrics_core import CounterMetricFamily

    help_text = "Connections that a limit ended, by limit."
    family = CounterMetricFamily("signalbox_connections_ended", help_text, labels=("reason",))
    for total in totals:
        if total.kind == "connection":
            family.add_metric([total.outcome], total.counted)
    return family


def _histogram(
    name: str, help_text: str, totals: Sequence[Total], kind: str, places: Sequence[int]
) -> "HistogramMetricFamily":
    from prometheus_client.metrics_core import HistogramMetricFamily

    spreads: defaultdict[str, Spread] = defaultdict(dict)
    milliseconds: defaultdict[str, float] = defaultdict(float)
    for total in totals:
        if total.kind == kind:
            add(spreads[total.subject], total.spread)
            milliseconds[total.subject] += total.milliseconds
    family = HistogramMetricFamily(name, help_text, labels=[kind])
    for subject, spread in spreads.items():
        family.add_metric([subject], _up_to(spread, places), sum_value=milliseconds[subject] / 1000)
    return family


def _up_to(spread: Spread, places: Sequence[int]) -> list[tuple[str, float]]:
    """Give how many took no longer than the end of each bucket, in seconds."""
    buckets = [
        (f"{end_of(place) / 1000:g}", float(sum(count for one, count in spread.items() if one <= place)))
        for place in places
    ]
    return [*buckets, ("+Inf", float(sum(spread.values())))]


def _gauges(gauges: Gauges) -> Iterator["Metric"]:
    from prometheus_client.metrics_core import GaugeMetricFamily

    capped = f"counted up to {metrics.CAP}"
    jobs = GaugeMetricFamily("signalbox_jobs", f"Jobs that are not done, {capped}.", labels=["state"])
    for state, count in (
        ("waiting", gauges["waiting_jobs"]),
        ("paused", gauges["held_jobs"]),
        ("running", gauges["running_jobs"]),
        ("dead", gauges["dead_jobs"]),
    ):
        jobs.add_metric([state], count)
    yield jobs
    for name, help_text, value in (
        ("oldest_job_seconds", "For how long the oldest job has been due.", gauges["oldest_job_seconds"]),
        (
            "oldest_event_seconds",
            "For how long the oldest event that was never routed has waited.",
            gauges["oldest_event_seconds"],
        ),
        ("unrouted_events", f"Events that no worker has routed yet, {capped}.", gauges["unrouted_events"]),
        ("rejected", f"Rejected deliveries that are kept, {capped}.", gauges["rejected"]),
        ("quarantined", f"Quarantined deliveries that are kept, {capped}.", gauges["quarantined"]),
    ):
        yield GaugeMetricFamily(f"signalbox_{name}", help_text, value=value or 0)
