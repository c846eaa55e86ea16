"""How a job looks on the screen: as a row, and with every attempt."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from receiver import humanize
from receiver.cli import screen
from receiver.observe.records import AttemptRecord, JobRecord
from receiver.runtime.reasons import line_of, reason_of

STATES = {"done": "green", "running": "cyan", "waiting": "yellow", "dead": "red", "discarded": "dim"}
OUTCOMES = {"done": "green", "retry": "yellow", "lost": "yellow", "discarded": "magenta", "failed": "red"}
MARKS = {"done": "✓", "running": "▸", "waiting": "…", "dead": "✗", "discarded": "✗"}
LATE = timedelta(seconds=10)


def grid(items: Sequence[JobRecord], now: datetime) -> Table:
    rows = [
        (
            str(item.id),
            screen.styled(_state(item), STATES[_state(item)]),
            item.event,
            screen.stacked(item.handler, screen.styled(_news(item, now), "dim")),
        )
        for item in items
    ]
    return screen.table(["JOB", "STATE", "EVENT", "HANDLER"], rows, whole=["JOB", "STATE", "EVENT"])


def _state(job: JobRecord) -> str:
    return "discarded" if job.discarded_at else str(job.state)


def _news(item: JobRecord, now: datetime) -> str:
    error = line_of(item.last_attempt.error if item.last_attempt else None)
    if item.state == "waiting":
        due = item.next_attempt_at
        if due is None:
            return _waits(item)
        return ": ".join(filter(None, [f"in {humanize.span(due - now)}" if due > now else "due", error]))
    if item.state == "running":
        return _running(item, now)
    return error if item.state == "dead" else ""


def _waits(job: JobRecord) -> str:
    """Say for what a job waits that has no time to run at."""
    return f"waits: {job.waits_for}" if job.waits_for else "waits: a worker takes it in a moment"


def _running(job: JobRecord, now: datetime) -> str:
    """Say for how long a job runs; a release of long ago wrote down no time."""
    if job.running_since is None:
        return "running, and nobody wrote down since when"
    return humanize.lasting(job.running_since, now)


def whole(job: JobRecord, now: datetime, *, full: bool) -> Iterator[RenderableType]:
    """Give a job: its handler and state, every attempt, and what happens next."""
    state, style = _state(job), STATES[_state(job)]
    yield Text.assemble(
        (f"{MARKS[state]} ", style),
        screen.styled(job.handler, "bold"),
        (f"  {state}", style),
        (f"  job {job.id}", "dim"),
    )
    for number, attempt in enumerate(job.attempts, 1):
        yield _attempt(number, attempt)
        if full and attempt.error and "\n" in attempt.error:
            yield screen.block(attempt.error, "dim", indent=6)
        elif below := reason_of(attempt.error).below:
            yield screen.block("\n".join(below), "dim", indent=6)
    if after := "; ".join(filter(None, [_why(job), _next(job, now)])):
        yield screen.styled(f"     {after}", style)


def _attempt(number: int, attempt: AttemptRecord) -> Text:
    started, finished = attempt.started_at, attempt.finished_at
    error = line_of(attempt.error)
    return Text.assemble(
        (f"  {number:>2} ", "dim"),
        humanize.full(started),
        screen.styled(f"  {attempt.outcome}", OUTCOMES.get(attempt.outcome, "")),
        (f" after {humanize.took(started, finished)}", "dim"),
        screen.styled(f"  {error}" if error else ""),
    )


def _why(job: JobRecord) -> str:
    """Say why a job is dead, unless its last attempt just did."""
    last = line_of(job.attempts[-1].error) if job.attempts else ""
    reason = line_of(job.reason)
    return reason if reason != last else ""


def _next(job: JobRecord, now: datetime) -> str:
    if job.discarded_at:
        at = humanize.full(job.discarded_at)
        return f"{job.discarded_reason}, at {at}; once more: signalbox jobs replay {job.id}"
    if job.state == "dead":
        return f"once more: signalbox jobs replay {job.id}"
    if job.state == "running":
        since = f", since {humanize.full(job.running_since)}" if job.running_since else ""
        return f"{_running(job, now)}{since}"
    if job.next_attempt_at is None:
        return _waits(job) if job.state == "waiting" else ""
    due = job.next_attempt_at
    if due > now:
        return f"next attempt in {humanize.span(due - now)}, at {humanize.full(due)}"
    return "due now" if now - due < LATE else f"due {humanize.ago(due, now)}: is a worker running?"
