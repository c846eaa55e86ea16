"""The guides of the sources are complete: every name, every reason code, and samples that are the samples' own."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from config import ROOT
from receiver.events import Reason, Unread
from receiver.registrations.rules import TRIGGERS, fits
from receiver.sources import SOURCES
from receiver.sources import samples as of_sources

AT = datetime(2026, 5, 4, 12, tzinfo=UTC)
ONLY_BOX = {Reason.VERSION_UNSUPPORTED, Reason.ALGORITHM_UNSUPPORTED}
REASONS = {"box": set(Reason), "filestack": set(Reason) - ONLY_BOX}
NEVER_ASKED_FOR = {"WEBHOOK.DELETED"}  # in Box's list of triggers; by its guide, neither a file nor a folder has it


def guide(source: str) -> str:
    return (ROOT / "docs" / "sources" / f"{source}.md").read_text(encoding="utf-8")


def rows(text: str, heading: str) -> dict[str, list[str]]:
    """Give the table below a heading: the first cell's words in backticks, and the cells after it."""
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line.strip("|").split("|") for line in section.partition("|---|")[2].splitlines() if line.startswith("| ")]
    return {name: [cell.strip() for cell in cells] for first, *cells in lines for name in re.findall("`(.+?)`", first)}


HEADINGS = {"box": "What each trigger brings", "filestack": "What each action brings"}


@pytest.mark.parametrize("source", list(SOURCES))
def test_every_name_that_is_known_has_a_row_and_no_other(source: str) -> None:
    found = rows(guide(source), HEADINGS[source])
    assert set(found) == SOURCES[source].KNOWN
    assert all(cells[0] and cells[-1 if source == "filestack" else 3] for cells in found.values())


def test_the_guide_says_which_triggers_a_file_or_a_folder_can_ask_for() -> None:
    said = {name: {"file": cells[1], "folder": cells[2]} for name, cells in rows(guide("box"), HEADINGS["box"]).items()}
    can = {
        name: {
            kind: "yes" if name in TRIGGERS - NEVER_ASKED_FOR and fits(name, kind) else "no"
            for kind in ("file", "folder")
        }
        for name in said
    }
    assert said == can


@pytest.mark.parametrize("source", list(SOURCES))
def test_every_reason_code_has_its_cause_and_its_mend(source: str) -> None:
    found = rows(guide(source), "Reason codes")
    assert set(found) == {str(reason) for reason in REASONS[source]}
    assert all(cause and mend for cause, mend in found.values())


def test_the_overview_names_every_reason_code() -> None:
    overview = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
    assert set(rows(overview, "Reason codes")) == {str(reason) for reason in (*Reason, *Unread)}


def samples(source: str) -> list[dict[str, Any]]:
    return [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", guide(source), re.M | re.S)]


def name_of(payload: dict[str, Any]) -> str:
    return str(payload.get("trigger") or payload.get("action") or "transcode")


@pytest.mark.parametrize("source", list(SOURCES))
def test_every_sample_is_what_is_sent_for_it(source: str) -> None:
    found = samples(source)
    assert len(found) > 5
    for shown in found:
        sent = of_sources.sample(source, name_of(shown), at=AT, number=1)
        assert shown == {key: sent[key] for key in shown}


def test_every_body_of_filestack_that_was_published_has_a_whole_sample() -> None:
    shown = {name_of(payload): payload for payload in samples("filestack")}
    assert set(shown) == SOURCES["filestack"].KNOWN - {"fp.scan", "fp.video_converse"}
    assert all(payload == of_sources.sample("filestack", name, at=AT, number=1) for name, payload in shown.items())


def test_every_family_of_boxs_triggers_whose_body_is_known_has_a_sample() -> None:
    families = {name.partition(".")[0] for name in SOURCES["box"].KNOWN}
    unknown = {name for name in families if name.startswith("DOCGEN_")} | {"METADATA_INSTANCE", "SIGN"}
    assert {name_of(payload).partition(".")[0] for payload in samples("box")} == families - unknown
