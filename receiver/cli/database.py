"""`signalbox db`: the tables."""

import click
from flask import current_app
from flask.cli import AppGroup

from receiver import db

database = AppGroup("db", help="Bring the tables to this release.", short_help="The tables.")


@database.command()
def upgrade() -> None:
    """Bring the tables to this release's schema; where there are none yet, make them. Safe to run twice."""
    changed = db.upgrade(current_app.extensions["signalbox.engine"])
    click.echo("The tables are those of this release now." if changed else "The tables are those of this release.")
