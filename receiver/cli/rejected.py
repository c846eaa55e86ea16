"""`signalbox rejected`: the deliveries that did not verify."""

from datetime import UTC, datetime
from typing import Any

import click
from flask.cli import AppGroup

from receiver import listing, words
from receiver.cli import as_it_came, options, screen
from receiver.cli.installation import open_tables
from receiver.listing import Filters

rejected = AppGroup(
    "rejected", help="See the deliveries whose signature did not verify.", short_help="What was refused."
)


@rejected.command("list")
@options.received
@options.paged
@options.as_json
def list_rejected(limit: int, cursor: str | None, as_json: bool, **filters: Any) -> None:
    """List the rejected deliveries, the newest first, each with its reason."""
    page = listing.list_rejected(open_tables(), Filters(**filters), limit=limit, cursor=cursor)
    if as_json:
        screen.show_json(page)
        return
    now = datetime.now(UTC)
    rows = [
        (
            words.span(now - words.parse(one["received_at"])),
            one["id"],
            one["source"],
            screen.styled(one["reason"], "red"),
            f"{one['body_bytes']:,}",
        )
        for one in page["items"]
    ]
    grid = screen.table(["AGE", "ID", "SOURCE", "REASON", "BYTES"], rows)
    screen.show_page(page, grid, nothing="Nothing was rejected.")


@rejected.command("show")
@click.argument("id")
@click.option("--raw", is_flag=True, help="Write the body to standard output, byte for byte.")
@options.as_json
def show_rejected(id: str, raw: bool, as_json: bool) -> None:
    """Show why a delivery was refused, and all of it. ID may be a part of six characters or more, or `last`."""
    item = listing.show_rejected(open_tables(), id)
    if raw:
        as_it_came.write_raw(as_it_came.body_of(item))
    elif as_json:
        screen.show_json(item)
    else:
        _show(item, datetime.now(UTC))


def _show(item: Any, now: datetime) -> None:
    received = words.parse(item["received_at"])
    pairs = [
        ("Id", item["id"]),
        ("Received", f"{words.full(received)}, {words.ago(received, now)}"),
        ("Reason", screen.styled(item["reason"], "red")),
        ("", item["detail"]),
    ]
    screen.show(
        screen.styled(f"A rejected delivery to {item['source']}", "bold"),
        screen.facts(pairs),
        screen.heading("Headers"),
        as_it_came.header_lines(item["headers"]),
        screen.heading(f"Body, {item['body_bytes']:,} bytes"),
        *as_it_came.body_lines(as_it_came.body_of(item)),
    )
