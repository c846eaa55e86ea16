"""create_app: the wiring and only the wiring. It opens no file, connects to nothing and starts nothing."""

from collections.abc import Mapping
from typing import Any

from flask import Flask

from receiver import service
from receiver.inbox.rows import Inbox
from receiver.observe import logs, metrics
from receiver.service import Service
from receiver.sources import SOURCES
from receiver.sources.accounts import Gate
from receiver.storage import db


def create_app(settings: Mapping[str, Any]) -> Flask:
    """Give the WSGI application for settings as `config.load` makes them."""
    # Loaded here, whole, before the first request, and not above: commands and workers do without.
    from receiver.web import site

    app = create_app_without_web(settings)
    site.register(app, settings)
    return app


def create_app_without_web(settings: Mapping[str, Any]) -> Flask:
    """Give what commands and workers need of it, the settings, tables, inbox and keys: in half the time and memory."""
    app = Flask("receiver", static_folder="web/static", template_folder="web/templates")
    app.config.from_mapping(settings)
    logs.configure(level=settings["LOG_LEVEL"], form=settings["LOG_FORMAT"])
    if settings["SENTRY_DSN"]:
        from receiver.observe import sentry

        sentry.start(settings["SENTRY_DSN"], environment=settings["ENV"])
    engine = db.open_engine(settings["DATABASE_URL"])
    inbox = Inbox(
        engine,
        rejected_max_count=settings["REJECTED_MAX_COUNT"],
        rejected_max_bytes=settings["REJECTED_MAX_BYTES"],
    )
    service.install(app, Service(engine=engine, inbox=inbox, gates=gates(settings), tally=metrics.start(engine)))
    return app


def gates(settings: Mapping[str, Any]) -> dict[str, Gate]:
    """Give each source its keys by slot; a source without a key is off."""
    box = {"primary": settings["BOX_PRIMARY_KEY"], "secondary": settings["BOX_SECONDARY_KEY"]}
    filestack = {f"secret {number}": secret for number, secret in enumerate(settings["FILESTACK_SECRETS"], 1)}
    skew = settings["CLOCK_SKEW"]
    return {
        "box": Gate(
            SOURCES["box"],
            {slot: key for slot, key in box.items() if key},
            ("BOX_PRIMARY_KEY", "BOX_SECONDARY_KEY"),
            settings["BOX_MAX_AGE"],
            skew,
        ),
        "filestack": Gate(SOURCES["filestack"], filestack, ("FILESTACK_SECRETS",), settings["FILESTACK_MAX_AGE"], skew),
    }
