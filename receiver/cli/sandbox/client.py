"""How the commands speak to a sandbox that runs, and how they show its deliveries."""

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import click
from flask.cli import ScriptInfo
from rich.text import Text

from receiver.cli import screen
from receiver.errors import SignalboxError
from receiver.humanize import plain
from receiver.outbound import Client, OutboundError, Trouble, read_json
from receiver.outbound.addresses import address
from receiver.outbound.public_addresses import is_loopback
from receiver.registrations import SANDBOX_URL
from receiver.sandbox import SANDBOX_HEADER
from receiver.sandbox.phrases import coming

HOST, PORT = str(urlsplit(SANDBOX_URL).hostname), int(urlsplit(SANDBOX_URL).port or 0)
PLACE = "signalbox.sandbox"  # in the context's meta: where the sandbox is
PATIENCE = timedelta(seconds=40)  # longer than the sandbox waits for a receiver
MOST_BYTES = 32 * 1024 * 1024  # a thousand deliveries with what was answered to each
_GLANCE_SECONDS = 0.05
_SPAN = re.compile(r"(\d{1,7}(?:\.\d{1,3})?)([smhdw]?)", re.ASCII)
_UNITS = {"": "seconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sandbox is, as far as somebody said it."""

    host: str | None
    port: int | None

    def url(self) -> str:
        return address(*self.host_and_port())

    def host_and_port(self) -> tuple[str, int]:
        """Give what was said; else what BOX_API_URL says, where that is on this machine; else the usual place."""
        if self.host is None and self.port is None:
            app = click.get_current_context().ensure_object(ScriptInfo).load_app()
            told = urlsplit(app.config["BOX_API_URL"])
            if is_loopback(told.hostname or ""):
                return str(told.hostname), told.port or 80
        return self.host or HOST, PORT if self.port is None else self.port


class Span(click.ParamType[timedelta]):
    """A span of the sandbox's clock: `90s`, `5m`, `2h`, `15d`."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        found = _SPAN.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is no span: write 90s, 5m, 2h or 15d.", param, ctx)
        return timedelta(**{_UNITS[found[2]]: float(found[1])})


def ask(method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """Give what the running sandbox answers below /sandbox; an error in its own words where it refuses."""
    base = click.get_current_context().meta[PLACE].url()
    sent = b"" if body is None else json.dumps(body).encode()
    headers = [("Content-Type", "application/json")] if sent else []
    try:
        with (
            screen.waiting(f"the sandbox at {base}", most=PATIENCE),
            Client(within=PATIENCE, most=MOST_BYTES, by_environment=False) as client,
        ):
            reply = client.fetch(method, f"{base}/sandbox{path}", headers=headers, body=sent)
        answer = read_json(reply)
    except OutboundError as error:
        if error.trouble is Trouble.UNREACHED:
            raise SignalboxError(f"No sandbox answers at {base} ({error}): signalbox sandbox starts one.") from error
        raise SignalboxError(f"What answers at {base} is no sandbox, or is not well: {error}") from error
    if SANDBOX_HEADER not in reply.headers or not isinstance(answer, dict):
        raise SignalboxError(f"What answers at {base} is no sandbox of this release: signalbox sandbox starts one.")
    if not 200 <= reply.status < 300:
        said = answer.get("error")
        raise SignalboxError(plain(said if isinstance(said, str) else f"The sandbox answered {reply.status}."))
    return answer


def first_deliveries(events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Wait until each of these events was sent once, and give those deliveries, oldest first."""
    with screen.waiting("what the receiver says", most=PATIENCE):
        return _first_deliveries([event["id"] for event in events])


def _first_deliveries(ids: Sequence[int]) -> list[dict[str, Any]]:
    deadline = time.monotonic() + PATIENCE.total_seconds()
    seen: dict[int, dict[str, Any]] = {}
    while len(seen) < len(ids) and time.monotonic() < deadline:
        for part in range(0, len(ids), 50):
            chosen = ",".join(map(str, ids[part : part + 50]))
            for one in reversed(ask("GET", f"/deliveries?limit=1000&events={chosen}")["items"]):
                seen.setdefault(one["event"], one)
        if len(seen) < len(ids):
            time.sleep(_GLANCE_SECONDS)
    return sorted(seen.values(), key=lambda one: int(one["id"]))


def log_line(delivery: Mapping[str, Any]) -> Text:
    """Give one line that says what was sent, where, and what came of it."""
    webhook = f"webhook {delivery['webhook']}, " if delivery["webhook"] else ""
    return Text.assemble(
        verdict(delivery),
        screen.styled(f"  {delivery['name']}", "bold"),
        screen.styled(f"  to {webhook}{delivery['address']}"),
        screen.styled(f"  {coming(delivery)}", "dim"),
    )


def verdict(delivery: Mapping[str, Any]) -> Text:
    mark, style = ("✓", "green") if delivery["delivered"] else ("✗", "red")
    status = delivery["status"] or "---"
    return Text.assemble((f"{mark} {status}", style))
