"""`signalbox run`: web and worker together on this machine, as the Procfile says."""

import errno
import os
import socket
import sys
import sysconfig
from collections.abc import Sequence

import click
from flask import current_app
from flask.cli import with_appcontext
from rich.text import Text

from receiver import service
from receiver.cli import screen
from receiver.cli.installation import command
from receiver.cli.supervisor import parse_procfile, supervise
from receiver.outbound.addresses import address, as_variables, hook_url
from receiver.runtime.folder import folder
from receiver.sources import PROFILES
from receiver.storage import db

PROCESSES = ("web", "worker")
# What a folder without a Procfile runs.
DEFAULT_COMMANDS = {
    "web": "gunicorn --config python:receiver.web.serving.here receiver.startup:app",
    "worker": "signalbox worker",
}


@click.command()
@click.option("--host", help="Address to listen on.  [default: HOST, 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one.  [default: PORT, 8000]")
@with_appcontext
def run(host: str | None, port: int | None) -> None:
    """Bring the tables up to date, then start web and worker together and show what they say. Ctrl-C ends both.

    This is for development. Where it counts, run the two lines of the Procfile under a supervisor of its own.
    """
    host = host or current_app.config["HOST"]
    port = _free_port(host, current_app.config["PORT"] if port is None else port)
    engine = service.current().engine
    db.upgrade(engine)
    engine.dispose()  # what is forked must not share connections
    _welcome(host, port)
    sys.exit(supervise(_commands(), environment=_environment(host, port), folder=folder()))


def _free_port(host: str, port: int) -> int:
    """Give the port if nobody listens there, and any free one for 0."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As gunicorn does: a port whose last connections are only fading out is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = "something listens there already" if error.errno == errno.EADDRINUSE else error.strerror
            message = (
                f"{address(host, port)} cannot be used: {reason}. --port names another port, --port 0 any free one."
            )
            raise click.ClickException(message) from error
        return int(probe.getsockname()[1])


def _environment(host: str, port: int) -> dict[str, str]:
    scripts = sysconfig.get_path("scripts")
    return {
        **os.environ,
        "HOST": host,
        "PORT": str(port),
        "PATH": os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
    }


def _welcome(host: str, port: int) -> None:
    base = address(host, port)
    gates = service.current().gates
    on = [name for name, gate in gates.items() if gate.keys]
    hooks = [(name, _hook(base, name, gates[name].settings if name not in on else ())) for name in gates]
    here_only = _is_told_here_only(base)
    screen.show(
        Text.assemble(("\nSignalbox", "bold"), " listens on ", (base, "cyan"), "\n"),
        screen.facts([*hooks, ("pages", _who_sees_the_pages()), ("data", _where_data_is_kept())]),
        _suggestions(on, to=f" --to {base}" if here_only else "", before=as_variables(base) if here_only else ""),
    )


def _hook(base: str, source: str, missing: Sequence[str]) -> Text:
    if missing:
        return Text(f"off: set {' or '.join(missing)} to turn it on", style="yellow")
    return Text.assemble((hook_url(base, source), "cyan"))


def _who_sees_the_pages() -> str:
    if current_app.config["ADMIN_PASSWORD"]:
        return "for who knows ADMIN_PASSWORD"
    return "for everybody on this machine, and who comes by a raw TCP tunnel to it (ssh -R): ADMIN_PASSWORD closes them"


def _where_data_is_kept() -> str:
    url = service.engine().url
    return str(url.database) if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)


def _is_told_here_only(base: str) -> bool:
    """Say whether another terminal, without our options and variables, would look for us somewhere else."""
    settings = current_app.config
    return base != address(settings["HOST"], settings["PORT"]) or "HOST" in os.environ or "PORT" in os.environ


def _suggestions(on: list[str], *, to: str, before: str) -> Text:
    sends = [f"send {source} {PROFILES[source].example}{to}" for source in on[:1]]
    signalbox = command()
    tips = [f"{signalbox} {words}" for words in [*sends, "events list", "events show last"]]
    lines = "\n".join(f"  {tip}" for tip in [*tips, f"{before}{signalbox} sandbox"])
    there = " with the same DATABASE_URL" if "DATABASE_URL" in os.environ else ""
    return Text.assemble(f"\nTry, in another terminal{there}:\n", (lines, "green"), "\n")


def _commands() -> dict[str, str]:
    """Return the command of each process: as the Procfile has it, or the engine's own where there is no Procfile."""
    procfile = folder() / "Procfile"
    if not procfile.exists():
        return DEFAULT_COMMANDS
    commands = parse_procfile(procfile.read_text(encoding="utf-8"))
    missing = [name for name in PROCESSES if name not in commands]
    if missing:
        raise click.ClickException(f"{procfile} has no line for {' and '.join(missing)}.")
    return {name: commands[name] for name in PROCESSES}
