"""/api/stats: how much came, how it was answered, how the handlers fare, and how things stand."""

from datetime import UTC, datetime
from typing import Any

from flask import Response

from receiver.observe import metrics
from receiver.service import engine
from receiver.web.api.resource import Resource
from receiver.web.api.response import give
from receiver.web.schemas.stats import Stats, StatsAsked

stats = Resource("Stats", __name__, path="/stats", description="The figures behind the dashboard.")


@stats.operation("GET", "", takes=StatsAsked, gives=Stats)
def show_stats(asked: dict[str, Any]) -> Response:
    """Show the figures of the last hours or days, and how things stand now."""
    at = datetime.now(UTC)
    return give({"now": metrics.now(engine(), at), **metrics.read(engine(), **metrics.window(asked["window"], at))})
