"""What goes to the terminal or into a pipe; what came from outside is made harmless first."""

import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.highlighter import JSONHighlighter
from rich.table import Table
from rich.text import Text

from receiver import humanize
from receiver.observe.documents import iso

SOON = timedelta(seconds=1)

Cell = str | Text

_ENDLESS = 1_000_000


def clean(text: str, *, keep: str = "") -> str:
    r"""Write out, as JSON does (`\u001b`), what a terminal would act on or an eye would not see.

    That is everything that Python does not call printable: control and escape characters, marks that turn the
    direction of writing around, lone surrogates. The characters in `keep` stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else json.dumps(c)[1:-1] for c in text)


def styled(text: object, style: str = "") -> Text:
    """Give one line of text from anywhere; nothing in it is taken for markup."""
    return Text(clean(str(text)), style=style)


def block(text: str, style: str = "", *, indent: int = 0) -> Text:
    """Give several lines of text from anywhere."""
    lines = clean(text.expandtabs(4), keep="\n").splitlines()
    return Text("\n".join(f"{' ' * indent}{line}" for line in lines), style=style)


def as_json(value: Any) -> Text:
    """Give a value as JSON to read, in colours."""
    written = Text(clean(json.dumps(value, ensure_ascii=False, indent=2), keep="\n"))
    JSONHighlighter().highlight(written)
    return written


def heading(title: str) -> Text:
    return Text(f"\n{title}", style="bold")


def facts(pairs: Iterable[tuple[str, Cell]]) -> Table:
    """Give names and what they are, one pair a line."""
    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        grid.add_row(clean(name), value if isinstance(value, Text) else styled(value))
    return grid


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, whole: Sequence[str] = ("ID",)) -> Table:
    """Give rows under columns; those named in `whole` are never folded, however narrow the terminal."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        grid.add_column(column, no_wrap=column in whole, overflow="fold")
    for row in rows:
        grid.add_row(*(cell if isinstance(cell, Text) else styled(cell) for cell in row))
    return grid


def show(*parts: RenderableType) -> None:
    """Print: in colours on a terminal, and as plain lines, however long, into a pipe."""
    _write(sys.stdout, parts)


def note(text: Cell) -> None:
    """Tell the person at the terminal something that is no part of the output."""
    _write(sys.stderr, [text if isinstance(text, Text) else styled(text, "dim")])


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Give what to tell how far something has come: one line at the bottom of a terminal, and nothing elsewhere."""
    console = _console(sys.stderr)
    if not console.is_terminal:
        yield lambda _said: None
        return
    with console.status("") as status:
        yield lambda said: status.update(styled(said))


@contextmanager
def waiting(what: str, *, most: timedelta) -> Iterator[None]:
    """Say on a terminal, once it has taken a second, what is waited for and how long it will be at most."""
    if not _console(sys.stderr).is_terminal:
        yield
        return
    timer = threading.Timer(SOON.total_seconds(), note, [f"Waiting for {what}, {humanize.span(most)} at most."])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def show_json(document: Any, *, indent: int | None = 2) -> None:
    """Print one JSON document, in ASCII: any payload can be piped on."""
    sys.stdout.write(json.dumps(document, indent=indent) + "\n")
    sys.stdout.flush()


def show_page(grid: Table, following: str | None, *, nothing: str, searched_to: datetime | None = None) -> None:
    """Print a page of a listing, and how to get at the next: `following` is its cursor."""
    if grid.row_count:
        show(grid)
    elif not searched_to:
        note(nothing)
    if searched_to:
        note(f"Searched back to {iso(searched_to)}. To search on: the same with --cursor {following}")
    elif following:
        note(f"Older ones: the same with --cursor {following}")


def stacked(*cells: Cell, between: str = "  ") -> Text:
    """Give what stands below each other on a terminal, and beside each other in a pipe, where a row is a line."""
    parts = [cell if isinstance(cell, Text) else styled(cell) for cell in cells if cell]
    return Text("\n" if _console(sys.stdout).is_terminal else between).join(parts)


def _console(stream: TextIO) -> Console:
    return Console(file=stream, highlight=False, markup=False, emoji=False)


def _write(stream: TextIO, parts: Iterable[RenderableType]) -> None:
    console = _console(stream)
    if not console.is_terminal:
        console.width = _ENDLESS
    with console.capture() as printed:
        for part in parts:
            console.print(part, soft_wrap=isinstance(part, Text))
    stream.write("".join(f"{line.rstrip()}\n" for line in printed.get().split("\n")[:-1]))
    stream.flush()
