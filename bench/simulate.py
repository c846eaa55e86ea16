"""A provider's retry storm after an outage, second by second: how deep the queue gets, and when it is empty again.

    python -m bench.simulate --rate 1000 --outage 3600 --answers 3000 --jobs 2000

Events happen at a steady rate. While the outage lasts, nothing is answered, and each delivery comes again after the
provider's own schedule. Afterwards so many deliveries are answered a second and so many jobs run a second; what is
over the first is told 503, and comes again later or, when its provider gives up, never.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# Seconds between attempts. Filestack documents three schedules and nobody knows which one is live; Box says up to 12
# retries over two hours, and no more: doubling from 10 s to 20 min fills them.
SCHEDULES: Mapping[str, Sequence[int]] = {
    "filestack-1": (300, 3600, 43200),
    "filestack-2": (300, 1800, 43200),
    "filestack-3": (10, 60, 300, 900, 3600),
    "box": tuple(min(10 * 2**number, 1200) for number in range(12)),
}
HOURS_AT_MOST = 48


@dataclass(frozen=True, slots=True)
class Load:
    """What comes, and what this installation takes; rates are per second, times in seconds."""

    rate: int = 1000
    outage: int = 3600
    answers: int = 3000
    jobs: int = 2000
    jobs_per_event: float = 1.0
    schedule: str = "box"


@dataclass(slots=True)
class Storm:
    """What became of it. Times are seconds after the end of the outage; None where it did not happen in two days."""

    happened: int = 0
    kept: int = 0
    given_up: int = 0
    peak_arrivals: int = 0
    refused: int = 0
    peak_queue: float = 0.0
    calm_after: int | None = None
    empty_after: int | None = None
    _coming: dict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))


def simulate(load: Load) -> Storm:
    """Run the outage and what follows until all is quiet, or for two days."""
    storm = Storm()
    queue = 0.0
    waits = SCHEDULES[load.schedule]
    for second in range(HOURS_AT_MOST * 3600):
        arrivals = storm._coming.pop(second, {})
        arrivals[0] = load.rate
        storm.happened += load.rate
        is_up = second >= load.outage
        arrived = sum(arrivals.values())
        taken = min(arrived, load.answers) if is_up else 0
        _send_again(storm, arrivals, taken, second, waits)
        storm.kept += taken
        after = second - load.outage
        if is_up:
            storm.peak_arrivals = max(storm.peak_arrivals, arrived)
            storm.refused += arrived - taken
            queue = max(0.0, queue + taken * load.jobs_per_event - load.jobs)
            storm.peak_queue = max(storm.peak_queue, queue)
        quiet = is_up and not any(storm._coming.values())
        if quiet and storm.calm_after is None:
            storm.calm_after = after
        if quiet and queue == 0:
            storm.empty_after = after
            break
    return storm


def _send_again(storm: Storm, arrivals: Mapping[int, int], taken: int, second: int, waits: Sequence[int]) -> None:
    """Share out what is taken among the arrivals, and have the rest come again when their provider says."""
    arrived = sum(arrivals.values())
    for attempt, count in sorted(arrivals.items(), reverse=True):
        served = min(count, -(-count * taken // arrived), taken)
        taken, arrived = taken - served, arrived - count
        if count == served:
            continue
        if attempt < len(waits):
            storm._coming[second + waits[attempt]][attempt + 1] += count - served
        else:
            storm.given_up += count - served


def span(seconds: int | None) -> str:
    if seconds is None:
        return "not in two days"
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds % 60:02} s"


def table(load: Load) -> list[str]:
    """Give the lines of a table with one row for each provider's schedule."""
    lines = [
        "| schedule | most arrivals/s | told 503 | deepest queue of jobs | last retry in | queue empty | given up on |",
        "|---|---|---|---|---|---|---|",
    ]
    for schedule in SCHEDULES:
        storm = simulate(Load(load.rate, load.outage, load.answers, load.jobs, load.jobs_per_event, schedule))
        lines.append(
            f"| {schedule} | {storm.peak_arrivals:,} | {storm.refused:,} | {storm.peak_queue:,.0f} "
            f"| {span(storm.calm_after)} | {span(storm.empty_after)} | {storm.given_up:,} |"
        )
    return lines


def main() -> None:
    usual = Load()
    parser = argparse.ArgumentParser(description="A retry storm after an outage, second by second.")
    parser.add_argument("--rate", type=int, default=usual.rate, help="events a second (%(default)s)")
    parser.add_argument("--outage", type=int, default=usual.outage, help="seconds without an answer (%(default)s)")
    parser.add_argument("--answers", type=int, default=usual.answers, help="deliveries answered a second (%(default)s)")
    parser.add_argument("--jobs", type=int, default=usual.jobs, help="jobs run a second (%(default)s)")
    parser.add_argument("--jobs-per-event", type=float, default=usual.jobs_per_event, help="(%(default)s)")
    print("\n".join(table(Load(**vars(parser.parse_args())))))


if __name__ == "__main__":
    main()
