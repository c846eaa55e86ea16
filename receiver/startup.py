"""Where gunicorn, Celery and the `signalbox` command start: settings in, application out.

What takes long to load is imported where it is needed, so that a command starts at once.
"""

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from receiver.errors import SettingsError
from receiver.runtime.folder import folder

if TYPE_CHECKING:
    from flask import Flask


def build() -> "Flask":
    """Return the application that the environment describes; what is wrong with it goes to standard error at once."""
    from receiver.app import create_app

    return _make(create_app)


def build_without_web() -> "Flask":
    """Return the same for a command or a worker, which serves nobody."""
    from receiver.app import create_app_without_web

    return _make(create_app_without_web)


def _make(create: "Callable[[Mapping[str, Any]], Flask]") -> "Flask":
    from receiver import service
    from receiver.environment import load, misspelt

    try:
        app = create(load(os.environ))
        service.of(app).misspelt = misspelt(os.environ)
        return app
    except SettingsError as error:
        sys.exit(str(error))


def build_celery() -> Any:
    """Return the Celery application of this installation: `celery -A wsgi.celery worker`."""
    from receiver.cli.installation import start_celery

    find_handlers()
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


def find_handlers() -> None:
    """Let Python find the packages of handlers in the installation's folder, as `python wsgi.py` does by itself."""
    if (here := str(folder())) not in sys.path:
        sys.path.insert(0, here)


def main() -> None:
    """Run the `signalbox` command."""
    find_handlers()
    from receiver.cli import cli

    cli.main(prog_name="signalbox", obj=build_without_web)
