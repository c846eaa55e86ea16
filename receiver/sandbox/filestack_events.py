"""What Filestack would report: the actions of its users, and the bodies that the sandbox sends for each."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from receiver.sandbox.box_errors import Wrong, bad_request
from receiver.sandbox.store import SandboxStore
from receiver.sources.filestack import samples

_FIRST_ID = 80_000_001
_NOT_STORED = ("container", "key", "status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One action as it was asked for. An empty field is as in the sample."""

    action: str
    way: str = ""
    filename: str = ""
    client: str = ""


@dataclass(frozen=True, slots=True)
class FilestackAction:
    """One action of Filestack's: its name on the wire, and the ways in which it can happen, the usual one first."""

    name: str
    help: str
    ways: tuple[str, ...] = ()


KINDS: Mapping[str, FilestackAction] = {
    "upload": FilestackAction(
        "fp.upload",
        "Pick a file: stored, as a link to a cloud drive, or reported as InTransit and then Stored.",
        ("store", "symlink", "transit"),
    ),
    "export": FilestackAction("fp.export", "Save a file to somebody's cloud drive."),
    "conversion": FilestackAction("fp.converse", "Convert an image or a document."),
    "overwrite": FilestackAction("fp.overwrite", "Write over a file."),
    "delete": FilestackAction("fp.delete", "Delete a file."),
    "dialog": FilestackAction("fp.dialog", "Open the picker."),
    "workflow": FilestackAction("fs.workflow", "Let a workflow finish."),
    "transcode": FilestackAction(
        "transcode", "Transcode a video: reported as pending and then completed, or failed.", ("completed", "failed")
    ),
    "scan": FilestackAction("fp.scan", "Scan for viruses; nobody ever published such a body."),
    "video-conversion": FilestackAction("fp.video_converse", "Convert a video; nobody ever published such a body."),
}


def payloads(call: Call, store: SandboxStore, *, at: datetime) -> list[tuple[str, dict[str, Any]]]:
    """Return the name and the body of each event that an action causes, in order."""
    kind = KINDS.get(call.action)
    if kind is None:
        raise bad_request(Wrong("action", f"There is no action {call.action!r}. Known: {', '.join(KINDS)}."))
    if call.way and call.way not in kind.ways:
        known = f"has the ways {', '.join(kind.ways)}" if kind.ways else "has only one way"
        raise bad_request(Wrong("way", f"{call.action} {known}."))
    number = _next_number(store)
    way = call.way or next(iter(kind.ways), "")
    make = _MAKERS.get(call.action, _plain)
    return [(kind.name, _fill(one, call)) for one in make(kind.name, way, number, at)]


def _next_number(store: SandboxStore) -> int:
    with store.change():
        number = int(store.noted("next filestack event", _FIRST_ID))
        store.note("next filestack event", number + 10)  # one action causes two events at most
    return number


def _sample(name: str, number: int, at: datetime) -> dict[str, Any]:
    payload = samples.sample(name, at=at, number=number)
    if "id" in payload:
        payload["id"] = number
    return payload


def _plain(name: str, _way: str, number: int, at: datetime) -> Iterator[dict[str, Any]]:
    yield _sample(name, number, at)


def _upload(name: str, way: str, number: int, at: datetime) -> Iterator[dict[str, Any]]:
    payload = _sample(name, number, at)
    text = payload["text"]
    if way == "symlink":
        yield {**payload, "text": {key: value for key, value in text.items() if key not in _NOT_STORED}}
        return
    if way == "transit":
        # https://www.filestack.com/docs/uploads/uploading (as of 2026): what goes to other storage than S3 is copied
        # later, and reported again. Whether the second event has an id of its own is not published.
        yield {**payload, "text": {**text, "status": "InTransit"}}
        payload = {**payload, "id": number + 1}
    yield payload


def _transcode(name: str, way: str, number: int, at: datetime) -> Iterator[dict[str, Any]]:
    payload = _sample(name, number, at)
    digest = hashlib.sha256(f"{number} {at}".encode()).hexdigest()
    payload["uuid"] = digest[:32]
    yield {**payload, "status": "pending", "message": "Waiting", "data": {}}
    yield {**payload, "status": way, "message": "Done" if way == "completed" else "No such codec"}


def _fill(payload: dict[str, Any], call: Call) -> dict[str, Any]:
    """Put the file's name and the service where this kind of body has a place for them."""
    text = payload.get("text")
    if not isinstance(text, dict):
        return payload
    if call.client and "client" in text:
        text["client"] = call.client
    link = text.get("link")
    named = link if isinstance(link, dict) else text
    if call.filename and "filename" in named:
        named["filename"] = call.filename
    if call.client and isinstance(link, dict):
        link["provider"] = call.client
    return payload


_MAKERS: Mapping[str, Callable[[str, str, int, datetime], Iterator[dict[str, Any]]]] = {
    "upload": _upload,
    "transcode": _transcode,
}
