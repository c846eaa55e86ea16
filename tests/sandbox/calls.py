"""What the tests of the sandbox say to it: calls of Box's API, and calls of its own."""

import json
from dataclasses import dataclass
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

ADDRESS = "http://127.0.0.1:8000/hooks/box"
FOLDER = {"id": "1200", "type": "folder"}


@dataclass(frozen=True)
class Post:
    """One delivery as it went out."""

    address: str
    body: bytes
    headers: dict[str, str]

    @property
    def payload(self) -> dict[str, Any]:
        payload: dict[str, Any] = json.loads(self.body)
        return payload

    @property
    def name(self) -> str:
        return str(self.payload.get("trigger") or self.payload.get("action", ""))


@dataclass(frozen=True)
class Box:
    """A caller of the Webhooks API."""

    client: FlaskClient
    token: str = "one"

    def as_(self, token: str) -> "Box":
        return Box(self.client, token)

    def call(self, method: str, path: str = "", **options: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.token}"} | options.pop("headers", {})
        return self.client.open(f"/2.0/webhooks{path}", method=method, headers=headers, **options)

    def create(self, target: dict[str, str] = FOLDER, address: str = ADDRESS, **more: Any) -> TestResponse:
        body = {"target": target, "address": address, "triggers": more.pop("triggers", ["FILE.UPLOADED"])}
        return self.call("POST", json=body | more)

    def register(self, *triggers: str, target: dict[str, str] = FOLDER) -> str:
        """Make a webhook and give its id."""
        made = self.create(target, triggers=triggers or ["FILE.UPLOADED"])
        assert made.status_code == 201, made.get_data(as_text=True)
        return str(made.get_json()["id"])


@dataclass(frozen=True)
class Controls:
    """A caller of the sandbox's own API."""

    client: FlaskClient

    def get(self, path: str) -> Any:
        return self.client.get(f"/sandbox{path}").get_json()

    def post(self, path: str, *, expect: int = 200, **body: Any) -> Any:
        response = self.client.post(f"/sandbox{path}", json=body)
        assert response.status_code == expect, response.get_data(as_text=True)
        return response.get_json()

    def do(self, action: str, item: str, to: str = "", **more: Any) -> list[str]:
        """Do something on the drive, and give the triggers that it set off."""
        answer = self.post("/actions", action=action, item=item, to=to, **more)
        return [one["trigger"] for one in answer["set_off"]]

    def refused(self, path: str, **body: Any) -> str:
        response = self.client.post(f"/sandbox{path}", json=body)
        assert 400 <= response.status_code < 500
        return str(response.get_json()["error"])
