"""`signalbox jobs`: which handler has which event, how far it is, and once more."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click
from flask.cli import AppGroup

from receiver import jobs as store
from receiver import listing
from receiver.cli import job_view, options, screen
from receiver.cli.installation import open_tables

jobs = AppGroup("jobs", help="See events on their way through handlers; repeat or discard.")


@jobs.command("list")
@options.job_state
@click.option("--handler", metavar="NAME", help="Only of this handler.")
@click.option("--event", metavar="ID", help="Only of this event.")
@options.paged
@options.as_json
def list_jobs(limit: int, cursor: str | None, as_json: bool, **filters: Any) -> None:
    """List jobs, the newest first. The dead letters: signalbox jobs list --state dead"""
    page = listing.list_jobs(open_tables(), **filters, limit=limit, cursor=cursor)
    if as_json:
        screen.show_json(page)
    else:
        screen.show_page(page, job_view.grid(page["items"], datetime.now(UTC)), nothing="No jobs.")


@jobs.command("show")
@click.argument("id", type=options.JOB_ID)
@click.option("--full", is_flag=True, help="Show the whole traceback of every failure.")
@options.as_json
def show_job(id: int, full: bool, as_json: bool) -> None:
    """Show a job with every attempt."""
    item = listing.show_job(open_tables(), id)
    if as_json:
        screen.show_json(item)
        return
    event = screen.facts([("Event", item["event"]), ("Type", screen.styled(item["type"], "cyan"))])
    screen.show(*job_view.whole(item, datetime.now(UTC), full=full), event)


@jobs.command("replay")
@click.argument("ids", type=options.JOB_ID, nargs=-1, required=True, metavar="ID...")
def replay_jobs(ids: tuple[int, ...]) -> None:
    """Run jobs again, with all their attempts; what is running now is left alone."""
    engine, now = open_tables(), datetime.now(UTC)
    _for_each(ids, lambda one: store.replay_job(engine, one, now=now), did="runs again", did_not="is running now")


@jobs.command("discard")
@click.argument("ids", type=options.JOB_ID, nargs=-1, required=True, metavar="ID...")
@click.option("--reason", default="discarded by hand", show_default=True, help="Why, for who looks at it later.")
def discard_jobs(ids: tuple[int, ...], reason: str) -> None:
    """Do not try jobs again: they are dead letters then, and can still be replayed."""
    engine = open_tables()
    _for_each(
        ids, lambda one: store.bury(engine, one, reason=reason), did="is discarded", did_not="is done or dead already"
    )


def _for_each(ids: tuple[int, ...], change: Callable[[int], object], *, did: str, did_not: str) -> None:
    """Change jobs one by one and say so; exit 1 where one stayed as it was."""
    changed = [bool(change(one)) for one in ids]
    for one, was_changed in zip(ids, changed, strict=True):
        click.echo(f"job {one} {did if was_changed else did_not}", err=not was_changed)
    if not all(changed):
        click.get_current_context().exit(1)
