"""Is the process up (`/healthz`), and could it keep a delivery now (`/readyz`)?"""

from datetime import UTC, datetime

from flask import Blueprint, Response, current_app

from receiver import db
from receiver.errors import SignalboxError
from receiver.inbox import Inbox
from receiver.web.answers import Answer

health = Blueprint("health", __name__)


@health.get("/healthz")
def alive() -> Response:
    return Answer(200, {"status": "ok"}).response()


@health.get("/readyz")
def ready() -> Response:
    """Answer 200 when the schema is current and a commit just went through; otherwise 503 with what is wrong."""
    inbox: Inbox = current_app.extensions["signalbox.inbox"]
    try:
        db.require_current(current_app.extensions["signalbox.engine"])
        inbox.probe(datetime.now(UTC))
    except SignalboxError as error:
        return Answer(503, {"status": "unavailable", "detail": str(error)}, {"Retry-After": "10"}).response()
    return Answer(200, {"status": "ok"}).response()
