"""Service: what one running installation is made of, in one typed value that the wiring makes (receiver/app.py)."""

import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa
from flask import Flask, current_app

from receiver.inbox.rows import Inbox
from receiver.inbox.verifier import Verifier
from receiver.observe.metrics import Tally
from receiver.sources.accounts import Gate

# Who knows SECRET_KEY may ask a web process whether it has the keys that are set now; others learn nothing of them.
KEYS_HEADER = "X-Signalbox-Keys"

_NAME = "signalbox"
_Part = TypeVar("_Part")


def _is_not_ending() -> bool:
    return False


@dataclass(slots=True, kw_only=True)
class Service:
    """The database, the inbox and the keys of an application, and what its web process and its server add to them."""

    engine: sa.Engine
    inbox: Inbox
    gates: Mapping[str, Gate]
    tally: Tally
    misspelt: Mapping[str, str] = field(default_factory=dict)  # names in .env that are no settings, with the closest

    # What the web part adds (receiver/web/site.py).
    login: str | None = None  # what a session has to carry; None where nobody can log in
    api_document: Callable[[], dict[str, Any]] = dict

    # What the server says (config/gunicorn.py): whose X-Forwarded-For to believe, and whether this process has to end.
    proxies: tuple[str, ...] = ()
    ending: Callable[[], bool] = _is_not_ending

    _parts: dict[type[Any], Any] = field(default_factory=dict)

    @property
    def verifier(self) -> Verifier:
        """Return what verifies rejected deliveries again, by the keys of now."""
        return Verifier(self.engine, self.inbox, self.gates)

    def add(self, part: object) -> None:
        """Keep an object of the web part, of which each service has one; it replaces the one of its class."""
        self._parts[type(part)] = part

    def part(self, kind: type[_Part]) -> _Part:
        """Return the object of this class that `add` kept: the classes themselves are known to the web part alone."""
        found: _Part = self._parts[kind]
        return found


def install(app: Flask, service: Service) -> None:
    """Make this the service of an application."""
    app.extensions[_NAME] = service


def of(app: Flask) -> Service:
    """Return the service of an application."""
    found: Service = app.extensions[_NAME]
    return found


def current() -> Service:
    """Return the service of the application that this request or command runs in."""
    return of(current_app)


def engine() -> sa.Engine:
    """Return the engine of the application that this request or command runs in."""
    return current().engine


def fingerprint_of_keys(app: Flask) -> str | None:
    """Return what tells an application's keys from others to who knows its SECRET_KEY; None where that is not set."""
    secret: str | None = app.config["SECRET_KEY"]
    if not secret:
        return None
    keys = {name: sorted(gate.keys.items()) for name, gate in of(app).gates.items()}
    return hmac.new(secret.encode(), json.dumps(keys, sort_keys=True).encode(), "sha256").hexdigest()
