"""The registrations of the sandbox: which webhooks exist, whose they are, and when Box would remove one."""

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from receiver.registrations.rules import MOST_REGISTRATIONS
from receiver.sandbox.box_errors import SandboxRefusal, Wrong, bad_request
from receiver.sandbox.clock import Clock
from receiver.sandbox.rules import ROOT_ID, Key, check_address, check_triggers, is_id
from receiver.sandbox.sessions import Session, user_mini
from receiver.sandbox.store import SandboxStore
from receiver.sources.box import samples

# https://developer.box.com/guides/webhooks/v2/limitations-v2/ (as of 2026): a webhook is removed if its last success is
# 30 days ago, and the last time that something set it off is more than 14 days after that.
SILENT_FOR = timedelta(days=30)
TRIED_FOR = timedelta(days=14)
_GRACE = 0.001  # seconds: a moment that was converted to float may be a little earlier


@dataclass(frozen=True, slots=True)
class Registration:
    """A webhook as it exists at Box."""

    id: int
    user_id: int
    user: str
    application: str
    target: Key
    address: str
    triggers: tuple[str, ...]
    created: str

    def mini(self) -> dict[str, Any]:
        target_type, target_id = self.target
        return {"id": str(self.id), "type": "webhook", "target": {"id": target_id, "type": target_type}}

    def full(self) -> dict[str, Any]:
        return {
            **self.mini(),
            "created_by": user_mini(self.user_id, self.user),
            "created_at": self.created,
            "address": self.address,
            "triggers": list(self.triggers),
        }


