"""`signalbox handlers`: what is connected to which events, what does not import, and a pause for one that fails."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click
from flask.cli import AppGroup
from rich.table import Table
from rich.text import Text

from receiver import humanize
from receiver.cli import options, screen
from receiver.cli.handler_test import try_handler
from receiver.cli.installation import load_handlers, open_tables, require_known_handler
from receiver.errors import HandlerError, SchemaError, StoreError
from receiver.jobs import registry
from receiver.jobs import store as jobs
from receiver.jobs.routing import BrokenModule, Handler, Router

IMPORTING = ("/importlib/", "<frozen importlib", "receiver/jobs/routing.py")

handlers = AppGroup("handlers", help="See which functions want which events.")
handlers.add_command(try_handler)


@handlers.command("list", short_help="List the handlers with the events that they want.")
@options.as_json
def list_handlers(as_json: bool) -> None:
    """List the handlers with the events that they want; first the modules that do not import, and why.

    These are those that load here; and whichever the running workers have not, or have besides.
    """
    router = load_handlers()
    broken, running = list(router.broken.values()), _by_workers()
    here = {handler.name for handler in router.handlers()}
    others = [name for name in running if name not in here]
    if as_json:
        items = [_item(handler, running) for handler in router.handlers()]
        broken_items = [_broken_item(one) for one in broken]
        elsewhere = [{"name": name, "workers": running[name]} for name in others]
        screen.show_json({"items": items, "next": None, "broken": broken_items, "elsewhere": elsewhere})
        return
    for one in broken:
        screen.show(*_broken_lines(one))
    if router.handlers():
        screen.show(_table(router, running))
    else:
        screen.note("No handlers. A file in handlers/ with a function under @on(…) is one.")
    for name in others:
        has = humanize.count(running[name], "running worker") if running[name] else "no running worker"
        screen.note(f"{name} is not loaded here; {has} {'have' if running[name] > 1 else 'has'} it")


def _by_workers() -> dict[str, int]:
    """Give the handlers that workers have, or had, each with how many run that have it; nothing without a database."""
    try:
        known = registry.list_handlers(open_tables())
    except (StoreError, SchemaError, OSError):
        return {}
    return {item["name"]: item["workers"] for item in known if item["trouble"] is None}


@handlers.command("forget", short_help="Give events that come no job for a handler that is gone.")
@click.argument("name")
def forget_handler(name: str) -> None:
    """Give events that come no job any more for a handler that no running worker has.

    That happens by itself where a worker loads its package without it. The jobs that wait for it stay:
    signalbox jobs list --handler NAME --state waiting, and signalbox jobs discard.
    """
    engine = open_tables()
    require_known_handler(engine, name)
    if not registry.forget(engine, name, datetime.now(UTC)):
        raise HandlerError(f"a running worker has loaded {name}: take it out of its HANDLERS, or end it")
    click.echo(f"{name} is forgotten: what comes from now on is not for it.")


@handlers.command("pause", short_help="Begin no job of a handler until it is resumed.")
@click.argument("name")
def pause_handler(name: str) -> None:
    """Begin no job of a handler until it is resumed; what runs now runs to its end, and what comes waits."""
    engine = open_tables()
    require_known_handler(engine, name)
    waiting = jobs.pause_handler(engine, name, datetime.now(UTC))
    click.echo(f"{name} is paused; {humanize.count(waiting, 'job')} waited for it.")


@handlers.command("resume", short_help="Run the jobs of a paused handler again.")
@click.argument("name")
def resume_handler(name: str) -> None:
    """Run the jobs of a paused handler again, at once where they waited for it."""
    engine = open_tables()
    require_known_handler(engine, name)
    woken = jobs.resume_handler(engine, name, datetime.now(UTC))
    click.echo(f"{name} is resumed; {humanize.count(woken, 'job')} waited for it.")


def _table(router: Router, running: Mapping[str, int]) -> Table:
    rows = [
        (
            screen.stacked(*(screen.styled(pattern, "cyan") for pattern in one.patterns), between=", "),
            str(one.policy.attempts),
            screen.stacked(
                screen.styled(one.name, "bold"), screen.styled(one.summary, "dim"), _away(one.name, running)
            ),
        )
        for one in router.handlers()
    ]
    return screen.table(["WANTS", "ATTEMPTS", "HANDLER"], rows, whole=["WANTS", "ATTEMPTS"])


def _away(name: str, running: Mapping[str, int]) -> Text:
    """Say that no running worker has a handler, where some run at all."""
    is_away = not running.get(name) and any(running.values())
    return screen.styled("no running worker has loaded it" if is_away else "", "yellow")


def _broken_lines(one: BrokenModule) -> list[Text]:
    title = Text.assemble(("✗ ", "red"), screen.styled(one.name, "bold red"), (" does not import", "red"))
    return [title, screen.block(_from_the_module_on(one.traceback), "dim"), Text("")]


def _from_the_module_on(traceback: str) -> str:
    """Leave out the frames of the import itself."""
    lines = traceback.splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    own = [number for number in frames if not any(part in lines[number] for part in IMPORTING)]
    return "\n".join(lines[own[0] :] if own else lines[-1:])


def _item(handler: Handler, running: Mapping[str, int]) -> dict[str, Any]:
    return {
        "name": handler.name,
        "patterns": list(handler.patterns),
        "attempts": handler.policy.attempts,
        "summary": handler.summary,
        "workers": running.get(handler.name, 0),
    }


def _broken_item(one: BrokenModule) -> dict[str, str]:
    return {"module": one.name, "error": one.error, "traceback": one.traceback}
