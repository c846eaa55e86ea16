"""`signalbox bins`: addresses that record any request, and what they recorded."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO

import click
from flask import current_app
from flask.cli import AppGroup
from rich.console import RenderableType

from receiver import bins as store
from receiver import humanize
from receiver.cli import options, raw_view, screen
from receiver.cli.installation import open_tables
from receiver.outbound import addresses

_SPAN = re.compile(r"(\d{1,6})([smhdw])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SHOWN = 20

bins = AppGroup("bins", help="Make addresses that record any request; see what they recorded.")


class Span(click.ParamType[int]):
    """A length of time (`30m`, `12h`, `7d`), in seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        span = _SPAN.fullmatch(value)
        if span is None:
            self.fail(f"{value!r} is no length of time: write 30m, 12h or 7d.", param, ctx)
        return int(span[1]) * _SECONDS[span[2]]


class Header(click.ParamType[Sequence[str]]):
    """One header, as `Name: value`."""

    name = "header"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Sequence[str]:
        if not isinstance(value, str):
            return list(value)
        name, colon, rest = value.partition(":")
        if not colon:
            self.fail(f"{value!r} is no header: write Name: value.", param, ctx)
        return [name.strip(), rest.strip()]


@bins.command("list")
@options.paged
@options.as_json
def list_bins(limit: int, cursor: str | None, as_json: bool) -> None:
    """List the bins, the newest first."""
    page = store.list_bins(open_tables(), limit=limit, cursor=cursor)
    if as_json:
        screen.show_json(page)
        return
    now = datetime.now(UTC)
    rows = [
        (
            one["name"],
            f"{one['kept']:,}",
            f"{one['captured']:,}",
            humanize.ago(humanize.parse(one["captured_at"]), now) if one["captured_at"] else "never",
            _answer(one),
            _address(one),
        )
        for one in page["items"]
    ]
    grid = screen.table(["NAME", "KEPT", "IN ALL", "LAST ONE", "ANSWERS", "ADDRESS"], rows, whole=["NAME"])
    screen.show_page(grid, page["next"], nothing="No bins. signalbox bins create makes one.")


@bins.command("create")
@click.argument("name", required=False)
@click.option("--status", type=click.IntRange(200, 599), metavar="N", help="Answer with this status.")
@click.option("--header", "headers", type=Header(), multiple=True, metavar="'NAME: VALUE'", help="Answer with it.")
@click.option("--body", metavar="TEXT", help="Answer with this body.")
@click.option("--body-file", type=click.File("rb"), metavar="FILE", help="Answer with the bytes of a file.")
@click.option("--delay", "delay_seconds", type=float, metavar="SECONDS", help="Answer so much later, up to 30.")
@click.option("--fail-every", type=int, metavar="N", help="Fail every n-th request.")
@click.option("--fail-status", type=click.IntRange(200, 599), metavar="N", help="Fail with this status, not 500.")
@click.option("--keep", "keep_count", type=int, metavar="N", help="Keep the newest so many, not 500.")
@click.option("--keep-for", "keep_seconds", type=Span(), help="Keep them for so long: 30m, 12h, 7d.")
@click.option(
    "--secret", prompt=True, prompt_required=False, hide_input=True, help="Record only requests that carry it."
)
@options.as_json
def create_bin(name: str | None, body: str | None, body_file: BinaryIO | None, as_json: bool, **changes: Any) -> None:
    """Make a bin and print its address. Without NAME it gets one of its own."""
    if body is not None and body_file is not None:
        raise click.UsageError("Give --body or --body-file, not both.")
    if body_file is not None:
        changes["body"] = body_file.read()
    elif body is not None:
        changes["body"] = body.encode("utf-8", "surrogateescape")
    given: Any = {field: value for field, value in changes.items() if value is not None and value != ()}
    item = store.create(open_tables(), name=name, now=datetime.now(UTC), changes=given)
    if as_json:
        screen.show_json(item)
    else:
        click.echo(_address(item))


