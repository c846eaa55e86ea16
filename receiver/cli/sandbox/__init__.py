"""`signalbox sandbox`: a stand-in for Box and Filestack on this machine, and everything that can be done to it."""

import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from flask import Flask, current_app
from flask.cli import with_appcontext
from rich.text import Text

from receiver.cli import screen
from receiver.cli.installation import command
from receiver.cli.sandbox.actions import do, filestack
from receiver.cli.sandbox.client import HOST, PLACE, PORT, Place, log_line
from receiver.cli.sandbox.controls import CONTROLS
from receiver.errors import SettingsError
from receiver.outbound.addresses import address, as_variables, hook_url
from receiver.registrations import account_of
from receiver.sandbox import LAST_PAGES, Plan, Token, create_sandbox, world_of
from receiver.sandbox.clock import FASTEST, SLOWEST
from receiver.sandbox.pages import open_pages
from receiver.sandbox.rules import check_address

_TRAITS = ("developer", "no-scope")


class TokenText(click.ParamType[Token]):
    """`NAME=TOKEN`, with `,developer` or `,no-scope` behind it where that is what it is."""

    name = "token"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Token:
        if isinstance(value, Token):
            return value
        user, equals, rest = value.partition("=")
        token, *traits = rest.split(",")
        if not (user and equals and token) or not set(traits) <= set(_TRAITS) or not value.isprintable():
            self.fail("write NAME=TOKEN, NAME=TOKEN,developer or NAME=TOKEN,no-scope.", param, ctx)
        return Token(name=user, token=token, is_developers="developer" in traits, has_scope="no-scope" not in traits)


@click.group(invoke_without_command=True)
@click.option("--host", help=f"Address to listen on, or where the sandbox is.  [default: BOX_API_URL's, {HOST}]")
@click.option(
    "--port", type=click.IntRange(0, 65535), help=f"Port; 0 takes a free one.  [default: BOX_API_URL's, {PORT}]"
)
@click.option(
    "--speed",
    type=click.FloatRange(SLOWEST, FASTEST),
    metavar="N",
    default=1,
    show_default=True,
    help="Its clock runs so many times as fast: at 600, two hours of retries are over in 12 s.",
)
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Keep everything in this file.  [default: in memory, gone at the end]",
)
@click.option(
    "--token",
    "tokens",
    type=TokenText(),
    metavar="NAME=TOKEN",
    multiple=True,
    help="Take this token, of a user of this name; then no other. NAME=TOKEN,developer lasts an hour, "
    "NAME=TOKEN,no-scope may not manage webhooks.  [default: any token is a user of its own]",
)
@click.option(
    "--filestack-to",
    metavar="URL",
    multiple=True,
    help="Where Filestack's events go.  [default: /hooks/filestack on HOST and PORT]",
)
@click.option("--strict", is_flag=True, help="Only files and folders that were made are there.")
@click.option("--any-address", is_flag=True, help="Take every HTTP address for a webhook, as containers need.")
@click.option(
    "--last-page",
    type=click.Choice(LAST_PAGES),
    default=LAST_PAGES[0],
    show_default=True,
    help="How the last page of webhooks writes its next_marker: Box has been seen to do all three.",
)
@click.pass_context
def sandbox(ctx: click.Context, /, host: str | None, port: int | None, **wish: Any) -> None:
    """Stand in for Box and Filestack on this machine: register webhooks, do things, watch deliveries come.

    \b
    signalbox sandbox                              start it, here on port 8100
    signalbox box create folder:1200 FILE.UPLOADED in another shell: a webhook on the folder with the id 1200
    signalbox sandbox do upload 1200/lamp.pdf      what Box would send of that
    signalbox sandbox filestack upload             the same for Filestack
    signalbox sandbox log                          every delivery, with its answer and when the next is due

    Box's API is at http://127.0.0.1:8100/2.0. In development signalbox box speaks to it until credentials of Box are
    set; a client of Box's SDK wants the base URL http://127.0.0.1:8100.
    Deliveries are signed with the keys of this installation, so that this installation accepts them.
    """
    ctx.meta[PLACE] = Place(host, port)
    if ctx.invoked_subcommand is None:
        host, port = ctx.meta[PLACE].host_and_port()
        ctx.invoke(serve, host=host, port=port, **wish)


