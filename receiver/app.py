"""create_app: the wiring and only the wiring. It opens no file, connects to nothing and starts nothing."""

from collections.abc import Mapping
from typing import Any

from flask import Flask

from receiver import service
from receiver.inbox.rows import Inbox
from receiver.observe import logs, metrics
from receiver.service import Service
from receiver.sources import PROFILES, TROUBLE, Profile
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
    for point, reason in TROUBLE.items():
        logs.log.error("source_not_loaded", entry_point=point, reason=reason)
    engine = db.open_engine(settings["DATABASE_URL"])
    inbox = Inbox(
        engine,
        rejected_max_count=settings["REJECTED_MAX_COUNT"],
        rejected_max_bytes=settings["REJECTED_MAX_BYTES"],
    )
    service.install(app, Service(engine=engine, inbox=inbox, gates=gates(settings), tally=metrics.start(engine)))
    return app


def gates(settings: Mapping[str, Any]) -> dict[str, Gate]:
    """Return each source with its keys by slot; a source without a key is off."""
    return {name: _gate(profile, settings) for name, profile in PROFILES.items()}


def _gate(profile: Profile, settings: Mapping[str, Any]) -> Gate:
    max_age = settings.get(profile.max_age_setting.removesuffix("_SECONDS"), profile.max_age)
    return Gate(profile.source, profile.keys_by_slot(settings), profile.settings, max_age, settings["CLOCK_SKEW"])
