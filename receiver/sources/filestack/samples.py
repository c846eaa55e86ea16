"""Invented Filestack payloads, one for each action, shaped as receiver/sources/filestack/schemas.py says."""

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

_FIRST_ID = 70_000_000
_CDN = "https://cdn.filestackcontent.com"


def encode(payload: Mapping[str, Any]) -> bytes:
    """Write compact UTF-8 JSON; how Filestack writes it nobody has shown."""
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def local(at: datetime) -> datetime:
    return at.astimezone(UTC)


def new_identity(payload: Mapping[str, Any], *, number: int) -> dict[str, Any]:
    """Give what has to change in a payload for it to be another event; a transcoding callback has a uuid."""
    fresh = {"id": _FIRST_ID + number, "uuid": hashlib.sha256(f"uuid {number}".encode()).hexdigest()[:32]}
    return {name: value for name, value in fresh.items() if name in payload}


def sample(name: str, *, at: datetime, number: int) -> dict[str, Any]:
    """Give a payload for any action; one that nobody knows gets a `text` of a link only."""
    if name == "transcode":
        return _transcoding(at, number)
    action = "fp.converse" if name == "fp.conversion" else name
    return {
        "id": _FIRST_ID + number,
        "action": action,
        "timestamp": int(at.timestamp()),
        "text": _TEXTS.get(action, _deletion)(at, number),
    }


def _file_handle(number: int) -> str:
    return hashlib.sha256(f"handle {number}".encode()).hexdigest()[:20]


def _upload(_at: datetime, number: int) -> dict[str, Any]:
    return {
        "url": f"{_CDN}/{_file_handle(number)}",
        "client": "Box",
        "filename": f"lampe-{number}-blå 🚦.png",
        "type": "image/png",
        "size": 51_200 + number % 1024,
        "container": "signal-lamps",
        "key": f"lamps/{_file_handle(number)}_lampe.png",
        "status": "Stored",
    }


def _conversion(_at: datetime, number: int) -> dict[str, Any]:
    handle = _file_handle(number)
    return {
        "url": f"/resize=width:120/{handle}",
        "link": {
            "url": f"{_CDN}/{handle}",
            "handle": handle,
            "filename": "lampe.jpg",
            "mimetype": "image/jpeg",
            "path": f"small/{handle}.jpg",
            "provider": "Box",
            "size": 4_200,
        },
    }


def _overwrite(_at: datetime, number: int) -> dict[str, Any]:
    return {
        "mimetype": "text/plain",
        "url": f"{_CDN}/{_file_handle(number)}",
        "isWriteable": True,
        "filename": "log.txt",
        "client": "Computer",
        "size": 640,
    }


def _deletion(_at: datetime, number: int) -> dict[str, Any]:
    return {"url": f"{_CDN}/{_file_handle(number)}"}


def _export(at: datetime, number: int) -> dict[str, Any]:
    return {
        "source": f"{_CDN}/{_file_handle(number)}",
        "client": "Box",
        "filename": f"lampe-{number}.png",
        "created": at.astimezone(UTC).isoformat(timespec="seconds"),
    }


def _dialog(_at: datetime, number: int) -> dict[str, Any]:
    return {
        "id": str(_FIRST_ID + number),
        "dialogType": "open",
        "mimetypes": ["image/*"],
        "extensions": None,
        "maxSize": 0,
        "iframe": False,
        "mobile": True,
        "language": "de",
        "app": {"apikey": "SAMPLE-KEY", "upsell": "false", "customization": {"folder_text": "Gleis"}},
        "auth": False,
        "signature": None,
        "policy": None,
    }


def _workflow(at: datetime, number: int) -> dict[str, Any]:
    handle = _file_handle(number)
    # Filestack writes nine digits after the second here.
    moment = f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{number % 10**9:09d}Z"
    return {
        "workflow": str(uuid.UUID(int=number, version=4)),
        "jobid": str(uuid.UUID(int=number + 1, version=4)),
        "createdAt": moment,
        "updatedAt": moment,
        "sources": [handle],
        "results": {
            "virus_detection_1": {"data": {"infected": False, "infections_list": []}},
            "night watch": {"mimetype": "image/png", "url": f"{_CDN}/{handle}"},
            "metadata": {"data": {"size": 640, "uploaded": at.timestamp() * 1000}},
        },
        "status": "Finished",
    }


def _transcoding(at: datetime, number: int) -> dict[str, Any]:
    handle = _file_handle(number)
    return {
        "status": "completed",
        "message": "Done",
        "data": {"thumb": f"{_CDN}/thumb-{handle}", "url": f"{_CDN}/{handle}"},
        "metadata": {"result": {"width": 1280, "height": 720}, "source": {"width": 1920, "height": 1080}},
        "timestamp": str(int(at.timestamp())),
        "uuid": hashlib.sha256(f"uuid {number}".encode()).hexdigest()[:32],
    }


_TEXTS: Mapping[str, Callable[[datetime, int], dict[str, Any]]] = {
    "fp.upload": _upload,
    "fp.converse": _conversion,
    "fp.overwrite": _overwrite,
    "fp.delete": _deletion,
    "fp.export": _export,
    "fp.dialog": _dialog,
    "fs.workflow": _workflow,
}
