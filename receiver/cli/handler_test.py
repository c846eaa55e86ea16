"""`signalbox handlers test`: one handler, run once, here and now, with nothing written down about it."""

import secrets
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import click
import sqlalchemy as sa
from flask.cli import with_appcontext
from rich.text import Text

from receiver.cli import options, paths, screen
from receiver.cli.installation import load_handlers, open_tables, require_handler
from receiver.events import Delivery, Event, Headers
from receiver.jobs import routing
from receiver.jobs.routing import Handler
from receiver.jobs.run import Ran, event_of, run
from receiver.observe import queries
from receiver.sources import SOURCES, samples
from receiver.storage import db
from receiver.storage.tables import events

STYLES = {"done": "green", "retry": "yellow", "discarded": "yellow", "failed": "red"}


@click.command("test")
@click.argument("name")
@click.argument("event", required=False, metavar="[EVENT]")
@click.option("--sample", metavar="TYPE", help="For a sample of this type: box:FILE.UPLOADED.")
@click.option("--set", "changes", multiple=True, metavar="PATH=VALUE", help="Change the payload of the sample.")
@options.as_json
@with_appcontext
def try_handler(name: str, event: str | None, sample: str | None, changes: tuple[str, ...], as_json: bool) -> None:
    """Run a handler once, here, for a kept event or a sample. No job and no attempt is written.

    It is run as a worker would run it, so what it does to the world it does. EVENT is an id, a part of six characters
    or more, or `last`; without one, a sample of what the handler wants is made. Exit status 0 where it returns.

    \b
    signalbox handlers test handlers.box_journal.note_upload last
    signalbox handlers test handlers.box_journal.note_upload --set source.name=a.pdf
    """
    if event is not None and (sample is not None or changes):
        raise click.UsageError("Name an event, or a sample with --sample and --set; not both.")
    handler = require_handler(name)
    given = _kept(event) if event is not None else _sampled(sample or _wanted_by(handler), changes)
    if handler.name not in [one.name for one in load_handlers().handlers_for(given.type, given.name)]:
        screen.note(f"{name} does not want {given.type}: no worker would give it this.")
    began = time.perf_counter()
    with redirect_stdout(sys.stderr):
        ran = run(handler, lambda: given)
    milliseconds = (time.perf_counter() - began) * 1000
    if as_json:
        screen.show_json(_item(handler, given, ran, milliseconds))
    else:
        _show(given, ran, milliseconds)
    click.get_current_context().exit(int(ran.outcome != "done"))


def _kept(given: str) -> Event:
    engine = open_tables()
    event_id = queries.find_event_id(engine, given)
    with db.reading(engine) as connection:
        return event_of(connection.execute(sa.select(events).where(events.c.id == event_id)).one())


def _sampled(type_: str, changes: Sequence[str]) -> Event:
    source, colon, name = type_.partition(":")
    if source not in SOURCES or not colon or not name:
        raise click.BadParameter(f"{type_!r} is no type: write box:FILE.UPLOADED.", param_hint="--sample")
    now = datetime.now(UTC)
    payload = samples.sample(source, name, at=now, number=secrets.randbelow(10**8))
    for change in changes:
        paths.change(payload, change)
    body = samples.encode(source, payload)
    headers = Headers([("Content-Type", "application/json")])
    delivery = Delivery(source=source, body=body, headers=headers, received_at=now)
    return replace(SOURCES[source].parse(delivery), id="SAMPLE")


def _wanted_by(handler: Handler) -> str:
    """Give a type that a handler wants and that there is a sample of, or else the first that it names."""
    known = [f"{source}:{name}" for source in SOURCES for name in samples.names(source)]
    for pattern in handler.patterns:
        if found := next((one for one in known if routing.matches(pattern, one)), None):
            return found
    return handler.patterns[0]


def _item(handler: Handler, given: Event, ran: Ran, milliseconds: float) -> dict[str, Any]:
    return {
        "handler": handler.name,
        "event": given.id,
        "type": given.type,
        "outcome": ran.outcome,
        "milliseconds": round(milliseconds, 1),
        "error": ran.error or None,
    }


def _show(given: Event, ran: Ran, milliseconds: float) -> None:
    outcome = (ran.outcome, f"bold {STYLES[ran.outcome]}")
    screen.show(
        Text.assemble(outcome, f"  {given.id}  ", screen.styled(given.type, "cyan"), f"  {milliseconds:.0f} ms")
    )
    if ran.error:
        screen.show(screen.block(ran.error, indent=2))
