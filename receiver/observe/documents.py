"""Records as JSON: the documents that the API and `--json` write, one function for each record."""

import base64
from collections.abc import Callable
from datetime import datetime
from typing import Any

from receiver.observe.records import (
    AttemptRecord,
    DeliveryRecord,
    EventDetail,
    EventRecord,
    JobRecord,
    Lines,
    Page,
    QuarantinedRecord,
    Record,
    RejectedRecord,
)

Document = dict[str, Any]


def iso(at: datetime | None) -> str | None:
    """Return a time as ISO 8601 writes it, in UTC: with a Z, and fractions of a second where there are any."""
    return at.isoformat().replace("+00:00", "Z") if at else None


def page(found: Page[Record], document: Callable[[Record], Document]) -> Document:
    """Return a page of a listing; it says `searched_to` only where a search stopped early."""
    said: Document = {"items": [document(one) for one in found.items], "next": found.next}
    return said | {"searched_to": iso(found.searched_to)} if found.searched_to else said


def event_line(one: EventRecord) -> Document:
    return {
        "id": one.id,
        "source": one.source,
        "type": one.type,
        "name": one.name,
        "state": one.state,
        "received_at": iso(one.received_at),
        "occurred_at": iso(one.occurred_at),
        "deliveries": one.deliveries,
        "verified_by": one.verified_by,
        "drift": one.drift,
        "payload": one.payload,
        "job_counts": one.job_counts,
    }


def event(one: EventDetail) -> Document:
    return {
        **event_line(one),
        **_as_it_came(one.headers, one.body),
        "repeats": [_delivery(repeat) for repeat in one.repeats],
        "jobs": [job_of_event(job) for job in one.jobs],
    }


def job_line(one: JobRecord) -> Document:
    """Return a job of a listing, with its last attempt."""
    last = None if one.last_attempt is None else _attempt(one.last_attempt)
    return {**_job(one), "event": one.event, "type": one.type, "last_attempt": last}


def job(one: JobRecord) -> Document:
    """Return a job with every attempt."""
    return {**_job(one), "event": one.event, "type": one.type, "attempts": [_attempt(each) for each in one.attempts]}


def job_of_event(one: JobRecord) -> Document:
    """Return a job as its event has it, with every attempt."""
    return {**_job(one), "attempts": [_attempt(each) for each in one.attempts]}


def rejected_line(one: RejectedRecord) -> Document:
    return {
        "id": one.id,
        "source": one.source,
        "received_at": iso(one.received_at),
        "reason": one.reason,
        "detail": one.detail,
        "body_bytes": len(one.body),
        "status": one.status,
        "method": one.method,
        "path": one.path,
        "is_cut": one.is_cut,
        "announced_bytes": one.announced_bytes,
    }


def rejected(one: RejectedRecord) -> Document:
    return {**rejected_line(one), **_as_it_came(one.headers, one.body)}


def quarantined_line(one: QuarantinedRecord) -> Document:
    return {
        "id": one.id,
        "source": one.source,
        "received_at": iso(one.received_at),
        "deliveries": one.deliveries,
        "verified_by": one.verified_by,
        "errors": one.errors,
        "body_bytes": len(one.body),
    }


def quarantined(one: QuarantinedRecord) -> Document:
    return {**quarantined_line(one), **_as_it_came(one.headers, one.body)}


def _job(one: JobRecord) -> Document:
    return {
        "id": one.id,
        "handler": one.handler,
        "state": one.state,
        "reason": one.reason,
        "next_attempt_at": iso(one.next_attempt_at),
        "waits_for": one.waits_for,
        "running_since": iso(one.running_since),
        "discarded_at": iso(one.discarded_at),
        "discarded_reason": one.discarded_reason,
    }


def _attempt(one: AttemptRecord) -> Document:
    return {
        "started_at": iso(one.started_at),
        "finished_at": iso(one.finished_at),
        "outcome": one.outcome,
        "error": one.error,
    }


def _delivery(one: DeliveryRecord) -> Document:
    return {
        "received_at": iso(one.received_at),
        "verified_by": one.verified_by,
        "headers": [list(line) for line in one.headers],
        "body_differs": one.body_differs,
    }


def _as_it_came(headers: Lines, body: bytes) -> Document:
    return {"headers": [list(line) for line in headers], "body_base64": base64.b64encode(body).decode("ascii")}
