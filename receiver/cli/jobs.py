"""`signalbox jobs`: which handler has which event, how far it is, and once more."""

import getpass
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import click
import sqlalchemy as sa
from flask.cli import AppGroup

from receiver import humanize
from receiver.cli import job_view, options, screen, selection
from receiver.cli.installation import open_tables, require_known_handler
from receiver.jobs import dead_letters, store
from receiver.jobs.dead_letters import Which
from receiver.observe import documents, queries

DONE_OR_DISCARDED = "is done or discarded already"

jobs = AppGroup("jobs", help="See events on their way through handlers; repeat or discard.")


@jobs.command("list")
@options.job_state
@click.option("--handler", metavar="NAME", help="Only of this handler.")
@click.option("--event", metavar="ID", help="Only of this event.")
@options.paged
@options.as_json
def list_jobs(limit: int, cursor: str | None, as_json: bool, **filters: Any) -> None:
    """List jobs, the newest first. The dead letters: signalbox jobs list --state dead"""
    page = queries.list_jobs(open_tables(), **filters, limit=limit, cursor=cursor)
    if as_json:
        screen.show_json(documents.page(page, documents.job_line))
    else:
        screen.show_page(job_view.grid(page.items, datetime.now(UTC)), page.next, nothing="No jobs.")


@jobs.command("show")
@click.argument("id", type=options.JOB_ID)
@click.option("--full", is_flag=True, help="Show the whole traceback of every failure.")
@options.as_json
def show_job(id: int, full: bool, as_json: bool) -> None:
    """Show a job with every attempt."""
    item = queries.show_job(open_tables(), id)
    if as_json:
        screen.show_json(documents.job(item))
        return
    event = screen.facts([("Event", item.event), ("Type", screen.styled(item.type, "cyan"))])
    screen.show(*job_view.whole(item, datetime.now(UTC), full=full), event)


@jobs.command("replay")
@click.argument("ids", type=options.JOB_ID, nargs=-1, metavar="[ID]...")
@click.option("--handler", metavar="NAME", help="All dead letters of this handler.")
@options.event_type
@options.since
@options.until
@click.option("--all", "everything", is_flag=True, help="All dead letters there are.")
@click.option("--yes", is_flag=True, help="Do not ask before many run again.")
@options.as_json
def replay_jobs(ids: tuple[int, ...], everything: bool, yes: bool, as_json: bool, **filters: Any) -> None:
    """Run jobs again, with all their attempts: those named, or all dead letters that are like this.

    What is running now is left alone. --since and --until are of the event.

    \b
    signalbox jobs replay 17 18
    signalbox jobs replay --handler handlers.box_journal.note_upload --since 2d
    """
    _require_one_way(ids, filters, everything=everything)
    engine, now = open_tables(), datetime.now(UTC)
    if not ids:
        _replay_dead_letters(engine, Which(**filters), now, yes=yes, as_json=as_json)
    elif as_json:
        replayed = sum(store.replay_job(engine, one, now=now) for one in ids)
        screen.show_json({"jobs": replayed})
        click.get_current_context().exit(int(replayed < len(ids)))
    else:
        _for_each(ids, lambda one: store.replay_job(engine, one, now=now), did="runs again", did_not="is running now")


def _replay_dead_letters(engine: sa.Engine, which: Which, now: datetime, *, yes: bool, as_json: bool) -> None:
    is_any = _ask_about(engine, which, "Replay {}?", yes=yes, as_json=as_json)
    replayed = dead_letters.replay(engine, which, now=now) if is_any else 0
    if as_json:
        screen.show_json({"jobs": replayed})
    elif replayed:
        click.echo(f"{humanize.count(replayed, 'job')} {'runs' if replayed == 1 else 'run'} again")
    else:
        screen.note("No dead letter is like that.")


