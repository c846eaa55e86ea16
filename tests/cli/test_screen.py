"""What is printed does nothing but print."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from receiver.cli import screen


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Fahrplan 7 🚂 été", "Fahrplan 7 🚂 été"),
        ("\x1b[31mred", r"\u001b[31mred"),
        ("txt\u202efdp.exe", r"txt\u202efdp.exe"),
        ("one\ntwo\ttabs\rback", r"one\ntwo\ttabs\rback"),
        ("\x9b\x7f\u200b", r"\u009b\u007f\u200b"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_a_terminal_would_act_on_is_written_out(text: str, shown: str) -> None:
    assert screen.clean(text) == shown


@given(st.text(st.characters()))
def test_every_text_comes_out_printable(text: str) -> None:
    assert screen.clean(text).isprintable()


@given(st.recursive(st.text(st.characters()), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_on_the_screen_is_still_that_json(value: object) -> None:
    assert json.loads(screen.as_json(value).plain) == value


def test_markup_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    screen.show(screen.styled("[bold]:smile:[/bold]", "red"))
    assert capsys.readouterr().out == "[bold]:smile:[/bold]\n"


def test_a_row_is_one_line_in_a_pipe_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    screen.show(screen.table(["A", "B"], [("x" * 200, screen.stacked("one", "two"))]))
    assert capsys.readouterr().out.splitlines()[1:] == [f"{'x' * 200}  one  two"]


def test_on_a_terminal_ids_are_never_folded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    screen.show(screen.table(["ID", "NAME"], [("I" * 26, Text("many words in a row, and more of them"))]))
    lines = capsys.readouterr().out.splitlines()
    assert "I" * 26 in lines[1]
    assert len(lines) > 2


def test_notes_leave_standard_output_alone(capsys: pytest.CaptureFixture[str]) -> None:
    screen.note("by the way")
    assert capsys.readouterr() == ("", "by the way\n")


def test_a_search_that_stopped_early_says_how_far_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    searched_to = datetime(2026, 5, 4, 12, tzinfo=UTC)
    screen.show_page(screen.table(["ID"], []), "7", nothing="Nothing.", searched_to=searched_to)
    said = "Searched back to 2026-05-04T12:00:00Z. To search on: the same with --cursor 7\n"
    assert capsys.readouterr() == ("", said)
