"""What is kept, as values: events, jobs, attempts, rejected and quarantined deliveries, and pages of them.

Times are aware, bodies are bytes, header lines are pairs. JSON is made of them in `documents.py` and nowhere else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

Record = TypeVar("Record")
Lines = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Record]):
    """Records, newest first, and the cursor that continues after them; None where these are the last.

    A search that takes too long stops early: then `searched_to` is the time that it got to, and `next` goes on from
    there, whether or not anything was found.
    """

    items: Sequence[Record]
    next: str | None
    searched_to: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One run of a job."""

    started_at: datetime
    finished_at: datetime
    outcome: str
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One event for one handler. `attempts` is empty in listings, which have the last one alone."""

    id: int
    event: str
    type: str
    handler: str
    state: str
    reason: str | None
    next_attempt_at: datetime | None
    waits_for: str | None
    running_since: datetime | None
    discarded_at: datetime | None
    discarded_reason: str | None
    last_attempt: AttemptRecord | None
    attempts: Sequence[AttemptRecord] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord:
    """A repeated delivery of an event."""

    received_at: datetime
    verified_by: str
    headers: Lines
    body_differs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What may change about an event: its state, deliveries, drift, and how many jobs are in which state."""

    state: str
    deliveries: int
    drift: Sequence[Mapping[str, str]]
    job_counts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord(Standing):
    """An event as listings have it."""

    id: str
    source: str
    type: str
    name: str
    received_at: datetime
    occurred_at: datetime | None
    verified_by: str
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDetail(EventRecord):
    """An event with its first delivery as it came, its repeated deliveries and all its jobs."""

    headers: Lines
    body: bytes
    repeats: Sequence[DeliveryRecord]
    jobs: Sequence[JobRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """How an event stands, without the event: its state, and every attempt of its jobs."""

    id: str
    state: str
    received_at: datetime
    jobs: Sequence[JobRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedRecord:
    """A delivery that did not verify, with the bytes that are here: `announced_bytes` of one that is cut."""

    id: str
    source: str
    received_at: datetime
    reason: str
    detail: str
    status: int | None
    method: str | None
    path: str | None
    is_cut: bool
    announced_bytes: int | None
    headers: Lines
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedRecord:
    """A delivery that did verify and cannot be read, with what is wrong by field."""

    id: str
    source: str
    received_at: datetime
    deliveries: int
    verified_by: str
    errors: Mapping[str, Sequence[str]]
    headers: Lines
    body: bytes
