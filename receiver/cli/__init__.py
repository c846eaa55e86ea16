"""The `signalbox` command: start it, send to it, and look at everything that it keeps."""

import io
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import click

from receiver.errors import PatternError, SignalboxError
from receiver.runtime.version import version

# In the order that one meets them in: the module of each, which gives it the module's name, and what `-h` says of it.
COMMANDS = {
    "init": ("init", "Write a new installation into a folder."),
    "run": ("run", "Start web and worker on this machine."),
    "worker": ("worker", "Route events and run jobs."),
    "send": ("send", "Send a signed sample, or a faulty one."),
    "events": ("events", "What came."),
    "jobs": ("jobs", "What runs."),
    "rejected": ("rejected", "What was refused."),
    "quarantine": ("quarantine", "What could not be read."),
    "handlers": ("handlers", "Which functions want what."),
    "bins": ("bins", "Record any request."),
    "box": ("box", "Register webhooks at Box."),
    "sandbox": ("sandbox", "Stand in for Box and Filestack, and act there."),
    "listen": ("listen", "Forward what comes elsewhere to a URL here."),
    "db": ("database", "The tables."),
    "doctor": ("doctor", "Check everything, and say what mends it."),
}


class Commands(Mapping[str, click.Command]):
    """The commands by name; each is loaded when it is asked for, as one is called and the others only listed."""

    def __getitem__(self, name: str) -> click.Command:
        module, short_help = COMMANDS[name]
        command: click.Command = getattr(import_module(f"receiver.cli.{module}"), module)
        command.short_help = short_help
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class Signalbox(click.Group):
    """Lists its commands in the order that one meets them in, and ends errors in a sentence instead of a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, short_help) for name, (_module, short_help) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PatternError as error:
            raise click.UsageError(str(error)) from error
        except SignalboxError as error:
            raise click.ClickException(str(error)) from error


def _say_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"signalbox {version()}")
        ctx.exit()


@click.group(
    cls=Signalbox,
    commands=Commands(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_say_version, help="Print the version."
)
@click.pass_context
def cli(ctx: click.Context) -> None:
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
    _know_how_to_make_the_app(ctx)


def _know_how_to_make_the_app(ctx: click.Context) -> None:
    """Take the function that was given to `cli.main` as `obj` for what Flask's commands make their application by."""
    from flask.cli import ScriptInfo  # not above: --version and -h do without Flask

    if not isinstance(ctx.obj, ScriptInfo):
        ctx.obj = ScriptInfo(create_app=ctx.obj)
