"""/api/jobs: which handler has which event, how far it is, and once more."""

from datetime import UTC, datetime
from typing import Any

from flask import Response

from receiver.jobs import dead_letters, store
from receiver.jobs.dead_letters import Which
from receiver.observe import documents, queries
from receiver.service import engine
from receiver.web.api.request import refuse
from receiver.web.api.resource import Resource
from receiver.web.api.response import give
from receiver.web.schemas.jobs import (
    MAX_NUMBER,
    DeadLettersAsked,
    DeadLettersDiscarded,
    DeadLettersReplayed,
    DeadLettersToDiscard,
    DiscardAsked,
    Job,
    JobLine,
    JobsAsked,
)
from receiver.web.schemas.shape import page_of

jobs = Resource("Jobs", __name__, path="/jobs", description="Which handler has which event, and how far it is.")
ONE = f"/<int(min=1, max={MAX_NUMBER}):id>"
ID = {"in": "path", "name": "id", "description": "The number of the job.", "example": 7}


@jobs.operation("GET", "", takes=JobsAsked, gives=page_of(JobLine), refuses=(404,))
def list_jobs(asked: dict[str, Any]) -> Response:
    """List jobs, the newest first; `state=dead` are the dead letters."""
    return give(documents.page(queries.list_jobs(engine(), **asked), documents.job_line))


@jobs.operation("POST", "/replay", takes=DeadLettersAsked, gives=DeadLettersReplayed)
def replay_dead_letters(asked: dict[str, Any]) -> Response:
    """Run dead letters again, all that are like this, each with all its attempts."""
    return give({"jobs": dead_letters.replay(engine(), Which(**asked), now=datetime.now(UTC))})


@jobs.operation("POST", "/discard", takes=DeadLettersToDiscard, gives=DeadLettersDiscarded)
def discard_dead_letters(asked: dict[str, Any]) -> Response:
    """Put dead letters away, all that are like this: off lists and alarms; they stay with their events."""
    reason = asked.pop("reason", "discarded by the API")
    return give({"jobs": dead_letters.discard(engine(), Which(**asked), reason=reason, now=datetime.now(UTC))})


@jobs.operation("GET", ONE, parameters=[ID], gives=Job, refuses=(404,))
def show_job(id: int) -> Response:
    """Show a job with every attempt."""
    return give(documents.job(queries.show_job(engine(), id)))


@jobs.operation("POST", f"{ONE}/replay", parameters=[ID], gives=Job, refuses=(404, 409))
def replay_job(id: int) -> Response:
    """Run a job again, with all its attempts."""
    if not store.replay_job(engine(), id, now=datetime.now(UTC)):
        refuse(409, f"Job {id} is running now, and was left alone.")
    return give(documents.job(queries.show_job(engine(), id)))


@jobs.operation("POST", f"{ONE}/discard", parameters=[ID], takes=DiscardAsked, gives=Job, refuses=(404, 409))
def discard_job(asked: dict[str, Any], id: int) -> Response:
    """Do not try a job again: it is a dead letter then. One that is dead is put away. Both can still be replayed."""
    if not store.bury(engine(), id, reason=asked["reason"]):
        refuse(409, f"Job {id} is done or discarded already.")
    return give(documents.job(queries.show_job(engine(), id)))
