"""What the commands that speak to Box share: the client and its warnings, and which file wants webhooks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from flask import current_app

from receiver.cli import screen
from receiver.registrations import Kind, account_of

if TYPE_CHECKING:
    from receiver.registrations.client import WebhookClient

Command = TypeVar("Command", bound=Callable[..., Any])

WITHIN = "signalbox.box.within"  # in the context's meta: how long all calls may take
WITHIN_SECONDS = 1800
_ADVICE = "signalbox box --within SECONDS gives it longer."
_PAUSE = timedelta(seconds=1)
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
        metavar="FILE",
        help="The file that wants webhooks.  [default: BOX_WEBHOOKS_FILE]",
    )(command)


def wanting(path: Path | None) -> Path:
    """Give the file that wants webhooks: the one that was named, or this installation's."""
    usual: Path = current_app.config["BOX_WEBHOOKS_FILE"]
    return path or usual


@contextmanager
def open_client() -> "Iterator[WebhookClient]":
    """Speak to Box as this installation's account; say so where it is a sandbox, a token does not last, or we wait."""
    account = account_of(current_app.config)
    if account.is_here:
        why = "no credentials of Box are set" if account.is_assumed else "BOX_API_URL says"
        screen.note(f"This is the sandbox at {account.api_url}, as {why}.")
    if account.kind is Kind.DEVELOPER_TOKEN:
        screen.note(screen.styled(_WARNING, "bold yellow"))
    # The SDK takes a third of a second to load: other commands do without it.
    from receiver.registrations.client import WebhookClient

    within: timedelta = click.get_current_context().meta.get(WITHIN, timedelta(seconds=WITHIN_SECONDS))
    with (
        screen.waiting(account.api_url, most=within),
        WebhookClient(account, waiting=_say_that_we_wait, pause=_PAUSE, within=within, advice=_ADVICE) as client,
    ):
        yield client


def _say_that_we_wait(status: int, length: timedelta) -> None:
    why = {429: "Box says that these are too many calls", 0: "Box did not answer"}.get(status, f"Box answered {status}")
    if length >= _SHORT or status == 429:
        screen.note(f"{why}: again in {length.total_seconds():.0f} s.")
