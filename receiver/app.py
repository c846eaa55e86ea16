"""create_app: the wiring and only the wiring. It opens no file, connects to nothing and starts nothing."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from flask import Flask

from receiver import db, logs, metrics, sentry
from receiver.inbox import Inbox
from receiver.sources import SOURCES
from receiver.web import answers, api, auth, pages
from receiver.web.capture import capture
from receiver.web.health import health
from receiver.web.hooks import Desk, Gate, ShortWay, hooks
from receiver.web.prometheus import prometheus

FORM_TIMES = 4  # a body in a form is written longer than it is
STATIC_LASTS = timedelta(days=365)  # their addresses change with their content


def create_app(settings: Mapping[str, Any]) -> Flask:
    """Give the WSGI application for settings as `config.load` makes them."""
    app = Flask("receiver", static_folder="web/static", template_folder="web/templates")
    app.config.from_mapping(settings)
    app.config.from_mapping(
        MAX_CONTENT_LENGTH=FORM_TIMES * settings["MAX_BODY_BYTES"],
        MAX_FORM_MEMORY_SIZE=FORM_TIMES * settings["MAX_BODY_BYTES"],
        SEND_FILE_MAX_AGE_DEFAULT=STATIC_LASTS,
    )
    logs.configure(level=settings["LOG_LEVEL"], form=settings["LOG_FORMAT"])
    if settings["SENTRY_DSN"]:
        sentry.start(settings["SENTRY_DSN"], environment=settings["ENV"])
    engine = db.open_engine(settings["DATABASE_URL"])
    app.extensions["signalbox.engine"] = engine
    app.extensions["signalbox.tally"] = metrics.start(engine)
    inbox = Inbox(
        engine,
        rejected_max_count=settings["REJECTED_MAX_COUNT"],
        rejected_max_bytes=settings["REJECTED_MAX_BYTES"],
    )
    desk = Desk(gates(settings), inbox, max_body_bytes=settings["MAX_BODY_BYTES"])
    app.extensions["signalbox.inbox"] = inbox
    app.extensions["signalbox.desk"] = desk
    app.extensions["signalbox.gates"] = desk.gates
    answers.register(app)
    auth.register(app, settings)
    app.register_blueprint(hooks)
    app.register_blueprint(health)
    app.register_blueprint(prometheus)
    app.register_blueprint(capture)
    pages.register(app)
    api.register(app)
    app.wsgi_app = ShortWay(app, desk)  # type: ignore[method-assign]
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
