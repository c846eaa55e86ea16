"""The JSON of records: names and their order are what programs outside read."""

from datetime import UTC, datetime, timedelta

from receiver.observe import documents
from receiver.observe.records import AttemptRecord, JobRecord, Page, RejectedRecord

AT = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
ATTEMPT = AttemptRecord(started_at=AT, finished_at=AT + timedelta(milliseconds=5), outcome="failed", error="no")
JOB = JobRecord(
    id=7,
    event="E",
    type="box:FILE.UPLOADED",
    handler="h.f",
    state="waiting",
    reason=None,
    next_attempt_at=AT,
    waits_for=None,
    running_since=None,
    discarded_at=None,
    discarded_reason=None,
    last_attempt=ATTEMPT,
    attempts=[ATTEMPT],
)
COMMON = {
    "id": 7,
    "handler": "h.f",
    "state": "waiting",
    "reason": None,
    "next_attempt_at": "2026-05-04T12:00:00Z",
    "waits_for": None,
    "running_since": None,
    "discarded_at": None,
    "discarded_reason": None,
}
WRITTEN = {
    "started_at": "2026-05-04T12:00:00Z",
    "finished_at": "2026-05-04T12:00:00.005000Z",
    "outcome": "failed",
    "error": "no",
}


def test_a_job_of_a_listing_has_its_last_attempt_and_one_that_is_shown_has_all() -> None:
    line, whole = documents.job_line(JOB), documents.job(JOB)
    assert list(line.items()) == [*COMMON.items(), ("event", "E"), ("type", JOB.type), ("last_attempt", WRITTEN)]
    assert list(whole.items()) == [*COMMON.items(), ("event", "E"), ("type", JOB.type), ("attempts", [WRITTEN])]


def test_a_job_in_its_event_does_not_repeat_the_event() -> None:
    assert list(documents.job_of_event(JOB).items()) == [*COMMON.items(), ("attempts", [WRITTEN])]


def test_a_page_says_how_far_a_search_came_only_where_it_stopped() -> None:
    assert documents.page(Page(items=[JOB], next="3"), documents.job_line)["next"] == "3"
    assert "searched_to" not in documents.page(Page(items=[], next=None), documents.job_line)
    stopped: Page[JobRecord] = Page(items=[], next="3", searched_to=AT)
    assert documents.page(stopped, documents.job_line)["searched_to"] == "2026-05-04T12:00:00Z"


def test_a_rejected_delivery_of_a_listing_has_the_length_of_its_body_and_not_the_body() -> None:
    one = RejectedRecord(
        id="R",
        source="box",
        received_at=AT,
        reason="signature_mismatch",
        detail="why",
        status=401,
        method="POST",
        path="/hooks/box",
        is_cut=False,
        announced_bytes=None,
        headers=[("A", "b")],
        body=b"hi\xff",
    )
    line, whole = documents.rejected_line(one), documents.rejected(one)
    assert line["body_bytes"] == 3
    assert "body_base64" not in line
    assert list(whole.items()) == [*line.items(), ("headers", [["A", "b"]]), ("body_base64", "aGn/")]
