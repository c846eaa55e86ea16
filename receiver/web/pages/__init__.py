"""The pages: one module each."""

from flask import Flask

from receiver.web.page import prepare


def register(app: Flask) -> None:
    """Connect every page, and what their templates use."""
    from receiver.web.pages.bins import bins
    from receiver.web.pages.event import event
    from receiver.web.pages.handlers import handlers
    from receiver.web.pages.inbox import inbox
    from receiver.web.pages.live_page import live
    from receiver.web.pages.registrations import registrations
    from receiver.web.pages.send import send
    from receiver.web.pages.stats import stats

    prepare(app)
    for page in (inbox, event, live, bins, send, handlers, stats, registrations):
        app.register_blueprint(page)
