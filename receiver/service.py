"""Service: what one running installation is made of, in one typed value that the wiring makes (receiver/app.py)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa
from flask import Flask, current_app

from receiver.inbox.rows import Inbox
from receiver.observe.metrics import Tally
from receiver.sources.accounts import Gate

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
