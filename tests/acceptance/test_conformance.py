"""Everything that Box and Filestack send, registered, set off, received and handled; and that a failure would show."""

from dataclasses import replace
from typing import Any

import pytest

from receiver.sources import SOURCES
from tests.acceptance.service import Service
from tests.conformance.__main__ import run, tell
from tests.conformance.catalogue import NOT_SENT, Case, cases, described_triggers
from tests.conformance.play import Outcome, Row, judge, request_of

UPLOADED = next(case for case in cases() if case.name == "FILE.UPLOADED")
OWN = "dropped.each.box_file_uploaded"


def test_every_trigger_and_action_is_registered_set_off_received_and_handled(service: Service) -> None:
    rows = run(service)
    assert {f"{row.cells[0]}, {row.case.set_off_by}": row.wrong for row in rows if row.wrong} == {}
    assert len(rows) == len(cases())


def test_nothing_that_is_known_is_left_out() -> None:
    known = {(source, name) for source, module in SOURCES.items() for name in module.KNOWN - NOT_SENT}
    assert {(case.source, case.name) for case in cases()} == known


def test_every_trigger_of_the_description_is_asked_for_by_its_own_name() -> None:
    asked_for = {case.name for case in cases() if case.asks_for == case.name}
    assert set(described_triggers()) <= asked_for
    assert len(described_triggers()) == 40


@pytest.mark.parametrize(
    ("command", "path", "body"),
    [
        ("do rename 1200/a.pdf b.pdf", "/actions", {"action": "rename", "item": "1200/a.pdf", "to": "b.pdf"}),
        ("do sign 1200/a.pdf --as declined", "/actions", {"action": "sign", "item": "1200/a.pdf", "step": "declined"}),
        ("filestack upload --as transit", "/filestack", {"action": "upload", "way": "transit"}),
        ("expire ben", "/tokens/expire", {"name": "ben"}),
        ("give-up 4500001", "/webhooks/4500001/give-up", {}),
    ],
)
def test_a_command_becomes_the_call_that_it_makes(command: str, path: str, body: dict[str, str]) -> None:
    assert request_of(command) == (path, body)


def job(handler: str = OWN, **changed: Any) -> dict[str, Any]:
    return {"handler": handler, "state": "done", "attempts": [{}]} | changed


def event(*jobs: dict[str, Any], **changed: Any) -> dict[str, Any]:
    told = {"id": "E1", "type": "box:FILE.UPLOADED", "verified_by": "primary", "drift": []}
    return {**told, "jobs": list(jobs or [job()])} | changed


def delivery(**changed: Any) -> dict[str, Any]:
    return {"name": "FILE.UPLOADED", "status": 200, "delivered": True, "answer": "{}"} | changed


GOOD = Outcome(
    case=UPLOADED,
    webhook_id="4500001",
    registered=["FILE.UPLOADED"],
    deliveries=[delivery()],
    events=[event()],
    runs=["box:FILE.UPLOADED FILE.UPLOADED"],
)


def test_what_is_as_it_has_to_be_is_called_so() -> None:
    assert judge(GOOD).wrong == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"error": "403 insufficient_scope"}, "insufficient_scope"),
        ({"registered": ["FILE.RENAMED"]}, "asks for ['FILE.RENAMED']"),
        ({"deliveries": [delivery(status=401, delivered=False)]}, "answered 200"),
        ({"deliveries": [delivery(name="FILE.RENAMED")]}, "deliveries of FILE.UPLOADED"),
        ({"events": []}, "0 events were kept"),
        ({"events": [event(type="box:FILE.MOVED")]}, "is box:FILE.MOVED"),
        ({"events": [event(verified_by=None)]}, "verified by None"),
        ({"events": [event(drift=[{"path": "source", "problem": "unknown"}])]}, "it drifts"),
        ({"events": [event(job(), job("dropped.each.box_file_moved"))]}, "routed to"),
        ({"events": [event(job("handlers.log.log_event"))]}, "done by one attempt: []"),
        ({"events": [event(job(state="dead"))]}, "[('dead', 1)]"),
        ({"events": [event(job(attempts=[{}, {}]))]}, "[('done', 2)]"),
        ({"events": [event(job(), job("handlers.log.log_event", state="dead"))]}, "another handler"),
        ({"runs": []}, "called for []"),
        ({"runs": ["box:FILE.UPLOADED FILE.UPLOADED"] * 2}, "was called for"),
    ],
)
def test_what_is_not_is_noticed(changed: dict[str, Any], words: str) -> None:
    assert [words in sentence for sentence in judge(replace(GOOD, **changed)).wrong].count(True) == 1


def test_one_bad_row_fails_the_whole_and_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    bad = judge(replace(GOOD, runs=[]))
    assert (tell([judge(GOOD)]), tell([]), tell([judge(GOOD), bad])) == (0, 1, 1)
    assert "✗ FILE.UPLOADED: its handler was called for []" in capsys.readouterr().out


def test_a_line_says_what_became_of_a_case() -> None:
    row: Row = judge(GOOD)
    assert row.cells == (
        "FILE.UPLOADED",
        "4500001",
        "upload",
        "200",
        "primary",
        "1",
        "done",
        "none",
    )


def test_the_last_command_is_shown_without_where() -> None:
    case = Case(source="box", name="X.Y", group="", commands=["do upload HERE/a", "do set-off HERE/a X.Y"])
    assert case.set_off_by == "set-off"
