"""/api/handlers: which functions want which events, how their jobs stand; pause and resume."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Response

from receiver.jobs import registry
from receiver.jobs import store as jobs
from receiver.jobs.dead_letters import Count
from receiver.service import engine
from receiver.web.api.resource import Resource
from receiver.web.api.response import give
from receiver.web.schemas.handlers import Handler, HandlerLine
from receiver.web.schemas.shape import page_of

handlers = Resource("Handlers", __name__, path="/handlers", description="Which functions want which events.")
NAME = {
    "in": "path",
    "name": "name",
    "description": "The name of the handler.",
    "example": "handlers.box_journal.note_upload",
}


@handlers.operation("GET", "", gives=page_of(HandlerLine))
def list_handlers() -> Response:
    """List the handlers that the workers have loaded, by name, all of them on one page."""
    return give({"items": _with_counts(registry.list_handlers(engine())), "next": None})


@handlers.operation("GET", "/<name>", parameters=[NAME], gives=Handler, refuses=(404,))
def show_handler(name: str) -> Response:
    """Show a handler with its latest failures."""
    return give(_whole(name))


@handlers.operation("POST", "/<name>/pause", parameters=[NAME], gives=Handler, refuses=(404,))
def pause_handler(name: str) -> Response:
    """Begin no job of a handler until it is resumed; what runs now runs to its end."""
    registry.show_handler(engine(), name)
    jobs.pause_handler(engine(), name, datetime.now(UTC))
    return give(_whole(name))


@handlers.operation("POST", "/<name>/resume", parameters=[NAME], gives=Handler, refuses=(404,))
def resume_handler(name: str) -> Response:
    """Run the jobs of a handler again, at once where they wait."""
    registry.show_handler(engine(), name)
    jobs.resume_handler(engine(), name, datetime.now(UTC))
    return give(_whole(name))


def _whole(name: str) -> dict[str, Any]:
    (item,) = _with_counts([registry.show_handler(engine(), name)])
    return item | {"failures": registry.list_failures(engine(), name)}


def _with_counts(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = registry.job_counts(engine(), [item["name"] for item in items])
    return [item | _told(found[item["name"]]) for item in items]


def _told(found: Mapping[str, Count]) -> dict[str, Any]:
    return {
        "jobs": {state: count.number for state, count in found.items()},
        "capped": [state for state, count in found.items() if not count.is_whole],
    }
