"""Reports unhandled errors, dead jobs and dead registrations to Sentry, by name: no payload or key leaves."""

import atexit
from typing import Any

import sentry_sdk
from flask import Flask, got_request_exception
from sentry_sdk.types import Event as SentryEvent

from receiver import signals

KEPT = frozenset(
    {"event_id", "timestamp", "level", "platform", "release", "environment", "tags", "exception", "message",
     "fingerprint", "sdk", "contexts", "type", "logger"}
)  # fmt: skip

# Long enough to report a few jobs to a Sentry that is a second away. Web and worker, which may have used up their grace
# before (25 and 20 s), still end in time for a host that kills after 30 s.
FLUSH_SECONDS = 8.0


def start(dsn: str, *, environment: str, transport: Any = None) -> None:
    """Start the client and listen. Sentry's integrations are all off: each would send parts of a request along."""
    sentry_sdk.init(
        dsn,
        environment=environment,
        transport=transport,
        default_integrations=False,
        auto_enabling_integrations=False,
        include_local_variables=False,
        max_breadcrumbs=0,
        before_send=scrub,
    )
    # Connected once, however often this is called, as tests do.
    atexit.unregister(flush)
    atexit.register(flush)
    got_request_exception.connect(_unhandled, weak=False)
    signals.job_buried.connect(_buried, weak=False)
    signals.registration_died.connect(_died, weak=False)


def flush() -> None:
    """Send what waits to be sent, for FLUSH_SECONDS at most: call it before the process ends, or it is lost."""
    sentry_sdk.flush(timeout=FLUSH_SECONDS)


def scrub(event: SentryEvent, _hint: dict[str, Any]) -> SentryEvent:
    """Return only the listed fields, and of an exception its type and place: its message may quote a payload."""
    kept: Any = {name: value for name, value in event.items() if name in KEPT}
    for exception in (kept.get("exception") or {}).get("values", []):
        exception["value"] = "(kept here: see signalbox events show)"
        for frame in (exception.get("stacktrace") or {}).get("frames", []):
            frame.pop("vars", None)
    return kept  # type: ignore[no-any-return]


def _unhandled(_app: Flask, exception: BaseException, **_more: Any) -> None:
    sentry_sdk.capture_exception(exception)


def _buried(_worker: object, *, cause: BaseException | None, **details: Any) -> None:
    with sentry_sdk.new_scope() as scope:
        scope.set_tag("event_id", details["event_id"])
        scope.set_tag("source", details["type"].partition(":")[0])
        scope.set_tag("type", details["type"])
        scope.set_tag("handler", details["handler"])
        scope.set_tag("outcome", details["outcome"])
        if cause is not None:
            scope.capture_exception(cause)
        else:
            scope.capture_message(f"dead job of {details['handler']} ({details['outcome']})", level="error")


def _died(_sender: object, *, event_id: str, webhook_id: str, target: str | None) -> None:
    with sentry_sdk.new_scope() as scope:
        scope.set_tag("event_id", event_id)
        scope.set_tag("source", "box")
        scope.set_tag("webhook_id", webhook_id)
        scope.set_tag("target", target or "not from here")
        scope.capture_message("Box removed a webhook: nothing more comes from it", level="error")
