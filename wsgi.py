"""Where gunicorn, Celery and the `signalbox` command start: settings in, application out.

What takes long to load is imported where it is needed, so that a command starts at once.
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from receiver.errors import SettingsError

if TYPE_CHECKING:
    from flask import Flask


def build() -> "Flask":
    """Give the application that the environment describes; what is wrong with it goes to standard error at once."""
    from receiver.app import create_app

    return _make(create_app)


def build_without_web() -> "Flask":
    """Give the same to a command or a worker, which serves nobody."""
    from receiver.app import create_app_without_web

    return _make(create_app_without_web)


def _make(create: "Callable[[Mapping[str, Any]], Flask]") -> "Flask":
    from config import load, misspelt
    from receiver import service

    try:
        app = create(load(os.environ))
        service.of(app).misspelt = misspelt(os.environ)
        return app
    except SettingsError as error:
        sys.exit(str(error))


def build_celery() -> Any:
    """Give the Celery application of this installation: `celery -A wsgi.celery worker`."""
    from receiver.cli.installation import start_celery

    _find_handlers_here()
    try:
        return start_celery(build_without_web())
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

    cli.main(prog_name="signalbox", obj=build_without_web)


if __name__ == "__main__":
    main()
