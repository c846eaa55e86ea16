"""What people do on the pretend drive, what it changes there, and which triggers it sets off."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from receiver.registrations.rules import TRIGGERS, fits, meant
from receiver.sandbox.bodies import Happening
from receiver.sandbox.box_errors import SandboxRefusal, Wrong, bad_request, not_found
from receiver.sandbox.drive import ROOT, Drive, DriveItem
from receiver.sandbox.store import SandboxStore

_BYTES = 51_200


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One action as it was asked for: on which item, and its other arguments."""

    action: str
    item: str
    to: str = ""
    step: str = ""
    text: str = ""
    size: int = _BYTES


@dataclass(frozen=True, slots=True)
class DriveTools:
    """What an action works with."""

    drive: Drive
    store: SandboxStore

    def happen(self, trigger: str, item: DriveItem, **more: Any) -> Happening:
        return Happening(trigger, item, frozenset(self.drive.watched(item)), **more)


@dataclass(frozen=True, slots=True)
class Action:
    """One kind of action. `other` is the name of its second argument, if it has one."""

    help: str
    run: Callable[[DriveTools, Order], list[Happening]]
    other: str = ""
    steps: tuple[str, ...] = ()


def carry_out(desk: DriveTools, order: Order) -> list[Happening]:
    """Carry out an order, and return what it set off, in order; a refusal says why not."""
    action = ACTIONS.get(order.action)
    if action is None:
        raise bad_request(Wrong("action", f"There is no action {order.action!r}. Known: {', '.join(ACTIONS)}."))
    if action.other and not order.to:
        raise bad_request(Wrong("to", f"{order.action} takes a second argument, {action.other}."))
    if order.step and order.step not in action.steps:
        known = f"has the steps {', '.join(action.steps)}" if action.steps else "has no steps"
        raise bad_request(Wrong("step", f"{order.action} {known}."))
    return action.run(desk, order)


def _family(item: DriveItem) -> str:
    return item.type.upper()


def _find(desk: DriveTools, order: Order, *, state: str = "active", only: str = "") -> DriveItem:
    item = desk.drive.find(order.item, state=state)
    if item.key == ROOT:
        raise bad_request(Wrong("item", "Nothing can be done to the root folder."))
    if only and item.type != only:
        raise bad_request(Wrong("item", f"{order.action} takes a {only}; {order.item} is a {item.type}."))
    return item


def _create_folders(desk: DriveTools, folder: DriveItem, names: list[str]) -> tuple[DriveItem, list[Happening]]:
    happenings = []
    for name in names:
        folder = desk.drive.make("folder", name, folder)
        happenings.append(desk.happen("FOLDER.CREATED", folder))
    return folder, happenings


def _place(desk: DriveTools, order: Order) -> tuple[DriveItem, list[str]]:
    folder_id, names = desk.drive.place(order.item)
    folder = desk.drive.at(("folder", folder_id))
    assert folder is not None  # noqa: S101 - `place` has just found it
    return folder, names


def _upload(desk: DriveTools, order: Order) -> list[Happening]:
    folder, (*missing, name) = _place(desk, order)
    folder, happenings = _create_folders(desk, folder, missing)
    old = desk.drive.child(folder, name)
    if old is None:
        file = desk.drive.make("file", name, folder, size=order.size)
    elif old.type == "folder":
        raise bad_request(Wrong("item", f"{order.item} is a folder."))
    else:
        # https://developer.box.com/guides/webhooks/triggers/ (2026): a new version is an upload, too.
        file = desk.drive.change(old, version=old.version + 1, size=order.size)
    return [*happenings, desk.happen("FILE.UPLOADED", file)]


def _create(desk: DriveTools, order: Order) -> list[Happening]:
    folder, names = _place(desk, order)
    return _create_folders(desk, folder, names)[1]


def _look(verb: str, *, only: str = "") -> Callable[[DriveTools, Order], list[Happening]]:
    def run(desk: DriveTools, order: Order) -> list[Happening]:
        item = _find(desk, order, only=only)
        return [desk.happen(f"{_family(item)}.{verb}", item)]

    return run


def _lock(verb: str, *, locks: bool) -> Callable[[DriveTools, Order], list[Happening]]:
    def run(desk: DriveTools, order: Order) -> list[Happening]:
        file = _find(desk, order, only="file")
        if file.is_locked == locks:
            raise _conflict(f"{order.item} is {verb.lower()} already.")
        return [desk.happen(f"FILE.{verb}", desk.drive.change(file, is_locked=locks))]

    return run


def _conflict(message: str) -> SandboxRefusal:
    return SandboxRefusal(409, "Conflict", wrong=[Wrong("item", message, reason="conflict")])


