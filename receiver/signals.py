"""The service's own signals: logs, metrics, Sentry and your code listen to them. Handlers are never connected here.

A listener hears of something, and changes nothing for the sender: one that raises is reported once, and the others are
called all the same.
"""

import inspect
from collections.abc import Callable
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from blinker import NamedSignal, Namespace

from receiver.errors import HandlerError
from receiver.runtime import forks, tracebacks

MOST_COMPLAINTS = 1000


class Notice(NamedSignal):
    """A signal whose `send` calls each listener by itself, and raises none of their errors."""

    def connect(self, receiver: Any, *where: Any, **how: Any) -> Any:
        """Connect a listener; HandlerError for an async one, whose body would never run."""
        if inspect.iscoroutinefunction(receiver):
            raise HandlerError(f"{_name_of(receiver)} is async: a listener is a plain function")
        return super().connect(receiver, *where, **how)

    def send(self, sender: Any = None, /, **details: Any) -> list[tuple[Callable[..., Any], Any]]:
        """Call every listener, whatever another one does; their return values are ignored."""
        if self.is_muted:
            return []
        began = forks.generation()
        for listener in self.receivers_for(sender):
            try:
                listener(sender, **details)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a listener may raise anything, and must not disturb the sender
                forks.end_child(began, error)
                _complain(self, listener, error)
        forks.end_child(began)
        return []


_namespace = Namespace()
_complaints: set[tuple[str, str, str]] = set()


def _signal(name: str, doc: str) -> Notice:
    notice = _namespace[name] = Notice(name, doc)
    return notice


def _complain(notice: Notice, listener: Any, error: BaseException) -> None:
    """Log a listener that raised, once for each type of error: it may raise with every event."""
    name = _name_of(listener)
    kind = tracebacks.name_of(error)
    complaint = (notice.name, name, kind)
    if notice is not listener_failed and complaint not in _complaints and len(_complaints) < MOST_COMPLAINTS:
        _complaints.add(complaint)
        listener_failed.send(listener=name, signal=notice.name, error=kind, where=tracebacks.place_of(error))


def _name_of(listener: Any) -> str:
    """Return the name of a listener: for a `partial` that of its function, for an object that of its class."""
    function = listener.func if isinstance(listener, partial) else listener
    named = function if isinstance(function, FunctionType | MethodType) else type(function)
    return f"{named.__module__}.{named.__qualname__}"


event_accepted = _signal("event-accepted", doc="event_id, source, type, verified_by, milliseconds")
event_duplicated = _signal("event-duplicated", doc="event_id, source, type, verified_by, milliseconds")
delivery_rejected = _signal(
    "delivery-rejected", doc="rejected_id, source, reason, milliseconds: refused, and kept unless there are too many"
)
request_astray = _signal("request-astray", doc="status: for a path that does not exist, outside /hooks")
refusals_written = _signal("refusals-written", doc="kept, left_out: how many, since the last time")
delivery_quarantined = _signal("delivery-quarantined", doc="quarantined_id, source, fields, milliseconds")
file_open_to_others = _signal("file-open-to-others", doc="path, error: its permissions could not be changed")
login_tried = _signal(
    "login-tried", doc="by, outcome, address: opened, wrong or locked_out, and then wait_seconds, by password or token"
)
delivery_unkept = _signal("delivery-unkept", doc="source, error, milliseconds: responded with 503")
connections_ended = _signal("connections-ended", doc="ended: how many connections each limit ended lately")
event_routed = _signal("event-routed", doc="event_id, type, handlers, drift: how many of each")
attempt_finished = _signal(
    "attempt-finished", doc="job_id, event_id, type, handler, attempt, outcome, milliseconds, error, cause"
)
job_buried = _signal("job-buried", doc="job_id, event_id, type, handler, attempt, outcome, error, cause")
worker_troubled = _signal(
    "worker-troubled", doc="error: the database did not respond to the worker, or a thread of it ended"
)
registration_died = _signal("registration-died", doc="event_id, webhook_id, target: None if it is not from here")
registration_revived = _signal("registration-revived", doc="webhook_id, target: it was registered again")
registration_unrevived = _signal("registration-unrevived", doc="target, error: None for all that are dead")
listener_failed = _signal("listener-failed", doc="listener, signal, error, where: reported once for each combination")
