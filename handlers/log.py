"""Writes one readable line for every event."""

from typing import Any

import structlog

from receiver import Event, on

log = structlog.get_logger("handlers.log")


@on("*")
def log_event(event: Event) -> None:
    """Write what happened, to what, in one line."""
    log.info("event", type=event.type, about=about(event), event_id=event.id)


def about(event: Event) -> str:
    """Give what an event is about as far as its payload says: a file's name and size, or an id."""
    things = [event.payload.get("source"), event.payload.get("text"), event.payload]
    for thing in things:
        if isinstance(thing, dict) and (words := _name_and_size({**thing, **_link(thing)})):
            return words
    return "-"


def _link(thing: dict[str, Any]) -> dict[str, Any]:
    link = thing.get("link")
    return link if isinstance(link, dict) else {}


def _name_and_size(thing: dict[str, Any]) -> str:
    name = thing.get("filename") or thing.get("name") or thing.get("url") or thing.get("id") or thing.get("uuid")
    size = thing.get("size")
    if not isinstance(name, str | int):
        return ""
    printable = "".join(character if character.isprintable() else "?" for character in str(name))
    return f"{printable}, {size:,} bytes" if isinstance(size, int) else printable
