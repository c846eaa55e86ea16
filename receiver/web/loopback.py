"""Deliveries that this very process gives to its own hooks, as if they had come over HTTP."""

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flask import current_app
from werkzeug.test import EnvironBuilder, run_wsgi_app

from receiver import service, signals


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the hook said, how long it took, and the id of the rejected or quarantined delivery, if it is one."""

    status: int
    said: Mapping[str, Any]
    milliseconds: float
    kept_apart: str | None

    @property
    def verdict(self) -> str:
        return str(self.said.get("status", "answered"))

    @property
    def json(self) -> str:
        return json.dumps(self.said, indent=2, ensure_ascii=False)

    @property
    def event(self) -> str | None:
        return self.said.get("event")


def deliver(source: str, body: bytes, lines: Sequence[tuple[str, str]]) -> Outcome:
    """Verify a delivery, keep it and answer it, with all that it would meet from outside but the socket."""
    environ = EnvironBuilder(f"/hooks/{source}", method="POST", headers=list(lines), data=body).get_environ()
    began = time.perf_counter()
    with _noting_ids() as ids:
        chunks, status, _headers = run_wsgi_app(current_app.wsgi_app, environ)
        said = json.loads(b"".join(chunks))
    service.current().inbox.refusals.write_out()  # who sent it looks at once
    milliseconds = (time.perf_counter() - began) * 1000
    return Outcome(int(status.split()[0]), said, milliseconds, ids[0] if ids else None)


@contextmanager
def _noting_ids() -> Iterator[list[str]]:
    """Note under which ids deliveries are kept apart: the answer does not say, because anybody may get it."""
    ids: list[str] = []
    mine = threading.get_ident()

    def note(_sender: object, **told: Any) -> None:
        # Others are served meanwhile: what they are told is not ours.
        if threading.get_ident() == mine:
            ids.append(told.get("rejected_id") or told["quarantined_id"])

    with signals.delivery_rejected.connected_to(note), signals.delivery_quarantined.connected_to(note):
        yield ids
