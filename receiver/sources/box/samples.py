"""Invented Box payloads, one for each trigger, shaped as receiver/sources/box/schemas.py says, and Box's wire form."""

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

_PACIFIC = timezone(timedelta(hours=-7))  # Box writes its times with California's offset; this one is its summer's

_OWNER = {"type": "user", "id": "20817364", "name": "Ada Moss", "login": "ada.moss@signal.example"}
_SIGNER = {"type": "user", "id": "20817377", "name": "Ben Ruiz", "login": "ben.ruiz@signal.example"}
_ROOT = {"type": "folder", "id": "0", "sequence_id": None, "etag": None, "name": "All Files"}
_WEBHOOK_ID = "4471902"


class _Numbers:
    """The ids of one sample: the same for the same number, and different for any other."""

    def __init__(self, name: str, number: int) -> None:
        self.number = number
        self._stream = hashlib.sha256(f"{name} {number}".encode("utf-8", "surrogatepass"))

    def uuid(self) -> str:
        return str(uuid.UUID(bytes=self._next()[:16], version=4))

    def id(self) -> str:
        return str(10**11 + int.from_bytes(self._next()[:4], "big"))

    def _next(self) -> bytes:
        self._stream.update(b"next")
        return self._stream.digest()


def encode(payload: Mapping[str, Any]) -> bytes:
    """Write JSON as PHP does, and so Box: compact, `/` as `\\/`, what is not ASCII as lower-case `\\uXXXX`."""
    return json.dumps(payload, separators=(",", ":"), allow_nan=False).replace("/", r"\/").encode("ascii")


def local(at: datetime) -> datetime:
    return at.astimezone(_PACIFIC)


def new_identity(payload: Mapping[str, Any], *, number: int) -> dict[str, Any]:
    """Give what has to change in a payload for it to be another event."""
    return {"id": _Numbers("new", number).uuid()} if "id" in payload else {}


def sample(name: str, *, at: datetime, number: int) -> dict[str, Any]:
    """Give a payload for any trigger; one that nobody knows looks like its family, or like a file's."""
    ids = _Numbers(name, number)
    when = local(at).isoformat(timespec="seconds")
    if name == "NO_ACTIVE_SESSION":
        return {**_envelope(name, ids, when), "source": {"id": ids.id(), "type": "file"}, "additional_info": []}
    family, _, verb = name.rpartition(".")
    source = _SOURCES.get(family, _file)
    if family in ("FILE", "FOLDER") and verb in ("TRASHED", "DELETED"):
        source = _trashed_folder if family == "FOLDER" else _trashed_file
    return {
        **_envelope(name, ids, when),
        "created_by": dict(_OWNER),
        "source": source(ids, when),
        "additional_info": _additional_info(name, ids),
    }


def _envelope(trigger: str, ids: _Numbers, when: str) -> dict[str, Any]:
    return {
        "type": "webhook_event",
        "id": ids.uuid(),
        "created_at": when,
        "trigger": trigger,
        "webhook": {"id": _WEBHOOK_ID, "type": "webhook"},
    }


def _additional_info(name: str, ids: _Numbers) -> dict[str, Any] | list[Any]:
    if name in ("FILE.RENAMED", "FOLDER.RENAMED"):
        return {"old_name": f"Entwurf {ids.number} é alt"}
    if name in ("FILE.MOVED", "FOLDER.MOVED"):
        return {"after": {"id": ids.id(), "type": "folder"}, "before": {"id": "0", "type": "folder"}}
    if name == "SIGN_REQUEST.COMPLETED":
        return {"sign_request_id": ids.uuid(), "signer_emails": [_SIGNER["login"]], "external_id": None}
    if name == "WEBHOOK.DELETED":
        return {"reason": "auto_cleanup"}
    return []


