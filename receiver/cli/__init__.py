"""The `signalbox` command: start it, send to it, and look at everything that it keeps."""

import io
import sys
from typing import Any

import click
from flask.cli import AppGroup

from receiver.cli import installation
from receiver.cli.bins import bins
from receiver.cli.box import box
from receiver.cli.database import database
from receiver.cli.doctor import doctor
from receiver.cli.events import events
from receiver.cli.handlers import handlers
from receiver.cli.jobs import jobs
from receiver.cli.listen import listen
from receiver.cli.quarantine import quarantine
from receiver.cli.rejected import rejected
from receiver.cli.run import run
from receiver.cli.sandbox import sandbox
from receiver.cli.send import send
from receiver.cli.trial import try_handler
from receiver.cli.worker import worker
from receiver.errors import PatternError, SignalboxError


class Signalbox(AppGroup):
    """Lists its commands in the order that one meets them in, and ends errors in a sentence instead of a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PatternError as error:
            raise click.UsageError(str(error)) from error
        except SignalboxError as error:
            raise click.ClickException(str(error)) from error


def _say_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"signalbox {installation.version()}")
        ctx.exit()


@click.group(cls=Signalbox, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_say_version, help="Print the version."
)
def cli() -> None:
    """Receive webhooks from Box and Filestack, keep every one, and hand each event to your handlers.

    \b
    signalbox run                      web and worker together, on this machine
    signalbox send box FILE.UPLOADED   a signed delivery, as Box would send it
    signalbox events list              what came
    signalbox events show last         what became of the newest

    Every listing takes --json, and every command -h.
    """
    # Whatever the terminal cannot write is written out instead of being an error.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


handlers.add_command(try_handler)
COMMANDS: tuple[click.Command, ...] = (
    *(run, worker, send),
    *(events, jobs, rejected, quarantine, handlers, bins),
    *(box, sandbox, listen),
    *(database, doctor),
)
for command in COMMANDS:
    cli.add_command(command)
