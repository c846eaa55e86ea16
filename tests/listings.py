"""The listings as JSON, which is the form that the contract fixes: what the API and `--json` write of the records."""

from typing import Any

import sqlalchemy as sa

from receiver.observe import documents, queries
from receiver.observe.documents import Document


def list_events(engine: sa.Engine, *given: Any, **named: Any) -> Document:
    return documents.page(queries.list_events(engine, *given, **named), documents.event_line)


def events_after(engine: sa.Engine, seq: int, *given: Any, **named: Any) -> list[tuple[int, Document]]:
    found = queries.events_after(engine, seq, *given, **named)
    return [(place, documents.event_line(one)) for place, one in found]


def show_event(engine: sa.Engine, given: str, **named: Any) -> Document:
    return documents.event(queries.show_event(engine, given, **named))


def list_jobs(engine: sa.Engine, **named: Any) -> Document:
    return documents.page(queries.list_jobs(engine, **named), documents.job_line)


def pick_jobs(engine: sa.Engine, job_ids: list[int]) -> list[Document]:
    return [documents.job_line(one) for one in queries.pick_jobs(engine, job_ids)]


def show_job(engine: sa.Engine, job_id: int) -> Document:
    return documents.job(queries.show_job(engine, job_id))


def list_rejected(engine: sa.Engine, *given: Any, **named: Any) -> Document:
    return documents.page(queries.list_rejected(engine, *given, **named), documents.rejected_line)


def show_rejected(engine: sa.Engine, given: str, **named: Any) -> Document:
    return documents.rejected(queries.show_rejected(engine, given, **named))


def list_quarantined(engine: sa.Engine, *given: Any, **named: Any) -> Document:
    return documents.page(queries.list_quarantined(engine, *given, **named), documents.quarantined_line)


def show_quarantined(engine: sa.Engine, given: str, **named: Any) -> Document:
    return documents.quarantined(queries.show_quarantined(engine, given, **named))
