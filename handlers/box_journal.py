"""Keeps a journal of the files that came into Box: one line in `var/journal.jsonl` for each upload."""

from handlers._journal import append
from receiver import Discard, Event, on


@on("box:FILE.UPLOADED")
def note_upload(event: Event) -> None:
    """Note which file came, its size and who brought it; safe to run twice."""
    file = event.payload.get("source")
    if not isinstance(file, dict) or "id" not in file:
        raise Discard("the upload names no file")
    by = event.payload.get("created_by")
    append(
        event,
        file=file["id"],
        name=file.get("name"),
        size=file.get("size"),
        by=by.get("login") if isinstance(by, dict) else None,
    )
