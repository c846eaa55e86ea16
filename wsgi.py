"""Where gunicorn and the `signalbox` command start: settings in, application out."""

import os
import sys
from pathlib import Path

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


def __getattr__(name: str) -> Flask:
    # `wsgi:app` is made when a server asks for it, so that `signalbox --help` works whatever the settings are.
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()["app"] = app = build()
    return app


def main() -> None:
    """Run the `signalbox` command."""
    # As `python wsgi.py` does by itself: packages of handlers beside this file are found by the installed command too.
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from receiver.cli import cli

    cli.main(prog_name="signalbox", obj=ScriptInfo(create_app=build))


if __name__ == "__main__":
    main()
