"""Writes a line to the log for each file that is uploaded to Box. An example: change it, or delete it."""

import logging

from receiver import Discard, Event, on

log = logging.getLogger(__name__)


@on("box:FILE.UPLOADED")
def note_upload(event: Event) -> None:
    """Log the name of an uploaded file; it may run twice for the same event, and that does no harm."""
    log.warning("uploaded: %s", name_of(event))


def name_of(event: Event) -> str:
    """Return the name of the file. An event without one will not get better: Discard ends its job for good."""
    file = event.payload.get("source")
    if not isinstance(file, dict) or "name" not in file:
        raise Discard("the upload names no file")
    return str(file["name"])
