"""`signalbox box plan`, `apply`, `import` and `doctor`: registrations as code."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import sqlalchemy as sa
from flask import current_app
from flask.cli import with_appcontext

from receiver import humanize, service
from receiver.cli import options, screen
from receiver.cli.box import view
from receiver.cli.box.session import allow_unknown, file_option, open_client, wanting
from receiver.cli.installation import open_tables
from receiver.jobs.worker import utc_now
from receiver.registrations import (
    LOOKED_INTO,
    Plan,
    Target,
    Wanted,
    add,
    check_up,
    list_kept,
    make,
    read,
    reading,
    usual_address,
)

if TYPE_CHECKING:
    from receiver.registrations.client import WebhookClient

SOMETHING_TO_DO = 2

prune = click.option("--prune", is_flag=True, help="Delete what is at Box and not in the file, whoever made it.")
full = click.option(
    "--full",
    is_flag=True,
    help=f"Ask Box about each that is in the file; else about {LOOKED_INTO} of those that were made from it, in turn.",
)


@click.command()
@file_option
@prune
@allow_unknown
@full
@options.as_json
@click.pass_context
@with_appcontext
def plan(ctx: click.Context, path: Path | None, *, prune: bool, allow_unknown: bool, full: bool, as_json: bool) -> None:
    """Show what differs between the file and Box; exit with 2 where something is to do, and change nothing."""
    path = wanting(path)
    engine, wanted = open_tables(), read(path, reading(current_app.config, allow_unknown=allow_unknown))
    with open_client() as client:
        found = _make(client, engine, wanted, prune=prune, full=full)
    if as_json:
        screen.show_json(view.plan_item(found))
    else:
        screen.show(*view.whole_plan(found, list_kept(engine), utc_now()))
        screen.note("signalbox box apply does it." if found.steps else f"Box has what {path.name} wants.")
    ctx.exit(SOMETHING_TO_DO if found.steps else 0)


@click.command()
@file_option
@prune
@allow_unknown
@full
@options.as_json
@with_appcontext
def apply(path: Path | None, *, prune: bool, allow_unknown: bool, full: bool, as_json: bool) -> None:
    """Make Box have what the file wants. Where it is interrupted, the next one goes on from there.

    It deletes what it made itself and what the file does not name any more; --prune deletes all that the file does
    not name.
    """
    path = wanting(path)
    engine, wanted = open_tables(), read(path, reading(current_app.config, allow_unknown=allow_unknown))
    with open_client() as client:
        from receiver.registrations import apply

        found = _make(client, engine, wanted, prune=prune, full=full)
        told = (lambda _: None) if as_json else (lambda one: screen.show(view.done_line(one)))
        done = apply.carry_out(client, engine, found, clock=utc_now, told=told)
    failed = [one for one in done if one.error]
    if as_json:
        screen.show_json(view.done_item(found, done))
    elif not done:
        screen.note(f"Nothing to do: Box has what {path.name} wants.")
    if failed:
        raise click.ClickException(f"{humanize.count(len(failed), 'step')} of {len(done)} could not be taken.")


def _make(client: "WebhookClient", engine: sa.Engine, wanted: Sequence[Wanted], *, prune: bool, full: bool) -> Plan:
    from receiver.registrations.apply import look_at

    return make(
        wanted,
        list(client.list()),
        list_kept(engine),
        partial(look_at, client),
        prune=prune,
        looked_into=None if full else LOOKED_INTO,
    )


@click.command("import")
@file_option
@with_appcontext
def import_webhooks(path: Path | None) -> None:
    """Add to the file what is at Box and not in it, for this ENV; what is in the file stays as it is."""
    path, how = wanting(path), reading(current_app.config, allow_unknown=True)
    named = {one.target for one in read(path, how)}
    with open_client() as client:
        new: dict[Target, str] = {}
        for one in client.list():
            if one.target not in named:
                new.setdefault(one.target, one.id)
        found = [client.get(id_) for id_ in new.values()]
    if found:
        add(path, found, env=how.env)
    click.echo(f"{humanize.count(len(found), 'registration')} added to {path} for {how.env}.")


@click.command()
@options.as_json
@with_appcontext
def doctor(as_json: bool) -> None:
    """Compare what Box says with what arrives here; exit with 1 where something is wrong."""
    engine = open_tables()
    with open_client() as client:
        from receiver.registrations.apply import look_at

        found = check_up(
            engine,
            list(client.list()),
            list_kept(engine).values(),
            partial(look_at, client),
            expected_address=usual_address(current_app.config),
            now=utc_now(),
        )
    if as_json:
        screen.show_json(view.checkup_item(found))
    else:
        screen.show(*view.whole_checkup(found, utc_now()))
    if not service.current().gates["box"].keys:
        screen.note("The source box is off here: set BOX_PRIMARY_KEY, as the developer console shows it.")
    click.get_current_context().exit(0 if found.is_well else 1)


CODE = (plan, apply, import_webhooks, doctor)
