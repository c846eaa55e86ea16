"""Everything that Box and Filestack are known to send, and what sets each of it off in the sandbox."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from receiver.sources import SOURCES

DESCRIPTION = Path(__file__).resolve().parents[1] / "vectors" / "box_webhooks_openapi.json"

# Known to the receiver, and not to be set off: a spelling that stands in one changelog of Box's (2024-05-08), and in
# no list of what a webhook can ask for.
NOT_SENT = frozenset({"SIGN.REQUEST.SIGNER_SIGNED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One trigger, or one way in which an action can happen.

    `asks_for` is what its webhook is registered for. `commands` are typed behind `signalbox sandbox`, with HERE for
    the folder, or file, of the webhook and WEBHOOK for its id; the last one sets it off, and brings so many `events`.
    """

    source: str
    name: str
    group: str
    commands: Sequence[str]
    asks_for: str | None = None
    target_type: str = "folder"
    events: int = 1

    @property
    def set_off_by(self) -> str:
        """Give the last command in short: without where, and with its step alone."""
        _area, *words = f"sandbox {self.commands[-1]}".replace(" do ", " ").replace(" filestack ", " ").split()
        return " ".join(word for word in words if not word.startswith(("HERE", "WEBHOOK", "--as", self.name)))


_UPLOAD = "do upload HERE/lamp.pdf"
_CREATE = "do create HERE/Depot"
_ELSEWHERE = "do create HERE/Sheds"
_FILE = {
    "UPLOADED": [],
    "PREVIEWED": ["do preview HERE/lamp.pdf"],
    "DOWNLOADED": ["do download HERE/lamp.pdf"],
    "TRASHED": ["do trash HERE/lamp.pdf"],
    "DELETED": ["do delete HERE/lamp.pdf"],
    "RESTORED": ["do trash HERE/lamp.pdf", "do restore HERE/lamp.pdf"],
    "COPIED": [_ELSEWHERE, "do copy HERE/lamp.pdf HERE/Sheds"],
    "MOVED": [_ELSEWHERE, "do move HERE/lamp.pdf HERE/Sheds"],
    "LOCKED": ["do lock HERE/lamp.pdf"],
    "UNLOCKED": ["do lock HERE/lamp.pdf", "do unlock HERE/lamp.pdf"],
    "RENAMED": ["do rename HERE/lamp.pdf old.pdf"],
}
_FOLDER = {
    "CREATED": [],
    "RENAMED": ["do rename HERE/Depot Yard"],
    "DOWNLOADED": ["do download HERE/Depot"],
    "RESTORED": ["do trash HERE/Depot", "do restore HERE/Depot"],
    "DELETED": ["do delete HERE/Depot"],
    "COPIED": [_ELSEWHERE, "do copy HERE/Depot HERE/Sheds"],
    "MOVED": [_ELSEWHERE, "do move HERE/Depot HERE/Sheds"],
    "TRASHED": ["do trash HERE/Depot"],
}
_ON_A_FILE = {
    "COMMENT": "comment",
    "TASK_ASSIGNMENT": "task",
    "METADATA_INSTANCE": "metadata",
    "SHARED_LINK": "share",
}
_SIGNING = ("COMPLETED", "DECLINED", "EXPIRED", "SIGNER_EMAIL_BOUNCED")
_SIGNING_LATER = ("SIGNER_SIGNED", "SIGNATURE_REQUESTED", "ERROR_FINALIZING")


def _commands(trigger: str) -> list[str]:
    family, _, verb = trigger.partition(".")
    step = f"--as {verb.lower()}"
    if family == "FILE":
        return [_UPLOAD, *_FILE[verb]]
    if family == "FOLDER":
        return [_CREATE, *_FOLDER[verb]]
    if family in _ON_A_FILE:
        word = f"do {_ON_A_FILE[family]} HERE/lamp.pdf"
        return [_UPLOAD, *([word] if verb != "CREATED" else []), f"{word} {step}"]
    if family == "COLLABORATION":
        return [*(["do collaborate HERE"] if verb != "CREATED" else []), f"do collaborate HERE {step}"]
    if family == "SIGN_REQUEST" and verb in _SIGNING + _SIGNING_LATER:
        return [_UPLOAD, f"do sign HERE/lamp.pdf {step}"]
    if family == "SIGN_REQUEST":
        return [_UPLOAD, f"do set-off HERE/lamp.pdf {trigger}"]
    return [f"do set-off HERE {trigger}"]


def described_triggers() -> list[str]:
    """Give the triggers of Box's description of its Webhooks API, in its order."""
    description: dict[str, Any] = json.loads(DESCRIPTION.read_text(encoding="utf-8"))
    return list(description["components"]["schemas"]["Trigger"]["enum"])


def box_cases() -> Iterator[Case]:
    described = described_triggers()
    for trigger in described:
        if trigger != "WEBHOOK.DELETED":
            yield _box(trigger, "Box: triggers of its Webhooks API")
    yield _box("WEBHOOK.DELETED", "Box: about the webhook itself", commands=["give-up WEBHOOK"])
    yield _box(
        "NO_ACTIVE_SESSION",
        "Box: about the webhook itself",
        commands=["expire ben", _UPLOAD],
        asks_for="FILE.UPLOADED",
    )
    for trigger in sorted(SOURCES["box"].KNOWN - NOT_SENT - {"NO_ACTIVE_SESSION", *described}):
        yield _box(trigger, "Box: later triggers")


def _box(trigger: str, group: str, *, commands: Sequence[str] = (), asks_for: str = "") -> Case:
    return Case(
        source="box",
        name=trigger,
        group=group,
        commands=commands or _commands(trigger),
        asks_for=asks_for or trigger,
        target_type="file" if trigger.startswith("DOCGEN_") else "folder",
    )


# The name on the wire, what sets it off, and how many events that brings.
_FILESTACK: Sequence[tuple[str, str, int]] = (
    ("fp.upload", "upload --as store", 1),
    ("fp.upload", "upload --as symlink", 1),
    ("fp.upload", "upload --as transit", 2),
    ("fp.converse", "conversion", 1),
    ("fp.overwrite", "overwrite", 1),
    ("fp.delete", "delete", 1),
    ("fp.export", "export", 1),
    ("fp.dialog", "dialog", 1),
    ("fs.workflow", "workflow", 1),
    ("fp.scan", "scan", 1),
    ("fp.video_converse", "video-conversion", 1),
    ("transcode", "transcode --as completed", 2),
    ("transcode", "transcode --as failed", 2),
)


def filestack_cases() -> Iterator[Case]:
    for name, words, events in _FILESTACK:
        yield Case(
            source="filestack", name=name, group="Filestack: actions", commands=[f"filestack {words}"], events=events
        )


def cases() -> list[Case]:
    return [*box_cases(), *filestack_cases()]