@bins.command("show")
@click.argument("name")
@click.argument("id", required=False)
@click.option("--raw", is_flag=True, help="Write the body of a capture to standard output, byte for byte.")
@options.as_json
def show_bin(name: str, id: str | None, raw: bool, as_json: bool) -> None:
    """Show a bin and its newest captures, or one capture: its ID, or `last`."""
    engine = open_tables()
    if id is None and raw:
        raise click.UsageError("--raw is of one capture: signalbox bins show NAME last --raw")
    if id is None:
        item = store.show_bin(engine, name) | {"captures": store.list_captures(engine, name, limit=_SHOWN)["items"]}
        show = _show_bin
    else:
        item = store.show_capture(engine, name, id)
        show = _show_capture
    if raw:
        raw_view.write_raw(raw_view.body_of(item))
    elif as_json:
        screen.show_json(item)
    else:
        show(item, datetime.now(UTC))


@bins.command("delete")
@click.argument("name")
def delete_bin(name: str) -> None:
    """Delete a bin with all that it recorded."""
    gone = store.delete(open_tables(), name)
    click.echo(f"deleted {name} with {humanize.count(gone, 'capture')}")


def _show_bin(item: store.Item, now: datetime) -> None:
    age = f", for {item['keep_seconds']:,} s" if item["keep_seconds"] else ""
    pairs = [
        ("Address", _address(item)),
        ("Answers", _answer(item)),
        ("Keeps", f"the newest {item['keep_count']:,}{age}"),
        ("Captures", f"{item['kept']:,} kept, {item['captured']:,} in all"),
    ]
    screen.show(screen.styled(f"The bin {item['name']}", "bold"), screen.facts(pairs))
    if item["captures"]:
        screen.show(screen.heading("Captures"), _grid(item["captures"], now))


def _grid(captures: Sequence[store.Item], now: datetime) -> RenderableType:
    rows = [
        (
            humanize.age(humanize.parse(one["captured_at"]), now),
            one["id"],
            one["method"],
            _target(one),
            one["client"],
            str(one["answered"]),
            f"{one['body_bytes']:,}{' (cut)' if one['is_cut'] else ''}",
        )
        for one in captures
    ]
    return screen.table(["AGE", "ID", "METHOD", "PATH", "CLIENT", "ANSWER", "BYTES"], rows)


def _target(capture: store.Item) -> str:
    return f"{capture['path'] or '/'}{'?' if capture['query'] else ''}{capture['query']}"


def _show_capture(item: store.Item, now: datetime) -> None:
    at = humanize.parse(item["captured_at"])
    pairs = [
        ("Id", item["id"]),
        ("Came", f"{humanize.full(at)}, {humanize.ago(at, now)}"),
        ("From", item["client"]),
        ("Answered", str(item["answered"])),
    ]
    files = [(file["name"], f"{file['filename']} ({file['bytes']:,} bytes)") for file in item["files"]]
    screen.show(screen.styled(f"{item['method']} {_target(item)}", "bold"), screen.facts(pairs))
    for title, lines in (("Headers", item["headers"]), ("Form", item["form"]), ("Files", files)):
        if lines:
            screen.show(screen.heading(title), raw_view.header_lines(lines))
    body = raw_view.body_of(item)
    screen.show(
        screen.heading(raw_view.body_heading(body, is_cut=item["is_cut"], announced=item["announced_bytes"])),
        *raw_view.body_lines(body),
    )


def _address(item: store.Item) -> str:
    base = addresses.address(current_app.config["HOST"], current_app.config["PORT"])
    return f"{base}{item['path']}"


def _answer(item: store.Item) -> str:
    parts = [str(item["status"])]
    if item["delay_seconds"]:
        parts.append(f"after {item['delay_seconds']:g} s")
    if item["fail_every"]:
        parts.append(f"{item['fail_status']} every {item['fail_every']}")
    if item["has_secret"]:
        parts.append("asks for its secret")
    return ", ".join(parts)
