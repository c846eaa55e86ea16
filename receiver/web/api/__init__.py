"""The JSON API under /api/: one module for each kind of thing, and its documentation."""

from flask import Flask


def register(app: Flask) -> None:
    """Connect every resource of the API, and describe them all in one OpenAPI document."""
    from receiver.web.api.bins import bins
    from receiver.web.api.captures import captures
    from receiver.web.api.document import serve
    from receiver.web.api.events import events
    from receiver.web.api.handlers import handlers
    from receiver.web.api.jobs import jobs
    from receiver.web.api.quarantine import quarantine
    from receiver.web.api.rejected import rejected
    from receiver.web.api.stats import stats

    serve(app, (events, jobs, rejected, quarantine, bins, captures, handlers, stats))
