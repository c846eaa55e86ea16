"""`signalbox rejected`: the deliveries that did not verify; verified again, and let in."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click
from flask.cli import AppGroup
from rich.text import Text

from receiver import humanize, service
from receiver.cli import options, raw_view, screen, selection
from receiver.cli.installation import open_tables
from receiver.cli.selection import Chosen
from receiver.errors import NotFoundError
from receiver.events import Refused, Verified
from receiver.inbox.diagnosis import Diagnosis
from receiver.observe import documents, queries
from receiver.observe.documents import Document
from receiver.observe.queries import Filters
from receiver.observe.records import RejectedRecord
from receiver.storage import tables

Looks = Sequence[tuple[str, Verified | Refused]]

NOTHING = "Nothing was rejected that is like that."
any_age = click.option(
    "--any-age", is_flag=True, help="The signature has to be right, its age not: the clock here was wrong."
)

rejected = AppGroup(
    "rejected",
    help="See the deliveries whose signature did not verify, verify them again, and let them in.",
)


@rejected.command("list")
@options.received
@selection.reason
@options.paged
@options.as_json
def list_rejected(limit: int, cursor: str | None, as_json: bool, reason: str | None, **filters: Any) -> None:
    """List the rejected deliveries, the newest first, each with its reason."""
    page = queries.list_rejected(open_tables(), Filters(**filters), reason=reason, limit=limit, cursor=cursor)
    if as_json:
        screen.show_json(documents.page(page, documents.rejected_line))
        return
    now = datetime.now(UTC)
    rows = [
        (
            humanize.age(one.received_at, now),
            one.id,
            one.source,
            screen.styled(one.reason, "red"),
            f"{len(one.body):,}{' (cut)' if one.is_cut else ''}",
        )
        for one in page.items
    ]
    grid = screen.table(["AGE", "ID", "SOURCE", "REASON", "BYTES"], rows)
    nothing = NOTHING if reason or any(filters.values()) else "Nothing was rejected."
    screen.show_page(grid, page.next, nothing=nothing, searched_to=page.searched_to)


@rejected.command("show")
@click.argument("id")
@click.option("--raw", is_flag=True, help="Write the body to standard output, byte for byte.")
@options.as_json
def show_rejected(id: str, raw: bool, as_json: bool) -> None:
    """Show why a delivery was refused, and all of it. ID may be a part of six characters or more, or `last`."""
    item = queries.show_rejected(open_tables(), id)
    if raw:
        raw_view.write_raw(item.body)
    elif as_json:
        screen.show_json(documents.rejected(item))
    else:
        _show(item, service.current().verifier.diagnose(item.id, item.reason), datetime.now(UTC))


def _show(item: RejectedRecord, found: Diagnosis, now: datetime) -> None:
    received = item.received_at
    pairs: list[tuple[str, screen.Cell]] = [
        ("Id", item.id),
        ("Received", f"{humanize.full(received)}, {humanize.ago(received, now)}"),
        ("Reason", screen.styled(item.reason, "red")),
        ("", item.detail),
    ]
    if found.finding or found.is_unexplained:
        pairs.append(("Finding", found.finding or "Nothing that usually goes wrong would explain it."))
    pairs.append(("Mend", found.mend))
    if item.path:
        pairs.append(("Sent to", f"{item.method} {item.path}, answered {item.status}"))
    screen.show(
        screen.styled(f"A rejected delivery to {item.source}", "bold"),
        screen.facts(pairs),
        screen.heading("Headers"),
        raw_view.header_lines(item.headers),
        screen.heading(raw_view.body_heading(item.body, is_cut=item.is_cut, announced=item.announced_bytes)),
        *raw_view.body_lines(item.body),
    )


@rejected.command("verify")
@selection.several
@selection.reason
@any_age
@options.as_json
def verify_rejected(ids: tuple[str, ...], any_age: bool, as_json: bool, **which: Any) -> None:
    """Verify rejected deliveries again, with the keys that are set now. Nothing is changed by it.

    How old a delivery was is judged at the time that it came at. ID may be a part of six characters or more, or `last`.

    \b
    signalbox rejected verify last
    signalbox rejected verify --reason signature_mismatch --since 2d
    """
    chosen = selection.choose(tables.rejected, queries.show_rejected, ids, **which)
    looks = list(_look(chosen, any_age=any_age))
    verify = sum(isinstance(verdict, Verified) for _, verdict in looks)
    if as_json:
        screen.show_json({"items": [_said(one, verdict) for one, verdict in looks], "next": None})
    elif not looks:
        screen.note(NOTHING)
    else:
        screen.show(screen.table(["ID", "NOW"], [(one, _verdict(verdict)) for one, verdict in looks]))
        if verify:
            screen.note(f"{verify} of {len(looks)} verify now. To let them in: the same with `release`.")
        else:
            screen.note(f"0 of {len(looks)} verify now.")
    _fail_if(chosen.one_by_one and verify < len(looks))


@rejected.command("release")
@selection.several
@selection.reason
@any_age
@click.option("--unverified", is_flag=True, help="Let in what does not verify, too: nobody says that it is genuine.")
@selection.yes
@options.as_json
def release_rejected(
    ids: tuple[str, ...], any_age: bool, unverified: bool, yes: bool, as_json: bool, **which: Any
) -> None:
    """Let rejected deliveries in as events, if they verify with the keys that are set now.

    For when a key is mended. Each keeps its bytes, its headers and the time that it came at, and goes to the
    handlers; one of an event that is here already is counted on that. What still does not verify stays, unless
    --unverified says otherwise. ID may be a part of six characters or more, or `last`.

    \b
    signalbox rejected release last
    signalbox rejected release --reason signature_mismatch --since 2d
    """
    chosen = selection.choose(tables.rejected, queries.show_rejected, ids, **which)
    looks = list(_look(chosen, any_age=any_age))
    ready = [one for one, verdict in looks if unverified or isinstance(verdict, Verified)]
    if ready and not chosen.one_by_one:
        selection.ask(_question(len(ready), looks), yes=yes, as_json=as_json)
    items = []
    for item in _release(looks, any_age=any_age, unverified=unverified):
        items.append(item)
        if not as_json:
            (screen.note if item["status"] == "rejected" else screen.show)(_line(item))
    if as_json:
        screen.show_json({"items": items, "next": None})
    elif not items:
        screen.note(NOTHING)
    _fail_if(any(item["status"] == "rejected" for item in items) and (chosen.one_by_one or not ready))


def _look(chosen: Chosen, *, any_age: bool) -> Iterator[tuple[str, Verified | Refused]]:
    for one in chosen.ids:
        try:
            yield one, service.current().verifier.look(one, any_age=any_age)
        except NotFoundError:
            continue  # newer ones have pushed it out meanwhile


def _question(ready: int, looks: Looks) -> str:
    refused = sum(isinstance(verdict, Refused) for _, verdict in looks)
    question = f"Let {_deliveries(ready)} in as events?"
    if ready == len(looks) and refused:
        return f"{question} {refused} of them {'does' if refused == 1 else 'do'} not verify."
    if refused:
        return f"{question} {refused} of {len(looks)} {'does' if refused == 1 else 'do'} not verify, and will stay."
    return question


def _deliveries(number: int) -> str:
    return f"{number:,} rejected {'delivery' if number == 1 else 'deliveries'}"


def _release(looks: Looks, *, any_age: bool, unverified: bool) -> Iterator[Document]:
    for one, verdict in looks:
        if isinstance(verdict, Refused) and not unverified:
            yield {"id": one, **_STAYS, "reason": verdict.reason.value, "detail": verdict.detail}
            continue
        try:
            became = service.current().verifier.let_in(one, any_age=any_age, unverified=unverified)
        except NotFoundError:
            continue
        if isinstance(became, Refused):
            yield {"id": one, **_STAYS, "reason": became.reason.value, "detail": became.detail}
        else:
            yield {"id": one, **asdict(became), "reason": None, "detail": None}


_STAYS: Document = {"status": "rejected", "event": None, "quarantined": None, "errors": {}}


def _said(one: str, verdict: Verified | Refused) -> Document:
    verifies = isinstance(verdict, Verified)
    return {
        "id": one,
        "verifies": verifies,
        "verified_by": verdict.by if isinstance(verdict, Verified) else None,
        "reason": verdict.reason.value if isinstance(verdict, Refused) else None,
        "detail": verdict.detail if isinstance(verdict, Refused) else None,
    }


def _verdict(verdict: Verified | Refused) -> Text:
    if isinstance(verdict, Verified):
        return Text.assemble(("verifies", "green"), f", by {verdict.by}")
    return Text.assemble((verdict.reason.value, "red"), "  ", screen.styled(verdict.detail))


def _line(item: Document) -> Text:
    if item["status"] == "rejected":
        return screen.styled(f"{item['id']}  stays: {item['reason']}  {item['detail']}", "red")
    if item["status"] == "quarantined":
        problems = "; ".join(raw_view.problems(item["errors"]))
        said = f"{item['id']}  quarantined as {item['quarantined']}, for it cannot be read: {problems}"
        return screen.styled(said, "yellow")
    style = "green" if item["status"] == "accepted" else "dim"
    return Text.assemble(f"{item['id']}  ", (item["status"], style), f"  {item['event']}")


def _fail_if(failed: bool) -> None:
    if failed:
        click.get_current_context().exit(1)