@with_appcontext
def serve(host: str, port: int, **wish: Any) -> None:
    """Serve until somebody ends it."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        """Says nothing of requests: what is shown are the deliveries."""

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            pass

    app = create_sandbox(_plan(**wish), told=_tell)
    config = current_app.config
    open_pages(app, host=host, inbox=address(config["HOST"], config["PORT"]) if config["PORT"] else None)
    world = world_of(app)
    try:
        server = make_server(host, port, app, threaded=True, request_handler=Quiet)
    except OSError as error:
        world.close()
        raise click.ClickException(
            f"{address(host, port)} cannot be used: {error.strerror}. --port names another port, --port 0 any free one."
        ) from error
    except SystemExit as error:  # werkzeug (3.1) ends the process itself where a port is taken
        world.close()
        raise click.ClickException(
            f"{address(host, port)} cannot be used: something listens there already. "
            "--port names another port, --port 0 any free one."
        ) from error
    _welcome(app, address(host, server.port))
    world.start()
    _until_told_to_stop(server)
    world.stop()


def _until_told_to_stop(server: Any) -> None:
    is_over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: is_over.set())
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    while not is_over.wait(60):  # a wait without an end would not hear Ctrl-C on every system
        pass
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # whoever does not want to wait for the last answers says it again
    server.shutdown()
    thread.join()
    server.server_close()


def _plan(*, filestack_to: tuple[str, ...], **wish: Any) -> Plan:
    for url in filestack_to:
        if wrong := list(check_address(url, any_address=True)):
            raise click.BadParameter(f"{url!r}: {wrong[0].message}", param_hint="--filestack-to")
    config = current_app.config
    usual = (hook_url(address(config["HOST"], config["PORT"]), "filestack"),) if config["PORT"] else ()
    gates = current_app.extensions["signalbox.gates"]
    keys = {name: gate.keys for name, gate in gates.items()}
    return Plan(keys=keys, filestack_addresses=filestack_to or usual, **wish)


def _welcome(app: Flask, base: str) -> None:
    world = world_of(app)
    unsigned = [name for name, keys in world.plan.keys.items() if not keys]
    speed = f", its clock runs {world.clock.speed:g} times as fast" if world.clock.speed != 1 else ""
    screen.show(
        Text.assemble(("\nThe sandbox", "bold"), " listens on ", (base, "cyan"), f"{speed}\n"),
        screen.facts(
            [
                ("drive", f"{base}/"),
                ("Box's API", f"{base}/2.0"),
                ("tokens", "as listed" if world.plan.tokens else "any; each is a user of its own"),
                ("state", str(world.plan.state or "in memory")),
                ("filestack", ", ".join(world.plan.filestack_addresses) or "to nowhere (--filestack-to)"),
            ]
        ),
        Text.assemble("\nTry, in another terminal:\n", (suggestions(base), "green"), "\n"),
    )
    for name in unsigned:
        screen.note(f"No key of {name} is set here, so its deliveries go unsigned.")


def suggestions(base: str) -> str:
    """Say what to type first: a registration, something that it is told of, and where to look."""
    # What stands in the environment of this shell alone is not there in another.
    is_set_here = "BOX_API_URL" in os.environ
    host, port = str(urlsplit(base).hostname), urlsplit(base).port
    at = f" --port {port}" if host == HOST else f" --host {host} --port {port}"
    here = "" if base == Place(None, None).url() and not is_set_here else at
    there = "" if base == _box_as_it_is_set_up() and not is_set_here else f"BOX_API_URL={base} "
    signalbox = command()
    lines = (
        f"{_receiver_as_set_here()}{there}{signalbox} box create folder:1200 FILE.UPLOADED",
        f"{signalbox} sandbox{here} do upload 1200/lamp.pdf",
        f"{signalbox} sandbox{here} log",
    )
    return "\n".join(f"  {line}" for line in lines)


def _receiver_as_set_here() -> str:
    """Give the variables of this shell that say where webhooks are to deliver to, as they stand before a command."""
    config = current_app.config
    is_set = {"HOST", "PORT"} & os.environ.keys() and config["PORT"] and not config["PUBLIC_URL"]
    return as_variables(address(config["HOST"], config["PORT"])) if is_set else ""


def _box_as_it_is_set_up() -> str | None:
    """Give whom `signalbox box` would speak to; None where nobody."""
    try:
        return account_of(current_app.config).api_url
    except SettingsError:
        return None


def _tell(delivery: Mapping[str, Any]) -> None:
    screen.show(log_line(delivery))


for each in (do, filestack, *CONTROLS):
    sandbox.add_command(each)
