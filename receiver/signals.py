"""The service's own signals: what its listeners (logs, metrics, Sentry) are told. Handlers never hang here."""

from blinker import Namespace

_namespace = Namespace()

event_accepted = _namespace.signal("event-accepted", doc="event_id, source, type, verified_by, milliseconds")
event_duplicated = _namespace.signal("event-duplicated", doc="event_id, source, type, verified_by, milliseconds")
delivery_rejected = _namespace.signal("delivery-rejected", doc="rejected_id, source, reason, milliseconds")
delivery_quarantined = _namespace.signal("delivery-quarantined", doc="quarantined_id, source, fields, milliseconds")
delivery_unkept = _namespace.signal("delivery-unkept", doc="source, error, milliseconds: answered 503")
connections_ended = _namespace.signal("connections-ended", doc="ended: how many a limit ended lately, by limit")
event_routed = _namespace.signal("event-routed", doc="event_id, type, handlers, drift: how many of each")
attempt_finished = _namespace.signal(
    "attempt-finished", doc="job_id, event_id, type, handler, attempt, outcome, milliseconds, error, cause"
)
job_buried = _namespace.signal("job-buried", doc="job_id, event_id, type, handler, attempt, outcome, error, cause")
worker_troubled = _namespace.signal("worker-troubled", doc="error: the database did not answer the worker")
registration_died = _namespace.signal("registration-died", doc="event_id, webhook_id, target: None where not from here")
registration_revived = _namespace.signal("registration-revived", doc="webhook_id, target: it was made again")
registration_unrevived = _namespace.signal("registration-unrevived", doc="target, error: None for all that are dead")
