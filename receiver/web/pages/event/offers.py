"""Whom an event can be given to again, or for the first time: by its jobs, and by what the workers have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from receiver.jobs import registry
from receiver.jobs.routing import matches
from receiver.observe.documents import Document
from receiver.observe.records import EventDetail, EventRecord
from receiver.service import engine


@dataclass(frozen=True, slots=True)
class Offers:
    """Handlers of an event: those that a replay runs, each with whether it had the event, and those without a job.

    A replay runs its jobs that do not run now, and the handlers of the workers that want an event of its type. A
    module that does not import wants every event. `new` want its type and have no job of it; `others` do not want it.
    """

    replays: Mapping[str, bool]
    new: Sequence[str]
    others: Sequence[str]


def offers(item: EventDetail) -> Offers:
    had = {job.handler for job in item.jobs}
    runs_now = {job.handler for job in item.jobs if job.state == "running"}
    known = [one for one in registry.list_handlers(engine()) if one["name"] not in had]
    wanting = [one for one in known if one["trouble"] is not None or wants(one, types(item))]
    names = sorted({*had, *(one["name"] for one in wanting)} - runs_now)
    return Offers(
        {name: name in had for name in names},
        sorted(one["name"] for one in wanting if one["trouble"] is None),
        sorted(one["name"] for one in known if one not in wanting),
    )


def types(item: EventRecord) -> tuple[str, str]:
    """Give an event's type, and the raw name that patterns match as well."""
    return item.type, f"{item.source}:{item.name}"


def wants(handler: Document, types: Sequence[str]) -> bool:
    return any(matches(pattern, each) for pattern in handler["patterns"] for each in types)
