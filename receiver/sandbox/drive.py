"""The pretend drive: files and folders with ids, found by a path (`Inbox/lamp.pdf`) or by an id."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from receiver.sandbox.box_errors import SandboxRefusal, Wrong, bad_request, not_found
from receiver.sandbox.rules import ROOT_ID, Key, is_id
from receiver.sandbox.store import SandboxStore

ROOT: Key = ("folder", ROOT_ID)
_FIRST_ID = 1_600_000_001
_LONGEST_NAME = 255  # https://support.box.com/hc/en-us/articles/360044196273 (as of 2026)


@dataclass(frozen=True, slots=True)
class DriveItem:
    """A file or a folder. `state` is active, trashed or deleted; times are as Box writes them."""

    type: str
    id: str
    name: str
    parent: str | None
    size: int
    version: int
    is_locked: bool
    state: str
    created: str
    modified: str

    @property
    def key(self) -> Key:
        return self.type, self.id


class Drive:
    """Every item of the sandbox. All users see the same drive.

    Unless it is `strict`, an unused number is the id of an item that has always existed: it appears below the root when
    it is first named.
    """

    def __init__(self, store: SandboxStore, moment: Callable[[], str], *, strict: bool = False) -> None:
        self._store = store
        self._moment = moment
        self._strict = strict
        if self.at(ROOT) is None:
            self._insert(DriveItem("folder", ROOT_ID, "All Files", None, 0, 1, False, "active", moment(), moment()))

    def at(self, key: Key) -> DriveItem | None:
        found = self._store.row("SELECT * FROM items WHERE type = ? AND id = ?", *key)
        return _item(found) if found else None

    def has(self, key: Key) -> bool:
        """Return whether the item exists; unless the drive is strict, naming it makes it exist."""
        found = self.at(key) or self._name(key)
        return found is not None and found.state == "active"

    def _name(self, key: Key) -> DriveItem | None:
        type_, id_ = key
        if self._strict or not is_id(id_) or id_ == ROOT_ID:
            return None
        return self._insert(self._new(type_, f"{type_.title()} {id_}", ROOT_ID, id_=id_))

    def all(self) -> list[DriveItem]:
        rows = self._store.rows("SELECT * FROM items WHERE state != 'deleted' ORDER BY parent, type DESC, name")
        return [_item(row) for row in rows]

    def children(self, folder: DriveItem) -> list[DriveItem]:
        rows = self._store.rows("SELECT * FROM items WHERE parent = ? AND state = 'active' ORDER BY name", folder.id)
        return [_item(row) for row in rows]

    def child(self, folder: DriveItem, name: str, state: str = "active") -> DriveItem | None:
        found = self._store.row(
            "SELECT * FROM items WHERE parent = ? AND name = ? AND state = ? ORDER BY modified DESC",
            folder.id,
            name,
            state,
        )
        return _item(found) if found else None

    def above(self, item: DriveItem) -> list[DriveItem]:
        """Return the folders above an item, from the root downwards."""
        found: list[DriveItem] = []
        while item.parent is not None and (parent := self.at(("folder", item.parent))):
            found.insert(0, parent)
            item = parent
        return found

    def watched(self, item: DriveItem) -> set[Key]:
        """Return the items on which a webhook hears about an item: itself and the folders above it."""
        return {item.key, *(folder.key for folder in self.above(item))}

    def path(self, item: DriveItem) -> str:
        if item.key == ROOT:
            return "/"
        return "/".join([*(folder.name for folder in self.above(item)[1:]), item.name])

    def root(self) -> DriveItem:
        root = self.at(ROOT)
        assert root is not None  # noqa: S101 - it is made at the start and never deleted
        return root

    def find(self, reference: str, *, state: str = "active") -> DriveItem:
        """Return the item of a path, of an id, or of `folder:ID` and `file:ID`; refuse one that does not exist."""
        item = self.root()
        head, *rest = _parts(reference) or [""]
        if head:
            item = self._first(head, state=state if not rest else "active")
        for place, name in enumerate(rest, 1):
            found = self.child(item, name, state if place == len(rest) else "active")
            if found is None:
                raise not_found(self._missing(reference, state))
            item = found
        return item

    def _first(self, name: str, *, state: str) -> DriveItem:
        if found := self.child(self.root(), name, state):
            return found
        type_, _, id_ = name.rpartition(":")
        keys = [(type_, id_)] if type_ else [("folder", id_), ("file", id_)]
        items = [item for key in keys if (item := self.at(key)) and item.state == state]
        if len(items) > 1:
            raise bad_request(
                Wrong("item", f"There is a file and a folder {name}: write file:{name} or folder:{name}.")
            )
        if not items and state == "active" and type_ in ("", "file", "folder") and self._is_new(keys):
            named = self._name((type_ or "folder", id_))
            items = [named] if named else []
        if not items:
            raise not_found(self._missing(name, state))
        return items[0]

    def _is_new(self, keys: list[Key]) -> bool:
        return not any(self.at(key) for key in keys)

    def _missing(self, reference: str, state: str) -> str:
        if state == "trashed":
            return f"There is no {reference} in the trash."
        return f"There is no {reference} in the drive: signalbox sandbox do upload {reference} makes a file there."

    def place(self, reference: str) -> tuple[str, list[str]]:
        """Split the path of a new item into a reference to an existing folder and the names below it."""
        parts = _parts(reference)
        if not parts:
            raise bad_request(Wrong("item", "Name what to make, for example Inbox/lamp.pdf."))
        folder, names = self.root(), list(parts)
        if len(parts) > 1 and self.child(folder, parts[0]) is None and _is_reference(parts[0]):
            folder, names = self._first(parts[0], state="active"), parts[1:]
        while len(names) > 1 and (found := self.child(folder, names[0])):
            folder, names = found, names[1:]
        if folder.type != "folder":
            raise bad_request(Wrong("item", f"{self.path(folder)} is a file, so nothing is below it."))
        return folder.id, names

    def make(self, type_: str, name: str, folder: DriveItem, *, size: int = 0) -> DriveItem:
        """Make a file or a folder; a name that is taken there is refused."""
        self.check_name(folder, name)
        return self._insert(self._new(type_, name, folder.id, size=size))

    def check_name(self, folder: DriveItem, name: str) -> None:
        if not name.strip() or len(name) > _LONGEST_NAME or "/" in name or "\\" in name or not name.isprintable():
            raise SandboxRefusal(
                400,
                "Bad Request",
                code="item_name_invalid",
                wrong=[Wrong("name", f"{name[:50]!r} is not a valid name.")],
            )
        if folder.type != "folder":
            raise bad_request(Wrong("to", f"{self.path(folder)} is a file, so nothing is below it."))
        if self.child(folder, name):
            where = self.path(folder)
            raise SandboxRefusal(409, "Conflict", wrong=[Wrong("name", f"There is a {name} in {where} already.")])

    def _new(self, type_: str, name: str, parent: str, *, size: int = 0, id_: str = "") -> DriveItem:
        now = self._moment()
        return DriveItem(type_, id_ or self._free_id(), name, parent, size, 1, False, "active", now, now)

    def _free_id(self) -> str:
        with self._store.change():
            number = int(self._store.noted("next item", _FIRST_ID))
            while self.at(("file", str(number))) or self.at(("folder", str(number))):
                number += 1
            self._store.note("next item", number + 1)
        return str(number)

    def _insert(self, item: DriveItem) -> DriveItem:
        self._store.write(
            "INSERT INTO items (type, id, name, parent, size, version, is_locked, state, created, modified)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *_values(item),
        )
        return item

    def change(self, item: DriveItem, **changes: Any) -> DriveItem:
        """Change an item, and set its `modified`."""
        changed = replace(item, modified=self._moment(), **changes)
        self._store.write(
            "UPDATE items SET name = ?, parent = ?, size = ?, version = ?, is_locked = ?, state = ?, modified = ?"
            " WHERE type = ? AND id = ?",
            changed.name,
            changed.parent,
            changed.size,
            changed.version,
            changed.is_locked,
            changed.state,
            changed.modified,
            *item.key,
        )
        return changed


def _parts(reference: str) -> list[str]:
    if not reference.isprintable():
        raise bad_request(Wrong("item", "A path must not contain invisible characters."))
    return [part for part in reference.strip("/").split("/") if part]


def _is_reference(name: str) -> bool:
    return is_id(name) or name.startswith(("file:", "folder:"))


def _values(item: DriveItem) -> tuple[Any, ...]:
    return (
        item.type,
        item.id,
        item.name,
        item.parent,
        item.size,
        item.version,
        item.is_locked,
        item.state,
        item.created,
        item.modified,
    )


def _item(row: sqlite3.Row) -> DriveItem:
    return DriveItem(**{**dict(row), "is_locked": bool(row["is_locked"])})
