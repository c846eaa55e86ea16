"""Everything that a web process answers, connected to an application: hooks, bins, pages, API, health and figures."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from flask import Flask

from receiver import service
from receiver.bins import Recorder
from receiver.web import api, auth, pages, responses
from receiver.web.capture import capture
from receiver.web.health import health
from receiver.web.hooks import Desk, ShortWay, hooks
from receiver.web.sse import Hub
from receiver.web.stats.prometheus import prometheus

FORM_TIMES = 4  # a body in a form is written longer than it is
STATIC_LASTS = timedelta(days=365)  # their addresses change with their content


def register(app: Flask, settings: Mapping[str, Any]) -> None:
    """Let an application that has its inbox and its gates answer requests."""
    app.config.from_mapping(
        MAX_CONTENT_LENGTH=FORM_TIMES * settings["MAX_BODY_BYTES"],
        MAX_FORM_MEMORY_SIZE=FORM_TIMES * settings["MAX_BODY_BYTES"],
        SEND_FILE_MAX_AGE_DEFAULT=STATIC_LASTS,
    )
    own = service.of(app)
    desk = Desk(
        own.gates,
        own.inbox,
        max_body_bytes=settings["MAX_BODY_BYTES"],
        is_behind_proxy=settings["ENV"] == "production",
    )
    own.add(desk)
    own.add(Recorder(own.engine, goes_first=lambda: desk.inbox.is_waited_for))
    own.add(Hub(app))
    responses.register(app)
    auth.register(app, settings)
    app.register_blueprint(hooks)
    app.register_blueprint(health)
    app.register_blueprint(prometheus)
    app.register_blueprint(capture)
    pages.register(app)
    api.register(app)
    app.wsgi_app = ShortWay(app, desk)  # type: ignore[method-assign]
