"""What figures say, in words: the alarms of the dashboard, and the titles of its charts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from urllib.parse import quote

from receiver import humanize
from receiver.jobs.registry import Stranded
from receiver.observe.metrics import AlarmStats, Gauges, SourceStats, Stats
from receiver.observe.metrics.queries import AttemptStats
from receiver.web.stats.charts import Times, took

LATE = timedelta(minutes=1)
UNROUTED = timedelta(seconds=15)  # a worker that runs routes within a second
SILENT_AT_LEAST = timedelta(minutes=10)
SILENT_TIMES = 3  # as long as the longest silence before
KNOWN_STEPS = 4  # with fewer, nobody can say how often something comes


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that wants somebody, in words, with where to look at it."""

    state: str
    text: str
    link: str | None = None
    link_text: str = ""


def alarms(
    gauges: Gauges,
    lately: Sequence[AlarmStats],
    stats: Stats,
    *,
    at: datetime,
    window: str,
    stranded: Sequence[Stranded] = (),
) -> list[Alarm]:
    """Give what is wrong, the worst first; nothing where nothing is."""
    found = [
        _unrouted(gauges),
        _late(gauges),
        *map(_stranded, stranded),
        *(_told(one, at) for one in lately),
        _dead(gauges),
        _unkept(stats, window),
        _silent(gauges, stats, at),
    ]
    return [alarm for alarm in found if alarm is not None]


def _unrouted(gauges: Gauges) -> Alarm | None:
    wait = gauges["oldest_event_seconds"]
    if wait is None or wait < UNROUTED.total_seconds():
        return None
    text = f"{_many(gauges, 'unrouted_events', 'event')} not routed, the oldest for {seconds(wait)}: no worker runs."
    return Alarm("dead", text, "/?state=accepted", "Show them")


def _late(gauges: Gauges) -> Alarm | None:
    wait = gauges["oldest_job_seconds"]
    if wait is None or wait < LATE.total_seconds():
        return None
    why = "no worker runs, or all its threads are busy"
    return Alarm("dead", f"A job has been due for {seconds(wait)} and nobody runs it: {why}.")


def _stranded(one: Stranded) -> Alarm:
    many = f"{'' if one.count.is_whole else 'At least '}{_number(one.count.number, 'job')}"
    wait = "waits" if one.count.number == 1 else "wait"
    return Alarm("dead", f"{many} of {one.name} {wait}: {one.why}.", f"/handlers/{quote(one.name)}", "To the handler")


_MEANING = {
    "box:NO_ACTIVE_SESSION": "the login behind a webhook has expired, and this comes in place of its events",
    "box:WEBHOOK.DELETED": "Box has given up a webhook and sends nothing for it any more",
}


def _told(alarm: AlarmStats, at: datetime) -> Alarm:
    meaning = _MEANING.get(alarm["type"], "an alarm of its source")
    text = f"{alarm['type']} came {humanize.ago(humanize.parse(alarm['last_at']), at)}: {meaning}."
    return Alarm("dead", text, f"/?type={alarm['type']}", "Show it" if alarm["count"] == 1 else "Show them")


def _dead(gauges: Gauges) -> Alarm | None:
    if not gauges["dead_jobs"]:
        return None
    wait = "waits" if gauges["dead_jobs"] == 1 else "wait"
    text = f"{_many(gauges, 'dead_jobs', 'dead letter')} {wait} for somebody to replay or discard."
    return Alarm("dead", text, "/handlers", "To the handlers")


def _unkept(stats: Stats, window: str) -> Alarm | None:
    count = stats["all_sources"]["outcomes"].get("unkept", 0)
    if not count:
        return None
    text = (
        f"In the last {window} {_number(count, 'delivery', 'deliveries')} could not be kept and had to be sent again."
    )
    return Alarm("dead", text)


def _silent(gauges: Gauges, stats: Stats, at: datetime) -> Alarm | None:
    """No data is trouble where there was some before."""
    last = _last_delivery(gauges, stats, at)
    if last is None:
        return None
    silent, usual = at - last, usual_silence(stats)
    if silent < max(SILENT_AT_LEAST, SILENT_TIMES * usual if usual else SILENT_AT_LEAST):
        return None
    said = f"Nothing has come for {humanize.span(silent)}"
    if usual is not None:
        return Alarm("waiting", f"{said}; before that, no silence was longer than {humanize.span(usual)}.")
    return None if came_in(stats) else Alarm("waiting", f"{said}.", "/", "To the last that did")