def _trash(desk: DriveTools, order: Order) -> list[Happening]:
    item = desk.drive.change(_find(desk, order), state="trashed")
    return [desk.happen(f"{_family(item)}.TRASHED", item)]


def _restore(desk: DriveTools, order: Order) -> list[Happening]:
    item = _find(desk, order, state="trashed")
    desk.drive.check_name(_parent(desk, item), item.name)
    item = desk.drive.change(item, state="active")
    return [desk.happen(f"{_family(item)}.RESTORED", item)]


def _parent(desk: DriveTools, item: DriveItem) -> DriveItem:
    parent = desk.drive.at(("folder", item.parent or ""))
    if parent is None or parent.state != "active":
        raise _conflict("The folder that it was in no longer exists.")
    return parent


def _delete(desk: DriveTools, order: Order) -> list[Happening]:
    """Delete an item for good, from the trash or directly."""
    try:
        item = _find(desk, order, state="trashed")
    except SandboxRefusal:
        item = _find(desk, order)
    item = desk.drive.change(item, state="deleted")
    return [desk.happen(f"{_family(item)}.DELETED", item)]


def _rename(desk: DriveTools, order: Order) -> list[Happening]:
    item = _find(desk, order)
    desk.drive.check_name(_parent(desk, item), order.to)
    renamed = desk.drive.change(item, name=order.to)
    return [desk.happen(f"{_family(item)}.RENAMED", renamed, info={"old_name": item.name})]


def _move(desk: DriveTools, order: Order) -> list[Happening]:
    item, folder = _find(desk, order), desk.drive.find(order.to)
    if item in desk.drive.above(folder) or item.key == folder.key:
        raise bad_request(Wrong("to", f"{order.to} is {order.item} itself, or below it."))
    desk.drive.check_name(folder, item.name)
    before = desk.drive.watched(item)
    moved = desk.drive.change(item, parent=folder.id)
    after = desk.drive.watched(moved)
    info = {"after": {"id": folder.id, "type": "folder"}, "before": {"id": item.parent, "type": "folder"}}
    happenings = [Happening(f"{_family(item)}.MOVED", moved, frozenset(before | after), info=info)]
    if moved.type == "file" and after - before:
        # https://developer.box.com/guides/webhooks/triggers/ (2026): for a folder, a file that is moved into it is an
        # upload.
        happenings.append(Happening("FILE.UPLOADED", moved, frozenset(after - before)))
    return happenings


def _copy(desk: DriveTools, order: Order) -> list[Happening]:
    item, folder = _find(desk, order), desk.drive.find(order.to)
    if item in desk.drive.above(folder) or item.key == folder.key:
        raise bad_request(Wrong("to", f"{order.to} is {order.item} itself, or below it."))
    copy = _copy_tree(desk.drive, item, folder)
    happenings = [desk.happen(f"{_family(item)}.COPIED", item)]
    if copy.type == "file":
        happenings.append(desk.happen("FILE.UPLOADED", copy))  # as seen by the connectors of others
    return happenings


def _copy_tree(drive: Drive, item: DriveItem, folder: DriveItem) -> DriveItem:
    copy = drive.make(item.type, item.name, folder, size=item.size)
    for child in drive.children(item) if item.type == "folder" else []:
        _copy_tree(drive, child, copy)
    return copy


def _belonging(kind: str, family: str, *, only: str = "", last: tuple[str, ...] = ()) -> Callable[..., list[Happening]]:
    """Return the action for what belongs to an item: its first step makes one, the others change the newest.

    `last` are the steps that delete it.
    """

    def run(desk: DriveTools, order: Order) -> list[Happening]:
        item = _find(desk, order, only=only)
        step = order.step or "created"
        if step == "created":
            facts = _make_belonging(desk.store, kind, item, order.text)
        else:
            facts = _change_belonging(desk.store, kind, item, order, is_last=step in last)
        status = {"status": step} if kind == "collaborate" and step in ("accepted", "rejected") else {}
        return [desk.happen(f"{family}.{step.upper()}", item, belonging={**_facts(kind, facts), **status})]

    return run


def _make_belonging(store: SandboxStore, kind: str, item: DriveItem, text: str) -> dict[str, Any]:
    if kind == "share" and _newest(store, kind, item):
        raise _conflict(f"{item.name} has a shared link already: --as updated changes it.")
    facts = {"text": text}
    made = store.write(
        "INSERT INTO belongings (kind, item_type, item_id, facts) VALUES (?, ?, ?, ?)",
        kind,
        *item.key,
        json.dumps(facts),
    )
    return {"id": str(made), **facts}


def _newest(store: SandboxStore, kind: str, item: DriveItem) -> dict[str, Any] | None:
    found = store.row(
        "SELECT id, facts FROM belongings WHERE kind = ? AND item_type = ? AND item_id = ? ORDER BY id DESC",
        kind,
        *item.key,
    )
    return {"id": str(found["id"]), **json.loads(found["facts"])} if found else None


