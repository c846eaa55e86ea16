"""Is the process up (`/healthz`), and could it keep a delivery now (`/readyz`)?"""

import hmac
from datetime import UTC, datetime

from flask import Blueprint, Response, current_app, request

from receiver import service
from receiver.errors import SchemaError, StoreError
from receiver.observe.logs import log
from receiver.storage import db
from receiver.web.responses import RETRY_AFTER_SECONDS, Answer

health = Blueprint("health", __name__)


@health.get("/healthz")
def alive() -> Response:
    return Answer(200, {"status": "ok"}).response()


@health.get("/readyz")
def ready() -> Response:
    """Answer 200 when the schema is current and a commit just went through; otherwise 503 with what is wrong.

    Asked with a fingerprint of keys, a process that is ready says as well whether its own are the same.
    """
    own = service.current()
    try:
        with db.limited(own.engine):
            db.require_current(own.engine)
            own.inbox.probe(datetime.now(UTC))
    except SchemaError as error:
        return _unavailable(str(error))
    except StoreError as error:
        # What a driver says may hold the server's name, and of a malformed address more: this is open to anybody.
        log.error("readyz", error=str(error))
        return _unavailable("The database cannot be reached or written; the log says why.")
    return Answer(200, {"status": "ok"} | _compare_keys()).response()


def _unavailable(detail: str) -> Response:
    return Answer(
        503, {"status": "unavailable", "detail": detail}, {"Retry-After": str(RETRY_AFTER_SECONDS)}
    ).response()


def _compare_keys() -> dict[str, str]:
    given = request.headers.get(service.KEYS_HEADER)
    if given is None:
        return {}
    own = service.fingerprint_of_keys(current_app) or ""
    return {"keys": "same" if hmac.compare_digest(given.encode(), own.encode()) else "others"}
