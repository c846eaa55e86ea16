"""What the commands that speak to Box share: the client, the warnings, how the file is read, where we are reached."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from flask import current_app

from receiver.box_webhooks import Kind, Reading, account_of
from receiver.cli import screen
from receiver.cli.installation import ROOT, address, hook_url

if TYPE_CHECKING:
    from receiver.box_webhooks.client import Client

Command = TypeVar("Command", bound=Callable[..., Any])

FILE = ROOT / "config" / "box_webhooks.toml"
_SHORT = timedelta(seconds=3)
_WARNING = (
    "BOX_DEVELOPER_TOKEN is set: it dies within an hour, and takes the payloads of every webhook made with it along "
    "(Box then sends NO_ACTIVE_SESSION only, and removes the webhook in the end). For anything that is to last, use "
    "BOX_CLIENT_ID and BOX_CLIENT_SECRET, or BOX_JWT_CONFIG."
)

allow_unknown = click.option("--allow-unknown", is_flag=True, help="Ask for triggers that nobody knows here, too.")


def file_option(command: Command) -> Command:
    return click.option(
        "--file",
        "path",
        type=click.Path(dir_okay=False, path_type=Path),
        default=FILE,
        metavar="FILE",
        help="The file that wants webhooks.  [default: config/box_webhooks.toml]",
    )(command)


@contextmanager
def open_client() -> "Iterator[Client]":
    """Speak to Box as this installation's account; say so where it is a sandbox, a token does not last, or we wait."""
    account = account_of(current_app.config)
    if account.is_here:
        why = "no credentials of Box are set" if account.is_assumed else "BOX_API_URL says"
        screen.note(f"This is the sandbox at {account.api_url}, as {why}.")
    if account.kind is Kind.DEVELOPER_TOKEN:
        screen.note(screen.styled(_WARNING, "bold yellow"))
    # The SDK takes a third of a second to load: other commands do without it.
    from receiver.box_webhooks.client import Client

    with Client(account, waiting=_say_that_we_wait) as client:
        yield client


def _say_that_we_wait(status: int, length: timedelta) -> None:
    why = {429: "Box says that these are too many calls", 0: "Box did not answer"}.get(status, f"Box answered {status}")
    if length >= _SHORT or status == 429:
        screen.note(f"{why}: again in {length.total_seconds():.0f} s.")


def reading(*, allow_unknown: bool = False) -> Reading:
    """Say how registrations are to be checked here."""
    config = current_app.config
    return Reading(
        env=config["ENV"],
        usual_address=usual_address(),
        is_box=account_of(config).is_box,
        allow_unknown=allow_unknown,
    )


def usual_address() -> str | None:
    """Give where registrations deliver to that name no address: with a sandbox on this machine, straight to us."""
    config = current_app.config
    if config["PUBLIC_URL"]:
        return hook_url(config["PUBLIC_URL"].rstrip("/"), "box")
    if account_of(config).is_here and config["PORT"]:
        return hook_url(address(config["HOST"], config["PORT"]), "box")
    return None
