"""`signalbox quarantine`: the deliveries that did verify but cannot be read."""

from datetime import UTC, datetime
from typing import Any

import click
from flask.cli import AppGroup

from receiver import listing, words
from receiver.cli import as_it_came, options, screen
from receiver.cli.installation import open_tables
from receiver.listing import Filters

quarantine = AppGroup(
    "quarantine", help="See the deliveries that did verify but cannot be read.", short_help="What could not be read."
)


@quarantine.command("list")
@options.received
@options.paged
@options.as_json
def list_quarantined(limit: int, cursor: str | None, as_json: bool, **filters: Any) -> None:
    """List the quarantined deliveries, the newest first, each with what is wrong."""
    page = listing.list_quarantined(open_tables(), Filters(**filters), limit=limit, cursor=cursor)
    if as_json:
        screen.show_json(page)
        return
    now = datetime.now(UTC)
    rows = [
        (
            words.span(now - words.parse(one["received_at"])),
            one["id"],
            one["source"],
            "; ".join(_problems(one["errors"])),
        )
        for one in page["items"]
    ]
    grid = screen.table(["AGE", "ID", "SOURCE", "WHAT IS WRONG"], rows)
    screen.show_page(page, grid, nothing="Nothing is quarantined.")


@quarantine.command("show")
@click.argument("id")
@click.option("--raw", is_flag=True, help="Write the body to standard output, byte for byte.")
@options.as_json
def show_quarantined(id: str, raw: bool, as_json: bool) -> None:
    """Show why a delivery cannot be read, and all of it. ID may be a part of six characters or more, or `last`."""
    item = listing.show_quarantined(open_tables(), id)
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
        ("Deliveries", str(item["deliveries"])),
        ("Verified by", item["verified_by"]),
    ]
    screen.show(
        screen.styled(f"A quarantined delivery to {item['source']}", "bold"),
        screen.facts(pairs),
        screen.heading("What is wrong"),
        *(screen.styled(problem, "yellow") for problem in _problems(item["errors"])),
        screen.heading("Headers"),
        as_it_came.header_lines(item["headers"]),
        screen.heading(f"Body, {item['body_bytes']:,} bytes"),
        *as_it_came.body_lines(as_it_came.body_of(item)),
    )


def _problems(errors: dict[str, list[str]]) -> list[str]:
    return [f"{field}: {' '.join(map(str, messages))}" for field, messages in errors.items()]
