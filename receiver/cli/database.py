"""`signalbox db`: the tables, and what is kept in them."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import click
from flask import current_app
from flask.cli import AppGroup

from receiver import db, pruning
from receiver.cli import options, screen
from receiver.cli.installation import open_tables
from receiver.pruning import Pruned
from receiver.words import count

database = AppGroup("db", help="Bring the tables to this release, and let go of what is old.")


@database.command()
def upgrade() -> None:
    """Bring the tables to this release's schema; where there are none yet, make them. Safe to run twice."""
    changed = db.upgrade(current_app.extensions["signalbox.engine"], tell=screen.note)
    click.echo("The tables are those of this release now." if changed else "The tables are those of this release.")


@database.command(short_help="Delete the events that are older than they are kept.")
@click.option("--days", type=click.IntRange(1, 36500), help="Keep events for so many.  [default: RETENTION_DAYS, 30]")
@click.option("--dry-run", is_flag=True, help="Say how many would go, and delete nothing.")
@options.as_json
def prune(days: int | None, dry_run: bool, as_json: bool) -> None:
    """Delete the events that are older than they are kept, with their jobs, attempts and repeated deliveries.

    What is not routed yet or has a job that waits or runs stays. Quarantined deliveries of that age go too. Others may
    write meanwhile, and it may be interrupted at any time. Workers do the same by themselves, once an hour.
    """
    keep: timedelta = current_app.config["RETENTION"] if days is None else timedelta(days=days)
    now = datetime.now(UTC)
    _warn(keep)
    engine = open_tables()
    pruned, is_whole = (pruning.count(engine, keep, now=now), True) if dry_run else (Pruned(), False)
    try:
        if not dry_run:
            with screen.progress() as tell:
                pruning.prune(engine, keep, now=now, pruned=pruned, tell=lambda: tell(_progress(pruned)))
            is_whole = True
    finally:
        # Said also where it was interrupted: what is gone is gone.
        _show(pruned, keep, now=now, dry_run=dry_run, is_whole=is_whole, as_json=as_json)


def _warn(keep: timedelta) -> None:
    if not keep:
        screen.note("RETENTION_DAYS is 0: events are kept for ever. --days 30 lets the older ones go.")
    elif keep < pruning.AT_LEAST:
        screen.note(pruning.TOO_SHORT)


def _progress(pruned: Pruned) -> str:
    return f"{count(pruned.events, 'event')} deleted"


def _show(pruned: Pruned, keep: timedelta, *, now: datetime, dry_run: bool, is_whole: bool, as_json: bool) -> None:
    if as_json:
        before = (now - keep).isoformat().replace("+00:00", "Z") if keep else None
        return screen.show_json({"before": before, "dry_run": dry_run, "is_whole": is_whole, **asdict(pruned)})
    gone = [(name, f"{asdict(pruned)[name]:,}") for name in ("events", "quarantined", "captures", "tallies")]
    screen.show(screen.facts(gone[:2] if dry_run else gone))
    screen.note("These would be deleted." if dry_run else "These were deleted." if is_whole else "Interrupted.")
    if pruned.staying:
        screen.note(f"As old, and kept: {count(pruned.staying, 'event')} of which a job waits or runs.")
    return None
