"""The account after a fault: each event that was answered 200 is there once, and each of its jobs came to its end."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from receiver.storage.tables import attempts, events, jobs

STEP = 500
Run = tuple[str, int]  # the id of an event, and the number of the attempt


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one event: its body, and each of its jobs with all its attempts."""

    body: bytes
    jobs: Mapping[str, tuple[Any, Sequence[Any]]]


def read(engine: sa.Engine, ids: Sequence[str]) -> dict[str, Fate]:
    """Give what the database knows of events."""
    found: dict[str, Fate] = {}
    with engine.connect() as connection:
        for place in range(0, len(ids), STEP):
            some = ids[place : place + STEP]
            chosen = connection.execute(sa.select(jobs).where(jobs.c.event_id.in_(some))).all()
            tried = sa.select(attempts).join(jobs, jobs.c.id == attempts.c.job_id).where(jobs.c.event_id.in_(some))
            history: defaultdict[int, list[Any]] = defaultdict(list)
            for attempt in connection.execute(tried.order_by(attempts.c.seq)):
                history[attempt.job_id].append(attempt)
            for row in connection.execute(sa.select(events.c.id, events.c.body).where(events.c.id.in_(some))):
                mine = {job.handler: (job, history[job.id]) for job in chosen if job.event_id == row.id}
                found[row.id] = Fate(row.body, mine)
    return found


def faults_of(
    promised: Mapping[str, bytes],
    fates: Mapping[str, Fate],
    *,
    runs: Iterable[Run],
    over: datetime,
    handler: str | tuple[str, ...],
) -> Iterator[str]:
    """Say what is wrong: of events that were promised by a 200, given by id, and of the runs that handlers noted.

    `over` is when the fault was over: what began after it may not have been lost. The names of those that note their
    runs begin with `handler`.
    """
    begun = Counter(run for run in runs if run[0] in promised)
    numbers = defaultdict[str, set[int]](set)
    for run, times in begun.items():
        numbers[run[0]].add(run[1])
        if times > 1:
            yield f"attempt {run[1]} of event {run[0]} ran {times} times"
    for event_id, body in promised.items():
        fate = fates.get(event_id)
        if fate is None:
            yield f"event {event_id} was answered 200 and is not there"
            continue
        if fate.body != body:
            yield f"event {event_id} is there with another body"
        if not any(name.startswith(handler) for name in fate.jobs):
            yield f"event {event_id} was given to no handler of ours"
        for name, (job, history) in fate.jobs.items():
            yield from _faults_of_job(job, history, over=over)
            if name.startswith(handler):
                yield from _faults_of_runs(job, history, numbers[event_id])


def _faults_of_job(job: Any, history: Sequence[Any], *, over: datetime) -> Iterator[str]:
    if job.state not in ("done", "dead") or (job.state == "dead" and not job.reason):
        yield f"job {job.id} of event {job.event_id} is {job.state}"
    if [one.number for one in history] != list(range(1, job.attempt + 1)):
        yield f"job {job.id} had {job.attempt} attempts and {len(history)} are known"
    if [one.outcome for one in history].count("done") != (job.state == "done"):
        yield f"job {job.id} is {job.state} after {[one.outcome for one in history]}"
    late = [one.number for one in history if one.outcome == "lost" and one.started_at > over]
    if late:
        yield f"job {job.id} lost attempt {late} after the fault was over"


def _faults_of_runs(job: Any, history: Sequence[Any], noted: set[int]) -> Iterator[str]:
    """Nothing ran that the database did not hold as running, and what it calls done did run."""
    known = {one.number for one in history}
    if noted - known:
        yield f"job {job.id} ran attempts {sorted(noted - known)} that the database knows nothing of"
    if not {one.number for one in history if one.outcome == "done"} <= noted:
        yield f"job {job.id} is done, and its handler never ran"


def lost_attempts(fates: Iterable[Fate]) -> int:
    return sum(one.outcome == "lost" for fate in fates for _job, history in fate.jobs.values() for one in history)
