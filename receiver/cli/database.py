"""`signalbox db`: the tables, and what is kept in them."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from flask import current_app
from flask.cli import AppGroup

from receiver import humanize, service
from receiver.cli import options, screen, selection
from receiver.cli.installation import open_tables
from receiver.errors import BackupError
from receiver.humanize import count
from receiver.jobs import pruning
from receiver.jobs.pruning import Pruned
from receiver.storage import backups, db
from receiver.storage.backups import Rows

FILE = click.Path(path_type=Path, dir_okay=False)

database = AppGroup("db", help="Bring the tables to this release, back them up, and let go of what is old.")


@database.command()
def upgrade() -> None:
    """Bring the tables to this release's schema; where there are none yet, make them. Safe to run twice."""
    changed = db.upgrade(service.current().engine, tell=screen.note)
    click.echo("The tables are those of this release now." if changed else "The tables are those of this release.")


@database.command()
@click.argument("file", type=FILE)
@options.as_json
def backup(file: Path, as_json: bool) -> None:
    """Write the whole database to a new FILE, while everything runs, and verify it.

    FILE is its owner's alone, and has its name only once it is whole; one that is there is never overwritten. It holds
    what the database holds: bodies, headers, people's names. For PostgreSQL it is a dump of pg_dump.
    """
    engine = service.current().engine
    with screen.progress() as tell:
        made = backups.back_up(engine, file, tell=_told(tell))
    if as_json:
        screen.show_json({"file": str(made.file), "bytes": made.bytes, "rows": dict(made.rows)})
    else:
        where = engine.url.render_as_string(hide_password=True)
        click.echo(
            f"{made.file}: {humanize.size(made.bytes)}, {_events(made.rows)}, all of {where}. It was read again."
        )


def _told(tell: Callable[[str], None]) -> backups.Tell:
    return lambda done, whole: tell(f"{100 * done // max(whole, 1)} % of {whole:,} pages")


def _events(rows: Rows) -> str:
    return f"{rows.get('events', 0):,} {'event' if rows.get('events') == 1 else 'events'}"


@database.command()
@click.argument("file", type=FILE)
@click.option("--force", is_flag=True, help="Do not ask, even where the database has something in it.")
@options.as_json
def restore(file: Path, force: bool, as_json: bool) -> None:
    """Put a backup of SQLite in the place of the database. What was there is kept beside it.

    Stop web and worker first; where one has the database open, nothing is done. FILE is read through before. What came
    after the backup is in what is kept aside alone: providers do not send again what they were answered 200 for.
    """
    engine = service.current().engine
    if engine.dialect.name != "sqlite":
        address = engine.url.set(drivername="postgresql", password=None).render_as_string()
        how = f"pg_restore --clean --if-exists --single-transaction --no-owner --dbname={address} {file}"
        raise BackupError(f"PostgreSQL is restored by a program of its own. Stop web and worker, then: {how}")
    rows, old = backups.check(file), backups.there(engine)
    if old is None or any(old.values()):
        here = "what is there and cannot be read" if old is None else _events(old)
        if old is not None or backups.path_of(engine).exists():
            question = f"Put {_events(rows)} of {file} in the place of {here}? That is kept aside."
            selection.ask(question, yes=force, as_json=as_json, option="--force")
    done = backups.restore(engine, file)
    if as_json:
        kept_as = done.kept_as and str(done.kept_as)
        screen.show_json({"database": str(backups.path_of(engine)), "kept_as": kept_as, "rows": dict(done.rows)})
        return
    click.echo(f"{backups.path_of(engine)} is that of {file} now: {_events(done.rows)}.")
    if done.kept_as:
        click.echo(f"What was there is kept: {done.kept_as}")
    if not db.is_current(engine):
        screen.note("Its tables are those of a release before. Run: signalbox db upgrade")


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
