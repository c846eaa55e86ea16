"""`signalbox sandbox do` and `signalbox sandbox filestack`: one command for each thing that can happen there."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

import click

from receiver.cli import options, screen
from receiver.cli.sandbox.client import Span, ask, first_deliveries, log_line
from receiver.sandbox.actions import ACTIONS, Action
from receiver.sandbox.faults import SLOTS
from receiver.sandbox.filestack_events import KINDS, FilestackAction
from receiver.sandbox.schedules import FILESTACK_DEFAULT, FILESTACK_SCHEDULES

Command = TypeVar("Command", bound=Callable[..., Any])

FAULTS = (
    click.option("--duplicates", type=click.IntRange(0, 100), metavar="N", help="Send it so many more times."),
    click.option(
        "--lose-answers",
        "lost_answers",
        type=click.IntRange(0, 100),
        metavar="N",
        help="So many good answers get lost, and it is sent again.",
    ),
    click.option("--reorder", is_flag=True, help="Send what one command brings in the opposite order."),
    click.option("--delay", type=Span(), metavar="SPAN", help="Send it so much later: 30s, 5m, 2h of its clock."),
    click.option("--wrong-key", is_flag=True, help="Sign with keys that are not yours."),
    click.option("--reserialise", is_flag=True, help="Let a proxy write the JSON anew after it was signed."),
    click.option("--same-signature", is_flag=True, help="Retries carry the signature of the first delivery."),
)
ROTATING = click.option(
    "--rotating",
    type=click.Choice(SLOTS["box"]),
    help="This key was replaced at Box and not here; the other one still signs.",
)


def spoilt(command: Command) -> Command:
    """Give a command the options for what can go wrong on the way."""
    for option in reversed(FAULTS):
        command = option(command)
    return command


def faults(wish: dict[str, Any]) -> dict[str, Any]:
    """Take the faults out of a command's options, as the control API reads them."""
    names = ("duplicates", "lost_answers", "reorder", "delay", "wrong_key", "rotating", "reserialise", "same_signature")
    chosen = {name: wish.pop(name) for name in names if name in wish}
    return {
        name: value.total_seconds() if isinstance(value, timedelta) else value
        for name, value in chosen.items()
        if value
    }


count = click.option(
    "--count", type=click.IntRange(1, 10_000), metavar="N", default=1, help="Let it happen so many times."
)
no_wait = click.option("--no-wait", is_flag=True, help="Do not wait for the first answers.")


class InOrder(click.Group):
    """Lists its commands as they are written down."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=InOrder, short_help="Do something on the pretend drive of Box.")
def do() -> None:
    """Do something on the pretend drive; Box's webhooks on the item, or on a folder above it, are told.

    \b
    signalbox sandbox do upload Inbox/lamp.pdf          folders on the way are made
    signalbox sandbox do rename Inbox/lamp.pdf old.pdf
    signalbox sandbox do comment Inbox/old.pdf --as updated
    signalbox sandbox do upload 1234/lamp.pdf           into the folder whose id is 1234

    An item is a path, an id, or file:ID or folder:ID where both are there.
    """


def _add_action(name: str, action: Action) -> None:
    def run(item: str, to: str = "", as_json: bool = False, no_wait: bool = False, **wish: Any) -> None:
        spoils = faults(wish)
        asked = {key: value for key, value in wish.items() if value is not None}
        body = {"action": name, "item": item, "to": to, "faults": spoils, **asked}
        answer = ask("POST", "/actions", body)
        said = [f"{one['trigger']}  {_named(one['item'])}" for one in answer["set_off"]]
        nobody = (
            "No webhook on it, or on a folder above it, asks for that, so nothing was sent: signalbox box create "
            "makes one."
        )
        _report(answer, said, as_json=as_json, no_wait=no_wait, nobody=nobody)

    command: Any = count(ROTATING(spoilt(no_wait(options.as_json(run)))))
    command = click.option("--by", metavar="NAME", help="Who does it.  [default: Ada Moss]")(command)
    if name == "upload":
        size = click.option("--size", type=click.IntRange(0, 10**12), metavar="BYTES", help="How long the file is.")
        command = size(command)
    if name in ("comment", "task"):
        command = click.option("--text", metavar="TEXT", help="What it says.")(command)
    if action.steps:
        steps = click.option(
            "--as", "step", type=click.Choice(action.steps), help=f"What happens to it.  [default: {action.steps[0]}]"
        )
        command = steps(command)
    if action.other:
        command = click.argument("to", metavar=action.other)(command)
    command = click.argument("item", metavar="ITEM")(command)
    do.add_command(click.command(name, help=action.help)(command))


def _named(item: Mapping[str, str]) -> str:
    return f"{item['path']} ({item['type']} {item['id']})"


def _report(answer: Mapping[str, Any], said: list[str], *, as_json: bool, no_wait: bool, nobody: str) -> None:
    deliveries = [] if no_wait else first_deliveries(answer["events"])
    if as_json:
        screen.show_json({**answer, "deliveries": deliveries})
        return
    for line in said:
        screen.show(screen.styled(line, "bold"))
    for delivery in deliveries:
        screen.show(log_line(delivery))
    if not answer["events"]:
        screen.note(nobody)
    elif no_wait:
        screen.note(f"{len(answer['events'])} to be sent: signalbox sandbox log shows what becomes of them.")


@click.group(cls=InOrder, short_help="Let something happen at Filestack.")
def filestack() -> None:
    """Let something happen at Filestack; its address (--filestack-to, or --to here) is told.

    \b
    signalbox sandbox filestack upload --as transit     told InTransit, and then Stored
    signalbox sandbox filestack conversion --client Box
    signalbox sandbox filestack upload --retries production --to http://127.0.0.1:8000/hooks/filestack

    Only the answers 200, 201 and 204 count as delivered. Filestack documents three schedules of retries:
    legacy (5 min, 1 h, 12 h), docs (5 min, 30 min, 12 h) and production (10 s, 1, 5, 15 min, 1 h).
    """


def _add_kind(name: str, kind: FilestackAction) -> None:
    def run(to: tuple[str, ...], as_json: bool = False, no_wait: bool = False, **wish: Any) -> None:
        spoils = faults(wish)
        asked = {key: value for key, value in wish.items() if value is not None}
        body = {"action": name, "to": list(to), "faults": spoils, **asked}
        answer = ask("POST", "/filestack", body)
        _report(answer, answer["set_off"], as_json=as_json, no_wait=no_wait, nobody="Nothing was sent.")

    command: Any = count(spoilt(no_wait(options.as_json(run))))
    retries = click.option(
        "--retries",
        "schedule",
        type=click.Choice(FILESTACK_SCHEDULES),
        help=f"When it comes again.  [default: {FILESTACK_DEFAULT}]",
    )
    command = retries(command)
    command = click.option("--to", metavar="URL", multiple=True, help="Send it here instead.")(command)
    if name in ("upload", "export", "conversion", "overwrite"):
        command = click.option("--filename", metavar="NAME", help="The file's name.")(command)
        command = click.option("--client", metavar="NAME", help="The service that it is about: Box, Computer, …")(
            command
        )
    if kind.ways:
        way = click.option(
            "--as", "way", type=click.Choice(kind.ways), help=f"How it happens.  [default: {kind.ways[0]}]"
        )
        command = way(command)
    filestack.add_command(click.command(name, help=kind.help)(command))


for _name, _action in ACTIONS.items():
    _add_action(_name, _action)
for _name, _kind in KINDS.items():
    _add_kind(_name, _kind)
