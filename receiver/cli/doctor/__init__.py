"""`signalbox doctor`: whether everything that has to be there is, and what mends what is not."""

from collections.abc import Iterator
from dataclasses import asdict

import click
from flask import Flask
from flask.cli import ScriptInfo
from rich.text import Text

from receiver.cli import options, screen
from receiver.cli.doctor import checks
from receiver.cli.doctor.checks import Finding
from receiver.cli.doctor.integrity import damage
from receiver.errors import SettingsError, SignalboxError
from receiver.storage import db

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command()
@click.option("--url", help="Where a web process is reached.  [default: HOST and PORT]")
@options.as_json
@click.pass_context
def doctor(context: click.Context, url: str | None, as_json: bool) -> None:
    """Check settings, database, keys, handlers, workers, what waits, the clock, the broker, and whether web answers.

    Each line is `ok`, `warn` or `fail`, with what mends it. Exit status 1 where something fails.
    """
    found = []
    for finding in _examine(context.ensure_object(ScriptInfo), url):
        found.append(finding)
        if not as_json:
            screen.show(*_lines(finding))
    failed = any(finding.state == "fail" for finding in found)
    if as_json:
        screen.show_json({"healthy": not failed, "items": [asdict(finding) for finding in found], "next": None})
    context.exit(int(failed))


def _examine(info: ScriptInfo, url: str | None) -> Iterator[Finding]:
    try:
        app = info.load_app()
    except SystemExit as stop:  # wsgi.py ends the process where the settings are no good: here that is a finding
        yield from _of_settings(stop)
        return
    with app.app_context():
        yield from _examine_app(app, url)


def _examine_app(app: Flask, url: str | None) -> Iterator[Finding]:
    yield from _look("settings", checks.settings(app))
    database = list(_look("database", checks.database(app)))
    yield from database
    yield from _look("disk", checks.disk(app))
    yield from _look("keys", checks.keys(app))
    yield from _look("sources", checks.sources(app))
    if all(finding.state == "ok" for finding in database):
        for check in (damage, *checks.OF_THE_TABLES):
            yield from _look(check.__name__, check(app))
    if app.config["CELERY_BROKER_URL"]:
        yield from _look("broker", _broker(app))
    yield from _look("web", checks.web(app, url))


def _broker(app: Flask) -> Iterator[Finding]:
    # Imported where it is used: Celery takes a quarter of a second, and may not be installed.
    from receiver.cli.doctor.broker import broker

    yield from broker(app)


def _look(name: str, check: Iterator[Finding]) -> Iterator[Finding]:
    """Give what a check finds. One that fails itself is a finding too, and keeps no other from looking."""
    try:
        yield from check
    except SignalboxError as error:
        yield Finding(name, "fail", str(error), checks.MEND_DAMAGE if db.is_damage(error) else "")
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one thing, the others are looked at
        yield Finding(name, "fail", f"it cannot be looked at: {type(error).__name__}: {error}")


def _of_settings(stop: SystemExit) -> Iterator[Finding]:
    error = stop.__context__
    if not isinstance(error, SettingsError):
        raise stop
    for name, messages in error.problems.items():
        yield Finding("settings", "fail", f"{name} {' '.join(messages)}", f"Set it {error.where}.")


def _lines(finding: Finding) -> Iterator[Text]:
    said = screen.styled(finding.said)
    yield Text.assemble((f"{finding.state:<4}", STYLES[finding.state]), f"  {finding.name:<10}  ", said)
    if finding.mend:
        yield Text.assemble(" " * 18, ("→ ", "dim"), screen.styled(finding.mend, "dim"))