@jobs.command("discard")
@click.argument("ids", type=options.JOB_ID, nargs=-1, metavar="[ID]...")
@click.option("--handler", metavar="NAME", help="All dead letters of this handler.")
@options.event_type
@options.since
@options.until
@click.option("--all", "everything", is_flag=True, help="All dead letters there are.")
@click.option("--reason", help="Why, for who looks at it later.  [default: discarded by USER]")
@click.option("--undo", is_flag=True, help="Make those named dead letters again, without running them.")
@click.option("--yes", is_flag=True, help="Do not ask before many are put away.")
@options.as_json
def discard_jobs(
    ids: tuple[int, ...], *, everything: bool, reason: str | None, undo: bool, yes: bool, as_json: bool, **filters: Any
) -> None:
    """Put dead letters away: those named, or all that are like this. They are off lists and alarms.

    They stay with their event, with when and why, and can be replayed: signalbox jobs list --state discarded. A job
    that is named and waits or runs becomes a dead letter: it is not tried again. One that is running now runs to its
    end, and its outcome counts for nothing. --since and --until are of the event.

    \b
    signalbox jobs discard 17 18 --reason "the folder is gone"
    signalbox jobs discard --handler handlers.box_journal.note_upload --until 7d
    """
    _require_one_way(ids, filters, everything=everything)
    if undo and not ids:
        raise click.UsageError("--undo is of jobs that are named: signalbox jobs list --state discarded")
    engine, why = open_tables(), reason or f"discarded by {_user()}"
    if not ids:
        _discard_dead_letters(engine, Which(**filters), why, yes=yes, as_json=as_json)
        return
    running = {one for one in ids if queries.show_job(engine, one).state == "running"}
    if undo:
        change, did, did_not = partial(store.bring_back, engine), "is a dead letter again", "is not discarded"
    else:
        change, did, did_not = partial(store.bury, engine, reason=why), "is discarded", DONE_OR_DISCARDED
    if as_json:
        changed = sum(bool(change(one)) for one in ids)
        screen.show_json({"jobs": changed})
        click.get_current_context().exit(int(changed < len(ids)))
    _for_each(ids, change, did=did, did_not=did_not)
    for one in running:
        screen.note(f"job {one} was running: what it does now goes on to its end, and counts for nothing.")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name
        return f"user {os.getuid()}"


def _discard_dead_letters(engine: sa.Engine, which: Which, reason: str, *, yes: bool, as_json: bool) -> None:
    is_any = _ask_about(engine, which, "Discard {}?", yes=yes, as_json=as_json)
    discarded = dead_letters.discard(engine, which, reason=reason, now=datetime.now(UTC)) if is_any else 0
    if as_json:
        screen.show_json({"jobs": discarded})
    elif discarded:
        click.echo(f"{humanize.count(discarded, 'dead letter')} discarded")
    else:
        screen.note("No dead letter is like that.")


def _require_one_way(ids: tuple[int, ...], filters: dict[str, Any], *, everything: bool) -> None:
    if bool(ids) + any(value is not None for value in filters.values()) + everything != 1:
        raise click.UsageError(
            "Say one of these: ids, or filters (--handler, --type, --since, --until), or --all dead letters."
        )


def _ask_about(engine: sa.Engine, which: Which, question: str, *, yes: bool, as_json: bool) -> bool:
    """Ask before all dead letters that are like this are changed; False where none is."""
    found = dead_letters.count(engine, which)
    if not found.number and which.handler is not None:
        require_known_handler(engine, which.handler)
    if found.number:
        number = (
            humanize.count(found.number, "dead letter") if found.is_whole else f"{found.number:,} or more dead letters"
        )
        asked = question.format(f"{number}{f' of {which.handler}' if which.handler else ''}")
        selection.ask(asked, yes=yes, as_json=as_json)
    return found.number > 0


def _for_each(ids: tuple[int, ...], change: Callable[[int], object], *, did: str, did_not: str) -> None:
    """Change jobs one by one and say so; exit 1 where one stayed as it was."""
    changed = [bool(change(one)) for one in ids]
    for one, was_changed in zip(ids, changed, strict=True):
        click.echo(f"job {one} {did if was_changed else did_not}", err=not was_changed)
    if not all(changed):
        click.get_current_context().exit(1)