def _item(kind: str, name: str, ids: _Numbers, when: str) -> dict[str, Any]:
    parent = {"type": "folder", "id": ids.id(), "sequence_id": "1", "etag": "1", "name": "Night shift/Été"}
    return {
        "id": ids.id(),
        "type": kind,
        "sequence_id": "0",
        "etag": "0",
        "name": name,
        "description": "",
        "size": 2048 + ids.number % 4096,
        "path_collection": {"total_count": 2, "entries": [dict(_ROOT), dict(parent)]},
        "created_at": when,
        "modified_at": when,
        "trashed_at": None,
        "purged_at": None,
        "content_created_at": when,
        "content_modified_at": when,
        "created_by": dict(_OWNER),
        "modified_by": dict(_OWNER),
        "owned_by": dict(_OWNER),
        "shared_link": None,
        "parent": parent,
        "item_status": "active",
    }


def _file(ids: _Numbers, when: str) -> dict[str, Any]:
    sha1 = hashlib.sha1(str(ids.number).encode(), usedforsecurity=False).hexdigest()
    return {
        **_item("file", f"Fahrplan {ids.number} 🚂.pdf", ids, when),
        "file_version": {"type": "file_version", "id": ids.id(), "sha1": sha1},
        "sha1": sha1,
    }


def _folder(ids: _Numbers, when: str) -> dict[str, Any]:
    return {**_item("folder", f"Depot {ids.number}", ids, when), "folder_upload_email": None}


def _trashed_file(ids: _Numbers, _when: str) -> dict[str, Any]:
    return {"id": ids.id(), "type": "file"}


def _trashed_folder(ids: _Numbers, _when: str) -> dict[str, Any]:
    return {"id": ids.id(), "type": "folder"}


def _comment(ids: _Numbers, when: str) -> dict[str, Any]:
    return {
        "id": ids.id(),
        "type": "comment",
        "is_reply_comment": False,
        "message": f"Points {ids.number} are set ✔",
        "created_by": dict(_OWNER),
        "created_at": when,
        "item": {"id": ids.id(), "type": "file"},
        "modified_at": when,
    }


def _task_assignment(ids: _Numbers, when: str) -> dict[str, Any]:
    return {
        "id": ids.id(),
        "type": "task_assignment",
        "item": {"type": "file", "id": ids.id(), "sequence_id": "0", "etag": "0", "name": "Inspection.docx"},
        "assigned_to": dict(_SIGNER),
        "assigned_by": dict(_OWNER),
        "message": "Walk the line",
        "completed_at": None,
        "assigned_at": when,
        "reminded_at": None,
        "resolution_state": "incomplete",
    }


def _shared_link(ids: _Numbers, _when: str) -> dict[str, Any]:
    return {
        "type": "shared_link",
        "url": f"https://signal.box.example/s/{ids.uuid()}",
        "download_url": None,
        "vanity_url": None,
        "effective_access": "company",
        "effective_permission": "can_download",
        "is_password_enabled": False,
        "unshared_at": None,
        "download_count": 0,
        "preview_count": 0,
        "access": "company",
        "item": {"type": "file", "id": ids.id(), "name": "Fahrplan.pdf"},
    }


def _collaboration(ids: _Numbers, _when: str) -> dict[str, Any]:
    return {
        "id": ids.id(),
        "type": "collaboration",
        "role": "viewer",
        "status": "accepted",
        "accessible_by": {"type": "user", "name": _SIGNER["name"]},
        "item": {"id": ids.id(), "type": "folder", "name": "Depot"},
    }


_SOURCES: Mapping[str, Callable[[_Numbers, str], dict[str, Any]]] = {
    "FILE": _file,
    "FOLDER": _folder,
    "COMMENT": _comment,
    "TASK_ASSIGNMENT": _task_assignment,
    "SHARED_LINK": _shared_link,
    "COLLABORATION": _collaboration,
    "SIGN_REQUEST": _file,
    "METADATA_INSTANCE": _trashed_file,
}
