"""The bodies that the sandbox sends for Box: the samples of Box, filled with what is on the drive."""

import hashlib
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from receiver.sandbox.drive import ROOT, Drive, DriveItem
from receiver.sandbox.registrations import Registration
from receiver.sandbox.rules import Key
from receiver.sources.box import samples

_MANY = 10**6


@dataclass(frozen=True, slots=True)
class Happening:
    """What an action set off: one trigger, at one item, and the items on which a webhook hears of it.

    `belonging` is the comment, task, shared link or collaboration that it is about.
    """

    trigger: str
    item: DriveItem
    watched: frozenset[Key]
    belonging: Mapping[str, Any] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)


def full(happening: Happening, registration: Registration, drive: Drive, *, by: Mapping[str, str], at: datetime) -> Any:
    """Return the payload that Box would send to one webhook; its id is new, and retries repeat it."""
    payload = samples.sample(happening.trigger, at=at, number=secrets.randbelow(_MANY))
    payload |= _envelope(registration)
    payload["created_by"] = dict(by)
    payload["source"] = _source(payload["source"], happening, drive)
    if happening.info:
        payload["additional_info"] = dict(happening.info)
    return payload


def no_active_session(happening: Happening, registration: Registration, *, at: datetime) -> Any:
    """Return what Box sends when the session of the webhook's owner is over: NO_ACTIVE_SESSION, and the item."""
    payload = samples.sample("NO_ACTIVE_SESSION", at=at, number=secrets.randbelow(_MANY))
    return payload | _envelope(registration) | {"source": _reference(happening.item)}


def webhook_deleted(registration: Registration, *, at: datetime) -> Any:
    """Return what Box sends about a webhook that it removes."""
    target_type, target_id = registration.target
    payload = samples.sample("WEBHOOK.DELETED", at=at, number=secrets.randbelow(_MANY))
    return payload | _envelope(registration) | {"source": {"id": target_id, "type": target_type}}


def _envelope(registration: Registration) -> dict[str, Any]:
    return {"id": str(uuid.uuid4()), "webhook": {"id": str(registration.id), "type": "webhook"}}


def _source(sample: Mapping[str, Any], happening: Happening, drive: Drive) -> dict[str, Any]:
    item = happening.item
    if set(sample) == {"id", "type"}:  # what is gone, and metadata, has no more fields
        return _reference(item)
    if sample["type"] in ("file", "folder"):
        return {**sample, **_described(item, drive)}
    mini: dict[str, Any] = {**_reference(item), "name": item.name}
    if sample["type"] == "comment":
        mini = _reference(item)
    return {**sample, **happening.belonging, "item": mini}


def _reference(item: DriveItem) -> dict[str, Any]:
    return {"id": item.id, "type": item.type}


def _mini(item: DriveItem) -> dict[str, Any]:
    # No published body has either of the two for the root.
    version = None if item.key == ROOT else str(item.version - 1)
    return {"type": item.type, "id": item.id, "sequence_id": version, "etag": version, "name": item.name}


def _described(item: DriveItem, drive: Drive) -> dict[str, Any]:
    above = [_mini(folder) for folder in drive.above(item)]
    described: dict[str, Any] = {
        **_mini(item),
        "size": item.size,
        "path_collection": {"total_count": len(above), "entries": above},
        "created_at": item.created,
        "modified_at": item.modified,
        "content_created_at": item.created,
        "content_modified_at": item.modified,
        "parent": above[-1] if above else None,
        "item_status": item.state,
    }
    if item.type == "file":
        content = f"{item.id} {item.version}"
        sha1 = hashlib.sha1(content.encode(), usedforsecurity=False).hexdigest()
        version_id = str(int(item.id) * 10 + item.version)
        described |= {"sha1": sha1, "file_version": {"type": "file_version", "id": version_id, "sha1": sha1}}
    return described