def _last_delivery(gauges: Gauges, stats: Stats, at: datetime) -> datetime | None:
    """Give when something came last, rejected or not, as far as it is known."""
    known = [humanize.parse(gauges["newest_event_at"])] if gauges["newest_event_at"] else []
    came = came_in(stats)
    if came:
        step = timedelta(seconds=stats["step_seconds"])
        known.append(min(humanize.parse(stats["steps"][came[-1]]) + step, at))
    return max(known, default=None)


def usual_silence(stats: Stats) -> timedelta | None:
    """Give the longest time without a delivery that was followed by one; None where there were too few to say."""
    came = came_in(stats)
    if len(came) < KNOWN_STEPS:
        return None
    return max(later - earlier for earlier, later in pairwise(came)) * timedelta(seconds=stats["step_seconds"])


def came_in(stats: Stats) -> list[int]:
    """Give the numbers of the steps in which anything came."""
    series = stats["all_sources"]["series"].values()
    return [number for number in range(len(stats["steps"])) if any(one[number] for one in series)]


def is_empty(gauges: Gauges, stats: Stats) -> bool:
    """Say whether nothing was ever here: then the page teaches."""
    return gauges["newest_event_at"] is None and not gauges["rejected"] and not stats["sources"]


def busiest(stats: Stats) -> str:
    """Say how many events came, and when the most."""
    series = stats["all_sources"]["series"].get("accepted", [])
    total = sum(series)
    if not total:
        return "No event came"
    most = max(range(len(series)), key=series.__getitem__)
    times = Times([humanize.parse(step) for step in stats["steps"]], timedelta(seconds=stats["step_seconds"]))
    rate = series[most] * 60 / stats["step_seconds"]
    many = f"{rate:,.0f}" if rate >= 9.95 or rate == int(rate) else f"{rate:.1f}"
    return f"{events(total)} came, most at {times.label(most)}: {many} a minute"


def events(count: int) -> str:
    return _number(count, "event")


def not_accepted(outcomes: dict[str, int]) -> str:
    """Say what became of the deliveries that made no event."""
    said = [
        f"{outcomes[name]:,} {verb}"
        for name, verb in (
            ("unkept", "not kept"),
            ("quarantined", "quarantined"),
            ("rejected", "rejected"),
            ("duplicate", "seen before"),
        )
        if outcomes.get(name)
    ]
    if said:
        return f"Of {_number(sum(outcomes.values()), 'delivery', 'deliveries')}: {', '.join(said)}"
    return "Every delivery made an event" if outcomes else "No delivery came"


def answers(everything: SourceStats) -> str:
    """Say how long providers waited."""
    half, most = everything["p50_ms"], everything["p99_ms"]
    if half is None or most is None:
        return "No delivery was answered"
    return f"99 of 100 deliveries were answered within {took(most)}, half within {took(half)}"


def oldest(waits: Sequence[float], times: Times) -> str:
    """Say how long a job or an event had to wait at the worst."""
    longest = max(waits, default=0.0)
    if not longest:
        return "Nothing waited a second for a worker"
    return f"The longest wait for a worker was {seconds(longest)}, at {times.label(list(waits).index(longest))}"


def attempts(found: AttemptStats) -> str:
    """Say how many attempts have to be made again, and how many jobs died."""
    made = sum(found["outcomes"].values())
    if not made:
        return "No handler had anything to do"
    if not found["retries"] and not found["dead"]:
        return f"None of {_number(made, 'attempt')} has to be made again"
    died = _number(found["dead"], "job") if found["dead"] else "no job"
    have = "has" if found["retries"] == 1 else "have"
    return f"{found['retries']:,} of {_number(made, 'attempt')} {have} to be made again, {died} died"


def handlers(stats: Stats) -> str:
    """Say which handler fails most."""
    found = stats["handlers"]
    if not found:
        return "No handler had anything to do"
    worst = found[0]
    failed = worst["attempts"] - worst["outcomes"].get("done", 0)
    if not failed:
        return "Every attempt was done" if len(found) == 1 else f"All {len(found)} handlers did what they were asked"
    return f"{worst['handler']} fails most: {failed:,} of {_number(worst['attempts'], 'attempt')}"


def seconds(length: float) -> str:
    """Say how long something waited: `3 s`, `2 min`, `5 h`."""
    return humanize.span(timedelta(seconds=length))


def _many(gauges: Gauges, name: str, thing: str) -> str:
    count: int = gauges[name]  # type: ignore[literal-required]
    return f"{'At least ' if name in gauges['capped'] else ''}{_number(count, thing)}"


def _number(count: int, thing: str, things: str | None = None) -> str:
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"
