"""Where gunicorn, Celery and the `signalbox` command start: settings in, application out."""

import os
import sys
from pathlib import Path
from typing import Any

from flask import Flask
from flask.cli import ScriptInfo

from config import load
from receiver.app import create_app
from receiver.errors import SettingsError


def build() -> Flask:
    """Give the application that the environment describes; what is wrong with it goes to standard error at once."""
    try:
        return create_app(load(os.environ))
    except SettingsError as error:
        sys.exit(str(error))


def build_celery() -> Any:
    """Give the Celery application of this installation: `celery -A wsgi.celery worker`."""
    from receiver.cli.installation import start_celery

    _find_handlers_here()
    try:
        return start_celery(build())
    except SettingsError as error:
        sys.exit(str(error))


def __getattr__(name: str) -> Any:
    # Made when a server asks for it, so that `signalbox --help` works whatever the settings are.
    makers = {"app": build, "celery": build_celery}
    if name not in makers:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = made = makers[name]()
    return made


def _find_handlers_here() -> None:
    # As `python wsgi.py` does by itself: packages of handlers beside this file are found by the installed command too.
    sys.path.insert(0, str(Path(__file__).resolve().parent))


def main() -> None:
    """Run the `signalbox` command."""
    _find_handlers_here()
    from receiver.cli import cli

    cli.main(prog_name="signalbox", obj=ScriptInfo(create_app=build))


if __name__ == "__main__":
    main()
