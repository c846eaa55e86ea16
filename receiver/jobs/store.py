"""The life of a job: routed, claimed, finished, lost, discarded, replayed. The only writer of jobs and attempts."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache, partial
from typing import Any

import sqlalchemy as sa

from receiver.jobs import held
from receiver.jobs.by_hand import bring_back as bring_back  # noqa: PLC0414 - the life of a job is here
from receiver.jobs.by_hand import bury as bury  # noqa: PLC0414
from receiver.jobs.by_hand import discard_dead_jobs as discard_dead_jobs  # noqa: PLC0414
from receiver.jobs.by_hand import due_unless_paused
from receiver.jobs.by_hand import replay_dead_jobs as replay_dead_jobs  # noqa: PLC0414
from receiver.jobs.by_hand import replay_event as replay_event  # noqa: PLC0414
from receiver.jobs.by_hand import replay_job as replay_job  # noqa: PLC0414
from receiver.jobs.held import pause_handler as pause_handler  # noqa: PLC0414
from receiver.jobs.held import resume_handler as resume_handler  # noqa: PLC0414
from receiver.jobs.loaded import PAUSING, Known, Registry
from receiver.jobs.loaded import paused_names as _paused
from receiver.jobs.retry import Again, Dead, Policy, decide_lost
from receiver.runtime.tracebacks import storable
from receiver.storage import db
from receiver.storage.tables import attempts, events, is_unrouted, jobs

PolicyOf = Callable[[str], Policy]


@dataclass(frozen=True, slots=True)
class Routing:
    """The decision for one event: which handlers get a job, and where the payload drifts from its schema.

    `type` and `name` are those of the event; they find the handlers of other workers.
    """

    event_id: str
    handlers: Sequence[str]
    drift: Sequence[dict[str, str]] = ()
    type: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that is this worker's until the lease ends, with the row of its event.

    `attempt` counts every run; `spent` only those since the last replay.
    """

    job_id: int
    handler: str
    attempt: int
    spent: int
    started_at: datetime
    event: sa.Row[Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Taken:
    """The jobs that this worker now holds, and the handlers of those that it gave back because it lacks them."""

    claims: list[Claim]
    given_back: list[str]


@dataclass(frozen=True, slots=True)
class Finish:
    """How an attempt ended (`done`, `failed`, `retry`, `discarded`) and what happens to the job then."""

    claim: Claim
    outcome: str
    finished_at: datetime
    then: Again | Dead | None
    error: str | None = None
    cause: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """Whether there is anything to do: events to route, jobs to run, jobs whose worker vanished.

    `next_at` is when the next job of any worker becomes due.
    """

    unrouted: bool
    waiting: bool
    lost: bool
    next_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Loss:
    """A job whose worker vanished while it ran."""

    job_id: int
    event_id: str
    type: str
    handler: str
    attempt: int
    then: Again | Dead


def look(engine: sa.Engine, now: datetime, *, elsewhere: Collection[str] = (), after: datetime | None = None) -> Due:
    """Return what there is to do, by reading alone: an idle worker takes no lock.

    Jobs of the handlers in `elsewhere`, and jobs that were due by `after`, are not for this worker.
    """
    times = {"now": now} if after is None else {"now": now, "after": after}
    with db.reading(engine) as connection:
        found = connection.execute(_look_for(frozenset(elsewhere), after is not None), times).one()
    unrouted, waiting, lost, *later = found
    return Due(bool(unrouted), bool(waiting), bool(lost), min((at for at in later if at), default=None))


@lru_cache(maxsize=8)
def _look_for(elsewhere: frozenset[str], is_cut: bool) -> sa.Select[Any]:
    now, after = (sa.bindparam(name, type_=jobs.c.due_at.type) for name in ("now", "after"))
    due = sa.select(jobs.c.id).where(jobs.c.due_at <= now)
    its = due.where(*_not_of(elsewhere), *([jobs.c.due_at > after] if is_cut else []))
    later = sa.select(jobs.c.due_at).where(jobs.c.due_at > now).order_by(jobs.c.due_at).limit(1)
    return sa.select(
        sa.exists().where(is_unrouted),
        its.where(jobs.c.state == "waiting").exists(),
        due.where(jobs.c.state == "running").exists(),
        *(later.where(jobs.c.state == state).scalar_subquery() for state in ("waiting", "running")),
    )


def _not_of(names: Collection[str]) -> list[sa.ColumnElement[bool]]:
    return [jobs.c.handler.not_in(names)] if names else []


def unrouted(engine: sa.Engine, limit: int) -> Sequence[sa.Row[Any]]:
    """Return the oldest events that no worker has routed yet."""
    waiting = sa.select(events).where(is_unrouted).order_by(events.c.seq).limit(limit)
    with db.reading(engine) as connection:
        return connection.execute(waiting).all()


def route(engine: sa.Engine, routings: Sequence[Routing], now: datetime, registry: Registry | None = None) -> list[int]:
    """Write the jobs of each event and mark it routed, in one transaction; return how many handlers want each.

    With a registry, handlers of other workers get jobs too, and jobs of handlers that no worker has wait without a
    time. Routing an event twice adds nothing.
    """
    routed = sa.update(events).where(events.c.id == sa.bindparam("event")).values(state="routed")
    with db.writing(engine) as connection:
        if registry is None:
            paused = _paused(connection)
            wanting, waits = [routing.handlers for routing in routings], paused.__contains__
        else:
            db.lock(connection, PAUSING, shared=True)
            known = registry.read(connection, now)
            wanting, waits = _wanting(routings, known), partial(_must_wait, known, registry)
        rows: list[dict[str, Any]] = [
            {
                "event_id": routing.event_id,
                "handler": name,
                "state": "waiting",
                "due_at": None if waits(name) else now,
            }
            for routing, names in zip(routings, wanting, strict=True)
            for name in names
        ]
        if rows:
            connection.execute(db.insert(connection, jobs).on_conflict_do_nothing(), rows)
        if registry is not None and any(row["due_at"] and not registry.has(row["handler"]) for row in rows):
            db.ring_of(connection)
        connection.execute(
            routed.values(drift=sa.bindparam("found")),
            [{"event": routing.event_id, "found": list(routing.drift)} for routing in routings],
        )
    return [len(names) for names in wanting]


def _wanting(routings: Sequence[Routing], known: Known) -> list[Sequence[str]]:
    """Return the handlers of each routing together with those of other workers, sorted by name."""
    of_type = {(one.type, one.name): known.wanting(one.type, one.name) for one in routings}
    return [sorted({*one.handlers, *of_type[one.type, one.name]}) for one in routings]


def _must_wait(known: Known, registry: Registry, name: str) -> bool:
    return name in known.paused or not (name in known.live or registry.has(name))


def claim(engine: sa.Engine, *, worker: str, limit: int, now: datetime, lease: timedelta) -> list[Claim]:
    """Claim up to `limit` due jobs for this worker; no other worker gets them before the lease ends."""
    return take(engine, longest_due(now, limit=limit), worker=worker, now=now, lease=lease)


def claim_own(
    engine: sa.Engine,
    *,
    registry: Registry,
    worker: str,
    limit: int,
    now: datetime,
    lease: timedelta,
    after: datetime | None = None,
) -> Taken:
    """Claim up to `limit` due jobs of handlers that this worker has loaded, except those that were due by `after`."""
    of = [*_not_of(registry.elsewhere), *([] if after is None else [jobs.c.due_at > after])]
    which = longest_due(now, limit=limit, of=sa.and_(*of) if of else None)
    return take_own(engine, which, registry=registry, worker=worker, now=now, lease=lease, later=now)


def longest_due(now: datetime, *, limit: int, of: sa.ColumnElement[bool] | None = None) -> sa.ColumnElement[bool]:
    """Return a condition for up to `limit` due jobs, the longest due first, without those another worker is claiming.

    It is a CTE, because PostgreSQL may run a subquery again for each row: with SKIP LOCKED every run would pick other
    rows, and the limit would not hold. A CTE with FOR UPDATE runs once: PostgreSQL counts it as a change of data and
    does not fold it into the outer query (`contain_dml` in its subselect.c, since version 12).
    """
    due = (
        sa.select(jobs.c.id)
        .where(jobs.c.state == "waiting", jobs.c.due_at <= now, *([] if of is None else [of]))
        .order_by(jobs.c.due_at, jobs.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    return jobs.c.id.in_(sa.select(due.c.id))


def take(
    engine: sa.Engine, which: sa.ColumnElement[bool], *, worker: str, now: datetime, lease: timedelta
) -> list[Claim]:
    """Claim the waiting jobs that match, with their events."""
    with db.writing(engine) as connection:
        return _with_events(connection, _taken(connection, which, worker, now, lease), now)


def take_own(
    engine: sa.Engine,
    which: sa.ColumnElement[bool],
    *,
    registry: Registry,
    worker: str,
    now: datetime,
    lease: timedelta,
    later: datetime,
) -> Taken:
    """Claim waiting jobs as `take` does, except those whose handlers are not loaded here.

    Those are left as if nobody had taken them: due `later` for a worker that has the handler, or waiting for one.
    """
    with db.writing(engine) as connection:
        rows = _taken(connection, which, worker, now, lease)
        strangers = [row for row in rows if not registry.has(row.handler)]
        if strangers:
            held.give_back(connection, strangers, registry, now=now, later=later)
            rows = [row for row in rows if row not in strangers]
        return Taken(_with_events(connection, rows, now), given_back=[row.handler for row in strangers])


def _taken(
    connection: sa.Connection, which: sa.ColumnElement[bool], worker: str, now: datetime, lease: timedelta
) -> Sequence[sa.Row[Any]]:
    taken = (
        sa.update(jobs)
        .where(which)
        .values(state="running", attempt=jobs.c.attempt + 1, due_at=now + lease, started_at=now, worker=worker)
        .returning(jobs.c.id, jobs.c.event_id, jobs.c.handler, jobs.c.attempt, jobs.c.spent_before)
    )
    return connection.execute(taken).all()


def _with_events(connection: sa.Connection, rows: Sequence[sa.Row[Any]], now: datetime) -> list[Claim]:
    if not rows:
        return []
    wanted = {row.event_id for row in rows}
    found = {row.id: row for row in connection.execute(sa.select(events).where(events.c.id.in_(wanted)))}
    claims = [
        Claim(row.id, row.handler, row.attempt, row.attempt - row.spent_before, now, found[row.event_id])
        for row in rows
    ]
    return sorted(claims, key=lambda one: one.job_id)


def renew(engine: sa.Engine, claims: Sequence[Claim], *, worker: str, until: datetime) -> None:
    """Extend the leases of jobs that are still running."""
    with db.writing(engine) as connection:
        connection.execute(sa.update(jobs).where(_are_held(claims, worker)).values(due_at=until))


def _are_held(claims: Sequence[Claim], worker: str) -> sa.ColumnElement[bool]:
    """Return a condition for those of these jobs whose exact attempt this worker still holds.

    The number of the attempt matters: a worker that lost a lease may hold the same job again.
    """
    held = {(claim.job_id, claim.attempt) for claim in claims}
    these = sa.tuple_(jobs.c.id, jobs.c.attempt).in_(held)
    return sa.and_(_are_running([job_id for job_id, _ in held], worker), these)


def _are_running(ids: Sequence[int], worker: str) -> sa.ColumnElement[bool]:
    return sa.and_(jobs.c.id.in_(ids), jobs.c.worker == worker, jobs.c.state == "running")


def finish(engine: sa.Engine, finishes: Sequence[Finish], *, worker: str) -> list[bool]:
    """Write how attempts ended, in one transaction; return for each whether this worker still held it.

    A job whose lease was lost belongs to another worker by now, or was discarded by hand: nothing is written for it.
    """
    with db.writing(engine) as connection:
        paused = _paused(connection) if any(isinstance(finish.then, Again) for finish in finishes) else frozenset()
        held = _held_of(connection, [finish.claim for finish in finishes], worker)
        kept = [(finish.claim.job_id, finish.claim.attempt) in held for finish in finishes]
        ours = [finish for finish, is_kept in zip(finishes, kept, strict=True) if is_kept]
        if ours:
            closed = [{"job": one.claim.job_id} | _after(one.then, one.claim.handler in paused) for one in ours]
            connection.execute(_CLOSED, closed)
            connection.execute(sa.insert(attempts), [_attempt_row(one) for one in ours])
    return kept


def _held_of(connection: sa.Connection, claims: Sequence[Claim], worker: str) -> set[tuple[int, int]]:
    """Return the id and the attempt of each of these jobs that this worker still holds."""
    running = _are_running([claim.job_id for claim in claims], worker)
    held = sa.select(jobs.c.id, jobs.c.attempt).where(running).with_for_update()
    return {(row.id, row.attempt) for row in connection.execute(held)}


_CLOSED = (
    sa.update(jobs)
    .where(jobs.c.id == sa.bindparam("job"))
    .values(
        worker=None, state=sa.bindparam("new_state"), due_at=sa.bindparam("new_due"), reason=sa.bindparam("new_reason")
    )
)


def _after(then: Again | Dead | None, is_paused: bool) -> dict[str, Any]:
    """Return the values of `_CLOSED` for a decision."""
    match then:
        case Again(at):
            return {"new_state": "waiting", "new_due": None if is_paused else at, "new_reason": None}
        case Dead(reason):
            return {"new_state": "dead", "new_due": None, "new_reason": reason}
        case None:
            return {"new_state": "done", "new_due": None, "new_reason": None}


def _attempt_row(finish: Finish) -> dict[str, Any]:
    return {
        "job_id": finish.claim.job_id,
        "number": finish.claim.attempt,
        "started_at": finish.claim.started_at,
        "finished_at": finish.finished_at,
        "outcome": finish.outcome,
        "error": finish.error and storable(finish.error),
    }


def recover(engine: sa.Engine, *, now: datetime, chance: float, policy_of: PolicyOf, limit: int = 100) -> list[Loss]:
    """Retry or bury the jobs whose lease has ended: their worker was killed, or cut off, while it ran them.

    The chance of each is spread evenly from the given one: jobs that were lost together are not retried together.
    """
    ended = (
        sa.select(jobs, events.c.type)
        .join(events, events.c.id == jobs.c.event_id)
        .where(jobs.c.state == "running", jobs.c.due_at <= now)
        .order_by(jobs.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True, of=jobs)
    )
    with db.writing(engine) as connection:
        paused = _paused(connection)
        lost, losses = connection.execute(ended).all(), []
        for place, row in enumerate(lost):
            policy, its_chance = policy_of(row.handler), (chance + place / len(lost)) % 1
            then = decide_lost(policy, spent=row.attempt - row.spent_before, now=now, chance=its_chance)
            connection.execute(_CLOSED, {"job": row.id} | _after(then, row.handler in paused))
            connection.execute(sa.insert(attempts), _lost_attempt(row, now))
            losses.append(Loss(row.id, row.event_id, row.type, row.handler, row.attempt, then))
        return losses


def _lost_attempt(row: sa.Row[Any], now: datetime) -> dict[str, Any]:
    return {
        "job_id": row.id,
        "number": row.attempt,
        "started_at": row.started_at or now,  # an old release recorded no time
        "finished_at": now,
        "outcome": "lost",
        "error": "the worker vanished, or lost the database, while this ran or was about to",
    }


def release(engine: sa.Engine, claims: Sequence[Claim], *, worker: str, now: datetime) -> None:
    """Release jobs that are still running when the worker has to stop: the next worker repeats them at once."""
    error = "the worker was asked to stop while this ran"
    finish(engine, [Finish(claim, "lost", now, Again(now), error) for claim in claims], worker=worker)


def put_back(engine: sa.Engine, claims: Sequence[Claim], *, worker: str, now: datetime) -> None:
    """Return jobs that were claimed but never begun to the queue, as if they had not been claimed."""
    untouched = {"state": "waiting", "worker": None, "attempt": jobs.c.attempt - 1}
    with db.writing(engine) as connection:
        due_at = due_unless_paused(_paused(connection), now)
        connection.execute(sa.update(jobs).where(_are_held(claims, worker)).values(due_at=due_at, **untouched))
        db.ring_of(connection)


def hasten(engine: sa.Engine, which: sa.ColumnElement[bool], now: datetime) -> None:
    """Make waiting jobs due now; those of a paused handler stay without a time."""
    with db.writing(engine) as connection:
        due_at = due_unless_paused(_paused(connection), now)
        connection.execute(sa.update(jobs).where(which, jobs.c.state == "waiting").values(due_at=due_at))
        db.ring_of(connection)
