"""One event or one refused delivery: what it says, how it came, what became of it; replay, compare, copy, download."""

from flask import Blueprint

from receiver.web.pages.event.actions import actions
from receiver.web.pages.event.comparison import comparison
from receiver.web.pages.event.event import shown
from receiver.web.pages.event.kept_apart import kept_apart

event = Blueprint("event", __name__)
for part in (shown, actions, comparison, kept_apart):
    event.register_blueprint(part)