class Registrations:
    """The five operations of the API; each caller sees only its own registrations."""

    def __init__(
        self, store: SandboxStore, clock: Clock, *, is_there: Callable[[Key], bool], any_address: bool = False
    ) -> None:
        self._store = store
        self._clock = clock
        self._is_there = is_there
        self._any_address = any_address

    def create(self, session: Session, target: Key, address: str, triggers: Collection[str]) -> Registration:
        with self._store.change():
            self._check(target, address, triggers)
            self._check_free(session, target)
            owner = (session.user_id, session.application)
            count = self._store.rows("SELECT count(*) AS n FROM webhooks WHERE user_id = ? AND application = ?", *owner)
            if count[0]["n"] >= MOST_REGISTRATIONS:
                raise bad_request(
                    Wrong("webhooks", f"A user has no more than {MOST_REGISTRATIONS} in one application.")
                )
            now = self._clock.now().timestamp()
            made = self._store.write(
                "INSERT INTO webhooks (user_id, application, target_type, target_id, address, triggers, created,"
                " delivered_at, triggered_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                *owner,
                *target,
                address,
                json.dumps(_unique(triggers)),
                samples.local(self._clock.wall()).isoformat(timespec="seconds"),
                now,
                now,
            )
            return self.get(session, str(made))

    def get(self, session: Session, webhook_id: str) -> Registration:
        found = self._store.row(
            f"{_SELECT} WHERE webhooks.id = ? AND user_id = ? AND application = ?",
            int(webhook_id) if is_id(webhook_id) else -1,
            session.user_id,
            session.application,
        )
        if found is None:
            raise SandboxRefusal(
                404, "Not Found", wrong=[Wrong("webhook_id", "You have no such webhook.", reason="not_found")]
            )
        return _registration(found)

    def page(self, session: Session, *, limit: int, after: int) -> list[Registration]:
        """Return up to `limit` registrations, oldest first, with ids above `after`."""
        rows = self._store.rows(
            f"{_SELECT} WHERE webhooks.id > ? AND user_id = ? AND application = ? ORDER BY webhooks.id LIMIT ?",
            after,
            session.user_id,
            session.application,
            limit,
        )
        return [_registration(row) for row in rows]

    def update(self, session: Session, webhook_id: str, **changes: Any) -> Registration:
        """Change `target`, `address` or `triggers`; new triggers replace the old ones."""
        with self._store.change():
            old = self.get(session, webhook_id)
            target, address = changes.get("target", old.target), changes.get("address", old.address)
            triggers = changes.get("triggers", old.triggers)
            self._check(target, address, triggers)
            if target != old.target:
                self._check_free(session, target)
            self._store.write(
                "UPDATE webhooks SET target_type = ?, target_id = ?, address = ?, triggers = ? WHERE id = ?",
                *target,
                address,
                json.dumps(_unique(triggers)),
                old.id,
            )
            return self.get(session, webhook_id)

    def delete(self, session: Session, webhook_id: str) -> None:
        with self._store.change():
            self.remove(self.get(session, webhook_id))

    def remove(self, registration: Registration) -> None:
        """Delete a registration, and its undelivered events."""
        with self._store.change():
            self._store.write("DELETE FROM webhooks WHERE id = ?", registration.id)
            self._store.write(
                "UPDATE events SET state = 'dropped', due_at = NULL WHERE webhook_id = ? AND state = 'waiting'",
                registration.id,
            )

    def _check(self, target: Key, address: str, triggers: Collection[str]) -> None:
        wrong = [*check_address(address, any_address=self._any_address), *check_triggers(triggers, target[0])]
        if target == ("folder", ROOT_ID):
            wrong.append(Wrong("target", "The root folder takes no webhook; name a folder below it."))
        if wrong:
            raise bad_request(*wrong)
        if not self._is_there(target):
            raise SandboxRefusal(
                404, "Not Found", wrong=[Wrong("target", f"There is no such {target[0]}.", reason="not_found")]
            )

    def _check_free(self, session: Session, target: Key) -> None:
        taken = self._store.row(
            "SELECT id FROM webhooks WHERE target_type = ? AND target_id = ? AND user_id = ? AND application = ?",
            *target,
            session.user_id,
            session.application,
        )
        if taken:
            # Box's own words (box/samples, 2026): a caller can learn the id only from this sentence.
            message = f"Webhook:{taken['id']} already exists on the specified target."
            raise SandboxRefusal(409, "Bad Request", wrong=[Wrong("existWebhookId", message)])

    def all(self) -> list[Registration]:
        return [_registration(row) for row in self._store.rows(f"{_SELECT} ORDER BY webhooks.id")]

    def of_user(self, user_id: int) -> list[Registration]:
        return [one for one in self.all() if one.user_id == user_id]

    def find(self, webhook_id: int) -> Registration | None:
        found = self._store.row(f"{_SELECT} WHERE webhooks.id = ?", webhook_id)
        return _registration(found) if found else None

    def watching(self, watched: Iterable[Key], trigger: str) -> list[Registration]:
        """Return those on any of these files and folders that ask for a trigger, in the order they were made."""
        found = []
        for target in set(watched):
            rows = self._store.rows(f"{_SELECT} WHERE target_type = ? AND target_id = ?", *target)
            found += [one for one in map(_registration, rows) if trigger in one.triggers]
        return sorted(found, key=lambda one: one.id)

    def set_off(self, registration: Registration) -> None:
        now = self._clock.now().timestamp()
        self._store.write("UPDATE webhooks SET triggered_at = ? WHERE id = ?", now, registration.id)

    def delivered(self, webhook_id: int) -> None:
        now = self._clock.now().timestamp()
        self._store.write("UPDATE webhooks SET delivered_at = ? WHERE id = ?", now, webhook_id)

    def forsaken(self) -> list[Registration]:
        """Return those that Box would remove by now, because nothing reached their address for so long."""
        rows = self._store.rows(
            f"{_SELECT} WHERE triggered_at - delivered_at > ? AND delivered_at <= ?",
            TRIED_FOR.total_seconds(),
            (self._clock.now() - SILENT_FOR).timestamp() + _GRACE,
        )
        return [_registration(row) for row in rows]

    def next_forsaken_at(self) -> float | None:
        """Return when, in seconds since 1970, the next one is removed if nothing is delivered until then."""
        row = self._store.rows(
            "SELECT min(delivered_at) AS first FROM webhooks WHERE triggered_at - delivered_at > ?",
            TRIED_FOR.total_seconds(),
        )[0]
        return None if row["first"] is None else float(row["first"]) + SILENT_FOR.total_seconds()


_SELECT = "SELECT webhooks.*, users.name AS user FROM webhooks JOIN users ON users.id = user_id"


def _unique(triggers: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(triggers))


def _registration(row: sqlite3.Row) -> Registration:
    return Registration(
        id=row["id"],
        user_id=row["user_id"],
        user=row["user"],
        application=row["application"],
        target=(row["target_type"], row["target_id"]),
        address=row["address"],
        triggers=tuple(json.loads(row["triggers"])),
        created=row["created"],
    )
