"""How the commands speak to a sandbox that runs, and how they show its deliveries."""

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import click
import httpx
from flask.cli import ScriptInfo
from rich.text import Text

from receiver.addresses import address
from receiver.box_webhooks import SANDBOX_URL
from receiver.box_webhooks.rules import is_loopback
from receiver.cli import screen
from receiver.errors import SignalboxError
from receiver.simulator.sandbox.telling import coming

HOST, PORT = str(urlsplit(SANDBOX_URL).hostname), int(urlsplit(SANDBOX_URL).port or 0)
PLACE = "signalbox.sandbox"  # in the context's meta: where the sandbox is
PATIENCE = timedelta(seconds=40)  # longer than the sandbox waits for a receiver
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
    try:
        response = httpx.request(
            method, f"{base}/sandbox{path}", json=body, timeout=PATIENCE.total_seconds(), trust_env=False
        )
        answer = response.json()
    except httpx.TransportError as error:
        reason = str(error) or type(error).__name__
        raise SignalboxError(f"No sandbox answers at {base} ({reason}): signalbox sandbox starts one.") from error
    except ValueError as error:
        raise SignalboxError(f"What answers at {base} is no sandbox.") from error
    if response.is_error:
        raise SignalboxError(answer.get("error", f"The sandbox answered {response.status_code}."))
    return answer


def first_deliveries(events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Wait until each of these events was sent once, and give those deliveries, oldest first."""
    ids = [event["id"] for event in events]
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
