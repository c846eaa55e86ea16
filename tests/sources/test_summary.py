"""What an event is about: names and sizes from every payload that we know, and nothing from nonsense."""

from datetime import UTC, datetime
from typing import Any

import pytest

from receiver.sources import samples
from receiver.sources.summary import MOST_CHARACTERS, About, about

AT = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("source", "name", "wanted"),
    [
        ("box", "FILE.UPLOADED", About("Fahrplan 3 🚂.pdf", 2051)),
        ("box", "FOLDER.CREATED", About("Depot 3", 2051)),
        ("box", "COMMENT.CREATED", About("Points 3 are set ✔")),
        ("box", "TASK_ASSIGNMENT.CREATED", About("Walk the line")),
        ("box", "SHARED_LINK.CREATED", About("Fahrplan.pdf")),
        ("box", "COLLABORATION.ACCEPTED", About("Depot")),
        ("filestack", "fp.upload", About("lampe-3-blå 🚦.png", 51203)),
        ("filestack", "fp.conversion", About("lampe.jpg", 4200)),
        ("filestack", "fp.overwrite", About("log.txt", 640)),
        ("filestack", "fp.dialog", About("open")),
    ],
)
def test_an_event_is_about_what_people_named(source: str, name: str, wanted: About) -> None:
    assert about(samples.sample(source, name, at=AT, number=3)) == wanted


@pytest.mark.parametrize("source", ["box", "filestack"])
def test_every_event_that_we_know_is_about_something(source: str) -> None:
    for name in samples.names(source):
        assert about(samples.sample(source, name, at=AT, number=3)).name, name


def test_what_has_no_name_is_told_by_kind_and_id() -> None:
    assert about({"source": {"type": "file", "id": "1234"}}).name == "file 1234"
    assert about({"text": {"url": "https://cdn.filestackcontent.com/abc/"}}).name == "abc"


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"source": None, "text": [], "data": "x"},
        {"source": {"name": 7, "id": True, "type": []}},
        {"source": {"name": " ", "item": [], "sources": {}}},
        {"text": {"sources": [{}], "link": 3}},
    ],
)
def test_nonsense_is_about_nothing(payload: dict[str, Any]) -> None:
    assert about(payload) == About("")


def test_only_a_whole_number_of_bytes_is_a_size() -> None:
    for size in (True, -1, 1.5, "7", None):
        assert about({"source": {"name": "a", "size": size}}).size is None


def test_a_long_name_is_cut() -> None:
    assert len(about({"source": {"name": "x" * 10**6}}).name) == MOST_CHARACTERS
