"""This installation as the commands see it: its tables, its handlers, its address, its version."""

import sys
import sysconfig
import tomllib
from contextlib import redirect_stdout
from os.path import relpath
from pathlib import Path
from shutil import which

import sqlalchemy as sa
from flask import current_app

from receiver import db
from receiver.routing import Router, router

ROOT = Path(__file__).resolve().parents[2]
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is listened on, and where that is reached


def open_tables() -> sa.Engine:
    """Give the engine; SchemaError, with the command that mends it, unless the tables are those of this release."""
    engine: sa.Engine = current_app.extensions["signalbox.engine"]
    db.require_current(engine)
    return engine


def load_handlers() -> Router:
    """Give the router with every handler connected; what modules print while they load goes to standard error."""
    with redirect_stdout(sys.stderr):
        router.load(current_app.config["HANDLERS"])
    return router


def address(host: str, port: int) -> str:
    """Give the URL under which this machine reaches what listens there."""
    reached = _EVERYWHERE.get(host, host)
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def hook_url(base: str, source: str) -> str:
    return f"{base}/hooks/{source}"


def command() -> str:
    """Give what to type for `signalbox`: the whole path where the shell would not find it."""
    return "signalbox" if which("signalbox") else relpath(Path(sysconfig.get_path("scripts"), "signalbox"))


def version() -> str:
    # Not from the metadata of the package: on Heroku only the requirements are installed.
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])
