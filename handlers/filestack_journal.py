"""Keeps a journal of what Filestack finished: a line in `var/journal.jsonl` for each upload, export and conversion."""

from handlers._journal import append
from receiver import Discard, Event, on


@on("filestack:fp.upload", "filestack:fp.export", "filestack:fp.conversion")
def note_finished(event: Event) -> None:
    """Note which file is ready, and where; an upload that is still on its way is left out; safe to run twice."""
    text = event.payload.get("text")
    if not isinstance(text, dict):
        raise Discard("the event says nothing of a file")
    if text.get("status") == "InTransit":
        return
    link = text.get("link")
    file = link if isinstance(link, dict) else text
    append(
        event,
        name=file.get("filename"),
        size=file.get("size"),
        url=file.get("url") or text.get("source"),
        client=text.get("client"),
    )
