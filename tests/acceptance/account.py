"""What a database holds of what was promised: events as they came, and jobs that are done, each by one attempt."""

from collections.abc import Mapping

import sqlalchemy as sa

from receiver.settings import resolve_database_url
from receiver.storage import db
from receiver.storage.tables import attempts, events, jobs
from tests.waiting import PATIENCE_SECONDS, until


def lost(url: str, accepted: Mapping[str, bytes]) -> list[str]:
    """Give the events that are not there, or not as they came."""
    engine = db.open_engine(resolve_database_url(url))
    with engine.connect() as connection:
        kept = {row.id: row.body for row in connection.execute(sa.select(events.c.id, events.c.body))}
    engine.dispose()
    return [event for event, body in accepted.items() if kept.get(event) != body]


def done_twice_or_not_at_all(
    url: str, *, count: int, handlers: int, seconds: float = PATIENCE_SECONDS
) -> dict[str, int]:
    """Wait for so many events to be handled, and give how often a job has another number of done attempts than one."""
    engine = db.open_engine(resolve_database_url(url))
    try:
        what = f"{handlers} jobs of each of {count} events are done"
        until(lambda: _done(engine) >= count * handlers, what, seconds=seconds)
        with engine.connect() as connection:
            return {name: connection.execute(question).scalar_one() for name, question in _QUESTIONS.items()}
    finally:
        engine.dispose()


def _done(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).where(jobs.c.state == "done")).scalar_one())


_OFTEN = sa.select(attempts.c.job_id).group_by(attempts.c.job_id).having(sa.func.count() > 1).subquery()
_QUESTIONS: dict[str, sa.Select[int]] = {
    "jobs that are not done": sa.select(sa.func.count()).select_from(jobs).where(jobs.c.state != "done"),
    "jobs without an attempt": sa.select(sa.func.count())
    .select_from(jobs.outerjoin(attempts, attempts.c.job_id == jobs.c.id))
    .where(attempts.c.seq.is_(None)),
    "jobs with several attempts": sa.select(sa.func.count()).select_from(_OFTEN),
    "attempts that are not done": sa.select(sa.func.count()).select_from(attempts).where(attempts.c.outcome != "done"),
}
NOTHING_AMISS = dict.fromkeys(_QUESTIONS, 0)
