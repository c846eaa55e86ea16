"""`signalbox handlers`: what is connected to which events, what does not import, and a pause for one that fails."""

from datetime import UTC, datetime
from typing import Any

import click
from flask.cli import AppGroup
from rich.table import Table
from rich.text import Text

from receiver import jobs, words
from receiver.cli import options, screen
from receiver.cli.installation import load_handlers, open_tables, require_known_handler
from receiver.cli.trial import try_handler
from receiver.routing import BrokenModule, Handler, Router

IMPORTING = ("/importlib/", "<frozen importlib", "receiver/routing.py")

handlers = AppGroup("handlers", help="See which functions want which events.")
handlers.add_command(try_handler)


@handlers.command("list", short_help="List the handlers with the events that they want.")
@options.as_json
def list_handlers(as_json: bool) -> None:
    """List the handlers with the events that they want; first the modules that do not import, and why."""
    router = load_handlers()
    broken = list(router.broken.values())
    if as_json:
        items = [_item(handler) for handler in router.handlers()]
        screen.show_json({"items": items, "next": None, "broken": [_broken_item(one) for one in broken]})
        return
    for one in broken:
        screen.show(*_broken_lines(one))
    if router.handlers():
        screen.show(_table(router))
    else:
        screen.note("No handlers. A file in handlers/ with a function under @on(…) is one.")


@handlers.command("pause", short_help="Begin no job of a handler until it is resumed.")
@click.argument("name")
def pause_handler(name: str) -> None:
    """Begin no job of a handler until it is resumed; what runs now runs to its end, and what comes waits."""
    engine = open_tables()
    require_known_handler(engine, name)
    waiting = jobs.pause_handler(engine, name, datetime.now(UTC))
    click.echo(f"{name} is paused; {words.count(waiting, 'job')} waited for it.")


@handlers.command("resume", short_help="Run the jobs of a paused handler again.")
@click.argument("name")
def resume_handler(name: str) -> None:
    """Run the jobs of a paused handler again, at once where they waited for it."""
    engine = open_tables()
    require_known_handler(engine, name)
    woken = jobs.resume_handler(engine, name, datetime.now(UTC))
    click.echo(f"{name} is resumed; {words.count(woken, 'job')} waited for it.")


def _table(router: Router) -> Table:
    rows = [
        (
            screen.stacked(*(screen.styled(pattern, "cyan") for pattern in one.patterns), between=", "),
            str(one.policy.attempts),
            screen.stacked(screen.styled(one.name, "bold"), screen.styled(one.summary, "dim")),
        )
        for one in router.handlers()
    ]
    return screen.table(["WANTS", "ATTEMPTS", "HANDLER"], rows, whole=["WANTS", "ATTEMPTS"])


def _broken_lines(one: BrokenModule) -> list[Text]:
    title = Text.assemble(("✗ ", "red"), screen.styled(one.name, "bold red"), (" does not import", "red"))
    return [title, screen.block(_from_the_module_on(one.traceback), "dim"), Text("")]


def _from_the_module_on(traceback: str) -> str:
    """Leave out the frames of the import itself."""
    lines = traceback.splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    own = [number for number in frames if not any(part in lines[number] for part in IMPORTING)]
    return "\n".join(lines[own[0] :] if own else lines[-1:])


def _item(handler: Handler) -> dict[str, Any]:
    return {
        "name": handler.name,
        "patterns": list(handler.patterns),
        "attempts": handler.policy.attempts,
        "summary": handler.summary,
    }


def _broken_item(one: BrokenModule) -> dict[str, str]:
    return {"module": one.name, "error": one.error, "traceback": one.traceback}