def _change_belonging(
    store: SandboxStore, kind: str, item: DriveItem, order: Order, *, is_last: bool
) -> dict[str, Any]:
    facts = _newest(store, kind, item)
    if facts is None:
        raise not_found(f"Nothing of this kind is on {order.item}: signalbox sandbox do {kind} {order.item} makes it.")
    if is_last:
        store.write("DELETE FROM belongings WHERE id = ?", int(facts["id"]))
    elif order.text:
        facts["text"] = order.text
        store.write("UPDATE belongings SET facts = ? WHERE id = ?", json.dumps({"text": order.text}), int(facts["id"]))
    return facts


def _facts(kind: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the source of such an event contains; the id of a shared link was never published."""
    told = {} if kind == "share" else {"id": facts["id"]}
    if kind in ("comment", "task") and facts["text"]:
        told["message"] = facts["text"]
    if kind == "collaborate":
        told["status"] = "pending"
    return told


def _sign(desk: DriveTools, order: Order) -> list[Happening]:
    file = _find(desk, order, only="file")
    return [desk.happen(f"SIGN_REQUEST.{(order.step or 'completed').upper()}", file)]


def _set_off(desk: DriveTools, order: Order) -> list[Happening]:
    item = _find(desk, order)
    family = order.to.partition(".")[0]
    if order.to == "WEBHOOK.DELETED":
        raise bad_request(Wrong("to", "It is sent when a webhook is removed: signalbox sandbox give-up WEBHOOK."))
    if order.to not in TRIGGERS:
        raise bad_request(
            Wrong("to", f"{order.to!r} is not a trigger that a {item.type} can set off{meant(order.to) or '.'}")
        )
    if not (fits(order.to, item.type) or order.to == "FILE.UPLOADED"):
        raise bad_request(Wrong("to", f"{order.to!r} is not a trigger that a {item.type} can set off."))
    if family in ("FILE", "FOLDER") and family != _family(item):
        raise bad_request(Wrong("to", f"{order.to} happens to a {family.lower()}; {order.item} is a {item.type}."))
    return [desk.happen(order.to, item)]


_MADE_OR_CHANGED = ("created", "updated", "deleted")
_SIGNING = (
    "completed",
    "declined",
    "expired",
    "signer_email_bounced",
    "signer_signed",
    "signature_requested",
    "error_finalizing",
)

ACTIONS: Mapping[str, Action] = {
    "upload": Action("Put a file there, or a new version of it; folders on the way are made.", _upload),
    "create": Action("Make a folder, and those above it that are missing.", _create),
    "preview": Action("Look at a file.", _look("PREVIEWED", only="file")),
    "download": Action("Download a file or a folder.", _look("DOWNLOADED")),
    "rename": Action("Give a file or a folder another name.", _rename, other="NAME"),
    "move": Action("Move a file or a folder into another folder.", _move, other="FOLDER"),
    "copy": Action("Copy a file, or a folder with all that is in it, into another folder.", _copy, other="FOLDER"),
    "trash": Action("Put a file or a folder into the trash.", _trash),
    "restore": Action("Take a file or a folder out of the trash.", _restore),
    "delete": Action("Delete a file or a folder for good.", _delete),
    "lock": Action("Lock a file.", _lock("LOCKED", locks=True)),
    "unlock": Action("Unlock a file.", _lock("UNLOCKED", locks=False)),
    "comment": Action(
        "Write a comment on a file, change the newest, or take it away.",
        _belonging("comment", "COMMENT", only="file", last=("deleted",)),
        steps=_MADE_OR_CHANGED,
    ),
    "task": Action(
        "Assign a task on a file, or change the newest.",
        _belonging("task", "TASK_ASSIGNMENT", only="file"),
        steps=("created", "updated"),
    ),
    "share": Action(
        "Make the shared link of a file or a folder, change it, or take it away.",
        _belonging("share", "SHARED_LINK", last=("deleted",)),
        steps=_MADE_OR_CHANGED,
    ),
    "metadata": Action(
        "Put metadata on a file or a folder, change it, or take it away.",
        _belonging("metadata", "METADATA_INSTANCE", last=("deleted",)),
        steps=_MADE_OR_CHANGED,
    ),
    "collaborate": Action(
        "Invite somebody to a folder or a file, and let them answer.",
        _belonging("collaborate", "COLLABORATION", last=("rejected", "removed")),
        steps=("created", "accepted", "rejected", "removed", "updated"),
    ),
    "sign": Action("Let a signature request for a file come to an end.", _sign, steps=_SIGNING),
    "set-off": Action("Set off any trigger at a file or a folder, and change nothing.", _set_off, other="TRIGGER"),
}
