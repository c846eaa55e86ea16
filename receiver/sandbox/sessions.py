"""Who calls: users, their tokens, and how long a token's session lasts."""

import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from receiver.sandbox.box_errors import SandboxRefusal, Wrong, not_found
from receiver.sandbox.store import SandboxStore

OUR_APPLICATION = "sandbox"
DEVELOPER_TOKEN_LASTS = timedelta(hours=1)  # https://developer.box.com/guides/webhooks/v2/limitations-v2/ (2026)
_FIRST_USER = 20_900_000


@dataclass(frozen=True, slots=True)
class Session:
    """A user as one application sees it."""

    user_id: int
    user: str
    application: str
    has_scope: bool = True


def user_mini(user_id: int, name: str) -> dict[str, str]:
    login = "".join(letter if letter.isascii() and letter.isalnum() else "." for letter in name.lower())
    return {"type": "user", "id": str(user_id), "name": name, "login": f"{login}@sandbox.example"}


class Sessions:
    """Tokens that were listed, that the token endpoint issued, or (while none is listed) that any caller sends."""

    def __init__(self, store: SandboxStore, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    def list_token(self, name: str, token: str, *, is_developers: bool = False, has_scope: bool = True) -> None:
        """Accept only listed tokens from now on; this is one of them, of the user of this name."""
        self._keep(token, name, OUR_APPLICATION, "listed", is_developers=is_developers, has_scope=has_scope)

    def issue(self, client_id: str, subject: str) -> str:
        """Return a new token of an application for a user, as the token endpoint does."""
        token = secrets.token_urlsafe(24)
        self._keep(token, subject, client_id, "issued")
        return token

    def _keep(self, token: str, user: str, application: str, kind: str, **kinds: bool) -> None:
        with self._store.change():
            self._store.write(
                "INSERT INTO tokens (token, user_id, application, kind, is_developers, has_scope, since_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (token) DO UPDATE SET user_id = excluded.user_id,"
                " kind = excluded.kind, is_developers = excluded.is_developers, has_scope = excluded.has_scope",
                token,
                self._user_id(user),
                application,
                kind,
                kinds.get("is_developers", False),
                kinds.get("has_scope", True),
                self._now().timestamp(),
            )

    def _user_id(self, name: str) -> int:
        found = self._store.row("SELECT id FROM users WHERE name = ?", name)
        if found:
            return int(found["id"])
        number = self._store.rows("SELECT count(*) AS known FROM users")[0]["known"] + 1
        return self._store.write("INSERT INTO users (id, name) VALUES (?, ?)", _FIRST_USER + number, name)

    def recognise(self, token: str) -> Session:
        """Return whose token this is; refuse one that is not listed, or whose session is over."""
        with self._store.change():
            found = self._find(token)
            if found is None:
                if self._are_listed():
                    raise unauthorized(
                        "This token is not one of those that the sandbox was given (--token NAME=TOKEN)."
                    )
                self._keep(token, f"guest {self._count() + 1}", OUR_APPLICATION, "guest")
                found = self._find(token)
        if found is None or (found["kind"] == "guest" and self._are_listed()):
            raise unauthorized("This token was used before tokens were listed, and is not among them.")
        if not self._is_live(found):
            raise unauthorized("The session of this token is over: a developer token lasts an hour.")
        return Session(found["user_id"], found["name"], found["application"], bool(found["has_scope"]))

    def _find(self, token: str) -> sqlite3.Row | None:
        return self._store.row("SELECT * FROM tokens JOIN users ON users.id = user_id WHERE token = ?", token)

    def _are_listed(self) -> bool:
        return self._store.row("SELECT 1 FROM tokens WHERE kind = 'listed'") is not None

    def _count(self) -> int:
        return int(self._store.rows("SELECT count(*) AS known FROM tokens WHERE kind = 'guest'")[0]["known"])

    def _is_live(self, token: sqlite3.Row) -> bool:
        age = self._now().timestamp() - token["since_at"]
        is_old = token["is_developers"] and age >= DEVELOPER_TOKEN_LASTS.total_seconds()
        return not token["has_ended"] and not is_old

    def is_active(self, user_id: int, application: str) -> bool:
        """Return whether any token of a user is live: without one, Box sends only NO_ACTIVE_SESSION."""
        tokens = self._store.rows("SELECT * FROM tokens WHERE user_id = ? AND application = ?", user_id, application)
        return any(map(self._is_live, tokens))

    def expire(self, name: str) -> int:
        """End the sessions of a user as if their time were over, and return the user's id."""
        found = self._store.row("SELECT id FROM users WHERE name = ?", name)
        if found is None:
            known = ", ".join(row["name"] for row in self._store.rows("SELECT name FROM users ORDER BY id"))
            raise not_found(f"There is no user {name!r}. Known are: {known or 'none yet'}.")
        self._store.write("UPDATE tokens SET has_ended = 1 WHERE user_id = ?", found["id"])
        return int(found["id"])

    def revoke(self, token: str) -> None:
        self._store.write("UPDATE tokens SET has_ended = 1 WHERE token = ?", token)

    def users(self) -> list[dict[str, Any]]:
        """Return every user without the tokens themselves."""
        rows = self._store.rows("SELECT * FROM users JOIN tokens ON users.id = user_id ORDER BY users.id, since_at")
        return [
            {
                **user_mini(row["user_id"], row["name"]),
                "application": row["application"],
                "token": row["kind"],
                "developer": bool(row["is_developers"]),
                "scope": bool(row["has_scope"]),
                "active": self._is_live(row),
            }
            for row in rows
        ]


def unauthorized(why: str) -> SandboxRefusal:
    challenge = {"WWW-Authenticate": 'Bearer realm="Service", error="invalid_token"'}
    return SandboxRefusal(
        401, "Unauthorized", wrong=[Wrong("Authorization", why, reason="invalid_token")], headers=challenge
    )
