"""`signalbox quarantine`: the deliveries that did verify but cannot be read; read again, and let in."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click
from flask.cli import AppGroup
from rich.text import Text

from receiver import humanize
from receiver.cli import options, raw_view, screen, selection
from receiver.cli.installation import open_tables
from receiver.cli.selection import Chosen
from receiver.errors import NotFoundError, UnreadableError
from receiver.inbox import reinstate
from receiver.observe import documents, queries
from receiver.observe.documents import Document
from receiver.observe.queries import Filters
from receiver.observe.records import QuarantinedRecord
from receiver.storage import tables

NOTHING = "Nothing is quarantined that is like that."

quarantine = AppGroup(
    "quarantine",
    help="See the deliveries that did verify but cannot be read, read them again, and let them in.",
)


@quarantine.command("list")
@options.received
@options.paged
@options.as_json
def list_quarantined(limit: int, cursor: str | None, as_json: bool, **filters: Any) -> None:
    """List the quarantined deliveries, the newest first, each with what is wrong."""
    page = queries.list_quarantined(open_tables(), Filters(**filters), limit=limit, cursor=cursor)
    if as_json:
        screen.show_json(documents.page(page, documents.quarantined_line))
        return
    now = datetime.now(UTC)
    rows = [
        (
            humanize.age(one.received_at, now),
            one.id,
            one.source,
            "; ".join(raw_view.problems(one.errors)),
        )
        for one in page.items
    ]
    grid = screen.table(["AGE", "ID", "SOURCE", "WHAT IS WRONG"], rows)
    screen.show_page(grid, page.next, nothing="Nothing is quarantined.", searched_to=page.searched_to)


@quarantine.command("show")
@click.argument("id")
@click.option("--raw", is_flag=True, help="Write the body to standard output, byte for byte.")
@options.as_json
def show_quarantined(id: str, raw: bool, as_json: bool) -> None:
    """Show why a delivery cannot be read, and all of it. ID may be a part of six characters or more, or `last`."""
    item = queries.show_quarantined(open_tables(), id)
    if raw:
        raw_view.write_raw(item.body)
    elif as_json:
        screen.show_json(documents.quarantined(item))
    else:
        _show(item, datetime.now(UTC))


def _show(item: QuarantinedRecord, now: datetime) -> None:
    received = item.received_at
    pairs = [
        ("Id", item.id),
        ("Received", f"{humanize.full(received)}, {humanize.ago(received, now)}"),
        ("Deliveries", str(item.deliveries)),
        ("Verified by", item.verified_by),
    ]
    screen.show(
        screen.styled(f"A quarantined delivery to {item.source}", "bold"),
        screen.facts(pairs),
        screen.heading("What is wrong"),
        *(screen.styled(problem, "yellow") for problem in raw_view.problems(item.errors)),
        screen.heading("Headers"),
        raw_view.header_lines(item.headers),
        screen.heading(f"Body, {len(item.body):,} bytes"),
        *raw_view.body_lines(item.body),
    )


@quarantine.command("release")
@selection.several
@click.option("--as", "name", metavar="NAME", help="As an event of this name, whatever its own is: FILE.UPLOADED.")
@selection.yes
@options.as_json
def release_quarantined(ids: tuple[str, ...], name: str | None, yes: bool, as_json: bool, **which: Any) -> None:
    """Let quarantined deliveries in as events, if they can be read now.

    For after an upgrade that can read more. With --as, those too that cannot be read, as long as they are JSON
    objects: their handlers get the object as it is, and what is odd about it is drift. The rest stays. ID may be a
    part of six characters or more, or `last`.

    \b
    signalbox quarantine release --all
    signalbox quarantine release last --as FILE.UPLOADED
    """
    chosen = selection.choose(tables.quarantined, queries.show_quarantined, ids, **which)
    if chosen.ids and not chosen.one_by_one:
        count = len(chosen.ids)
        what = f"{count:,} quarantined {'delivery' if count == 1 else 'deliveries'}"
        readable = "" if name else " What still cannot be read will stay."
        selection.ask(f"Let {what} in as events?{readable}", yes=yes, as_json=as_json)
    items = []
    for item in _release(chosen, name):
        items.append(item)
        if not as_json:
            (screen.note if item["status"] == "quarantined" else screen.show)(_line(item))
    if as_json:
        screen.show_json({"items": items, "next": None})
    elif not items:
        screen.note(NOTHING)
    stay = sum(item["status"] == "quarantined" for item in items)
    if stay and (chosen.one_by_one or stay == len(items)):
        click.get_current_context().exit(1)


def _release(chosen: Chosen, name: str | None) -> Iterator[Document]:
    engine = open_tables()
    for one in chosen.ids:
        try:
            yield {"id": one, **asdict(reinstate.release_quarantined(engine, one, name=name))}
        except UnreadableError as error:
            yield {"id": one, "status": "quarantined", "event": None, "quarantined": one, "errors": error.errors}
        except NotFoundError:
            continue


def _line(item: Document) -> Text:
    if item["status"] == "quarantined":
        return screen.styled(f"{item['id']}  stays: {'; '.join(raw_view.problems(item['errors']))}", "yellow")
    style = "green" if item["status"] == "accepted" else "dim"
    return Text.assemble(f"{item['id']}  ", (item["status"], style), f"  {item['event']}")
