"""`signalbox events`: what came, what became of it, and once more."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import sqlalchemy as sa
from flask.cli import AppGroup

from receiver import humanize
from receiver.cli import event_view, options, screen
from receiver.cli.installation import open_tables, require_handler
from receiver.errors import NotFoundError
from receiver.jobs import registry
from receiver.jobs import store as jobs
from receiver.observe import documents, queries
from receiver.observe.queries import Filters
from receiver.observe.records import EventDetail, EventRecord
from receiver.storage import private_files, search, tables

PAUSE = timedelta(milliseconds=500)
LATE_PLACES = 100

events = AppGroup("events", help="See what came and what became of it, and run it again.")


@events.command("list")
@options.received
@options.event_type
@options.event_state
@options.paged
@options.as_json
def list_events(limit: int, cursor: str | None, as_json: bool, **filters: Any) -> None:
    """List events, the newest first, each with what became of it.

    \b
    signalbox events list --type "box:FILE.*" --since 2h
    signalbox events list -q report.pdf --json
    """
    page = queries.list_events(open_tables(), Filters(**filters), limit=limit, cursor=cursor)
    if as_json:
        screen.show_json(documents.page(page, documents.event_line))
        return
    nothing = "No event is like that." if any(filters.values()) or cursor else event_view.HOW_TO_GET_ONE
    grid = event_view.grid(page.items, datetime.now(UTC))
    screen.show_page(grid, page.next, nothing=nothing, searched_to=page.searched_to)


@events.command("show")
@click.argument("id")
@click.option("--full", is_flag=True, help="Show the whole traceback of every failure.")
@options.as_json
def show_event(id: str, full: bool, as_json: bool) -> None:
    """Show an event: its payload, its deliveries, and every attempt of every handler.

    ID may be a part of six characters or more that the id begins or ends with; `last` is the one received last.
    """
    engine, now = open_tables(), datetime.now(UTC)
    item = queries.show_event(engine, id)
    if as_json:
        screen.show_json(documents.event(item))
    else:
        screen.show(*event_view.whole(item, now, full=full, nobody_works=registry.nobody_works(engine, now)))


@events.command("export")
@options.received
@options.event_type
@options.event_state
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A new file to write to, for its owner alone.  [default: standard output]",
)
@options.as_json
def export_events(as_json: bool, output: Path | None, **filters: Any) -> None:
    """Write whole events, the oldest first: one JSON object a line.

    Each holds the body byte for byte (`body_base64`), every delivery, every job and every attempt, as `events show
    --json` does; credentials in headers are masked, and signatures cut. With --json it is one document.

    \b
    signalbox events export --since 7d -o events.jsonl
    signalbox events export --type "box:FILE.*" | jq -r .payload.source.name
    """
    items = _whole(open_tables(), Filters(**filters))
    with _going_to(output):
        count = _write_document(items) if as_json else _write_lines(items)
    screen.note(f"{humanize.count(count, 'event')} written.")


@contextmanager
def _going_to(output: Path | None) -> Iterator[None]:
    """Let what is printed go into a new file; where that breaks off, there is none."""
    if output is None:
        yield
        return
    try:
        private_files.make(output, may_exist=False)
    except OSError as error:
        raise click.ClickException(
            f"{output} cannot be written ({error.strerror}): -o takes a name that is free."
        ) from error
    try:
        with output.open("w", encoding="utf-8") as file, redirect_stdout(file):
            yield
    except BaseException:
        output.unlink(missing_ok=True)
        raise


def _whole(engine: sa.Engine, filters: Filters) -> Iterator[EventDetail]:
    for event_id in search.walk_ids(engine, tables.events, filters):
        with suppress(NotFoundError):  # pruned meanwhile
            yield queries.show_event(engine, event_id)


def _write_lines(items: Iterator[EventDetail]) -> int:
    count = 0
    for item in items:
        screen.show_json(documents.event(item), indent=None)
        count += 1
    return count


def _write_document(items: Iterator[EventDetail]) -> int:
    """Write a listing's document piece by piece, however long it becomes."""
    count = 0
    sys.stdout.write('{"items": [')
    for item in items:
        sys.stdout.write(f"{',' if count else ''}\n{json.dumps(documents.event(item))}")
        count += 1
    sys.stdout.write('\n], "next": null}\n')
    return count


@events.command("replay", short_help="Give events to their handlers again, with all their attempts.")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--handler", metavar="NAME", help="Only for this handler, whether or not it had the event before.")
def replay_events(ids: tuple[str, ...], handler: str | None) -> None:
    """Give events to their handlers again, with all their attempts; handlers that came later get them too."""
    engine = open_tables()
    if handler is not None:
        require_handler(handler)
    for event_id in [queries.find_event_id(engine, given) for given in ids]:
        count = jobs.replay_event(engine, event_id, handler=handler, now=datetime.now(UTC))
        click.echo(f"{event_id}  {_what_runs(count, handler)}")


def _what_runs(count: int, handler: str | None) -> str:
    if handler is not None:
        return f"{handler} runs again" if count else f"{handler} is running now: left alone"
    return f"routed again; {humanize.count(count, 'job')} of before {'runs' if count == 1 else 'run'} again"


@events.command("tail")
@options.source
@options.event_type
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def tail_events(source: str | None, type: str | None, as_json: bool) -> None:
    """Follow the events that come from now on, until Ctrl-C."""
    engine = open_tables()
    newest = queries.newest_seq(engine)
    screen.note("Waiting for events; Ctrl-C ends it.")
    try:
        for item in _follow(engine, Filters(source=source, type=type), after=newest):
            if as_json:
                screen.show_json(documents.event_line(item), indent=None)
            else:
                screen.show(event_view.line(item))
    except KeyboardInterrupt:
        return


def _follow(engine: sa.Engine, filters: Filters, *, after: int) -> Iterator[EventRecord]:
    """Give the events that come after a place, each once, for ever."""
    newest, known = after, set[int]()
    while True:
        floor = max(after, newest - LATE_PLACES)
        known = {place for place in known if place > floor}
        came = queries.events_after(engine, floor, filters, known=known)
        for place, item in came:
            known.add(place)
            newest = max(newest, place)
            yield item
        if not came:
            time.sleep(PAUSE.total_seconds())
