"""A sandbox that is served over HTTP, and remembers which calls were made."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from werkzeug.serving import make_server

from receiver.registrations import Account, Kind
from receiver.registrations.client import WebhookClient
from receiver.registrations.rules import Content, Target
from receiver.sandbox import Answer, Plan, Post, World, create_sandbox, world_of
from receiver.sandbox.sessions import Session
from tests.installation import KEYS

ADDRESS = "http://127.0.0.1:8000/hooks/box"
ELSEWHERE = "http://127.0.0.1:8000/elsewhere"
UPLOADED = Content.of(ADDRESS, ["FILE.UPLOADED"])
RENAMED = Content.of(ADDRESS, ["FILE.RENAMED"])


def taken(_address: str, _body: bytes, _headers: object) -> Answer:
    """Take a delivery, and do nothing with it."""
    return Answer(200, "")


class StandIn:
    """Stands in for Box at a port of its own.

    `before` and `after` are called around each answer, with its number from 1 on; `instead` answers in its place.
    """

    def __init__(self, *, post: Post = taken, port: int = 0, **plan: Any) -> None:
        self.app = create_sandbox(Plan(**{"keys": KEYS} | plan), post=post)
        self.calls: list[str] = []
        self.before: Callable[[int], None] = lambda _number: None
        self.after: Callable[[int], None] = lambda _number: None
        self.instead: Callable[[Any, Any], Iterable[bytes]] | None = None
        self._server = make_server("127.0.0.1", port, self._serve, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.port}"

    def _serve(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if not path.startswith(("/2.0", "/oauth2")):
            return self.app(environ, start_response)
        self.calls.append(f"{environ['REQUEST_METHOD']} {path}")
        number = len(self.calls)
        self.before(number)
        answer = list((self.instead or self.app)(environ, start_response))
        self.after(number)
        return answer

    @property
    def world(self) -> World:
        return world_of(self.app)

    def account(self, **changed: Any) -> Account:
        return replace(Account(api_url=self.url, kind=Kind.SANDBOX, token="signalbox"), **changed)

    def client(self, **changed: Any) -> WebhookClient:
        return WebhookClient(self.account(**changed), pause=timedelta(milliseconds=1))

    def session(self) -> Session:
        return self.world.sessions.recognise("signalbox")

    def make(self, target: Target, content: Content = UPLOADED) -> str:
        """Make a webhook as somebody would by hand, and give its id."""
        made = self.world.registrations.create(
            self.session(), (target.type, target.id), content.address, content.triggers
        )
        return str(made.id)

    def content(self) -> dict[str, Content]:
        """Give what is there, by target."""
        return {
            f"{one.target[0]}:{one.target[1]}": Content.of(one.address, one.triggers)
            for one in self.world.registrations.all()
        }

    def ids(self) -> dict[str, str]:
        return {f"{one.target[0]}:{one.target[1]}": str(one.id) for one in self.world.registrations.all()}

    @contextmanager
    def serving(self) -> Iterator["StandIn"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()
            self.world.close()


def folder(number: int) -> Target:
    return Target("folder", str(number))
