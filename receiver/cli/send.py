"""`signalbox send`: deliveries signed with the keys of this installation, as the source itself would send them."""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from ipaddress import ip_address
from typing import Any

import click
import httpx
from flask import current_app
from flask.cli import with_appcontext
from rich.text import Text

from receiver import simulator
from receiver.addresses import address, hook_url
from receiver.cli import options, paths, screen
from receiver.errors import SignalboxError
from receiver.sources import SOURCES
from receiver.web.hooks import Gate

Lines = list[tuple[str, str]]

PATIENCE_SECONDS = 30
SAID_BY_USERS = ("fp.conversion",)  # what Filestack itself writes fp.converse
STALER = timedelta(minutes=1)
MANY_NUMBERS = 10**8


@dataclass(frozen=True, slots=True)
class Answer:
    """What the receiver said to one delivery."""

    status: int
    said: Mapping[str, Any]
    milliseconds: float

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300


@click.command()
@click.argument("source", type=click.Choice(list(SOURCES)), metavar="SOURCE", required=False)
@click.argument("name", metavar="NAME", required=False)
@click.option("--to", metavar="URL", help="Where to.  [default: /hooks/SOURCE on HOST and PORT]")
@click.option(
    "--count", type=click.IntRange(1), metavar="N", default=1, help="So many different events, one after the other."
)
@click.option("--duplicate", is_flag=True, help="Send every event twice, as a retry would.")
@click.option("--tamper", is_flag=True, help="Change the body after it is signed.")
@click.option("--stale", is_flag=True, help="Sign with a time that is too long ago.")
@click.option(
    "--set", "changes", multiple=True, metavar="PATH=VALUE", help="Change the payload: --set source.name=a.pdf"
)
@click.option("--list", "only_names", is_flag=True, help="List the names that have a sample, and send nothing.")
@options.as_json
@with_appcontext
def send(source: str | None, name: str | None, to: str | None, only_names: bool, as_json: bool, **wish: Any) -> None:
    """Send what SOURCE would send when NAME happens, signed with the keys of this installation.

    \b
    signalbox send box FILE.UPLOADED --set source.name=report.pdf
    signalbox send filestack fp.upload --count 100
    signalbox send box FILE.TRASHED --duplicate
    signalbox send box FILE.UPLOADED --tamper      is refused: the bytes are not those signed
    signalbox send box SOMETHING.NEW               a name that nobody knows yet is sent as well
    """
    if only_names:
        _show_names([source] if source else list(SOURCES), as_json)
        return
    if source is None or name is None:
        raise click.UsageError("Say what to send: signalbox send box FILE.UPLOADED (--list shows the names).")
    url = target(to, source) if to is not None else _own_hook(source)
    _hint_at_known(source, name)
    deliveries = _deliveries(_open_gate(source), source, name, **wish)
    answers = []
    for answer in _post(url, deliveries):
        answers.append(answer)
        if not as_json:
            screen.show(_line(answer))
    if as_json:
        screen.show_json({"items": [_item(answer) for answer in answers]})
    else:
        _suggest(answers)
    if not all(answer.is_good for answer in answers):
        click.get_current_context().exit(1)


def _show_names(sources: list[str], as_json: bool) -> None:
    names = [{"source": source, "name": name} for source in sources for name in simulator.names(source)]
    if as_json:
        screen.show_json({"items": names, "next": None})
    else:
        screen.show(screen.table(["SOURCE", "NAME"], [(one["source"], one["name"]) for one in names], whole=["NAME"]))


def _own_hook(source: str) -> str:
    if not current_app.config["PORT"]:
        raise click.UsageError("PORT is 0, so nobody knows where to: say it with --to http://127.0.0.1:8000")
    return hook_url(address(current_app.config["HOST"], current_app.config["PORT"]), source)


def target(to: str, source: str, *, hint: str = "--to") -> str:
    """Give the URL that was asked for, or the hook of a source there where it has no path; a usage error for no URL."""
    try:
        parts = httpx.URL(to)
    except httpx.InvalidURL as error:
        raise click.BadParameter(f"{to!r} is no URL: {error}", param_hint=hint) from error
    if parts.scheme not in ("http", "https") or not parts.host:
        raise click.BadParameter(f"{to!r} is no URL: write http://HOST:PORT", param_hint=hint)
    return hook_url(to.rstrip("/"), source) if parts.path == "/" else to


def _open_gate(source: str) -> Gate:
    gate: Gate = current_app.extensions["signalbox.gates"][source]
    if not gate.keys:
        raise SignalboxError(f"{source} is off, so there is no key to sign with: set {' or '.join(gate.settings)}.")
    return gate


def _hint_at_known(source: str, name: str) -> None:
    known = simulator.names(source)
    if name in known or name in SAID_BY_USERS:
        return
    matches = {one.lower(): one for one in known}
    close = get_close_matches(name.lower(), matches, n=1)
    hint = f" Did you mean {matches[close[0]]}?" if close else ""
    screen.note(f"No {name} is known of {source}; it is sent all the same.{hint}")


def _deliveries(
    gate: Gate,
    source: str,
    name: str,
    *,
    count: int,
    duplicate: bool,
    tamper: bool,
    stale: bool,
    changes: tuple[str, ...],
) -> Iterator[tuple[bytes, Lines]]:
    """Give the deliveries one by one: each is signed just before it goes."""
    first = secrets.randbelow(MANY_NUMBERS)
    for number in range(first, first + count):
        at = datetime.now(UTC) - (gate.max_age + STALER if stale else timedelta())
        payload = simulator.sample(source, name, at=at, number=number)
        for change in changes:
            paths.change(payload, change)
        for _ in range(2 if duplicate else 1):
            body, headers = _forge(source, payload, gate.keys, at)
            yield simulator.tampered(body) if tamper else body, headers


def _forge(source: str, payload: Mapping[str, Any], keys: Mapping[str, str], at: datetime) -> tuple[bytes, Lines]:
    try:
        return simulator.forge(source, payload, keys, at=at)
    except UnicodeEncodeError as error:
        raise click.UsageError(f"This payload cannot be written as UTF-8: {error.reason}.") from error


def _post(url: str, deliveries: Iterator[tuple[bytes, Lines]]) -> Iterator[Answer]:
    with httpx.Client(trust_env=not is_here(url), timeout=PATIENCE_SECONDS) as client:
        for body, headers in deliveries:
            began = time.perf_counter()
            try:
                response = client.post(url, content=body, headers=headers)
            except httpx.TransportError as error:
                reason = str(error) or type(error).__name__
                raise SignalboxError(
                    f"No answer from {url} ({reason}). Start it with make run, or say with --to where it is."
                ) from error
            yield Answer(response.status_code, _said(response), (time.perf_counter() - began) * 1000)


def is_here(url: str) -> bool:
    """Say whether a URL is on this machine."""
    # A proxy from the environment is for the world outside.
    host = httpx.URL(url).host
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _said(response: httpx.Response) -> Mapping[str, Any]:
    try:
        said = response.json()
    except (ValueError, RecursionError):
        said = None
    return said if isinstance(said, dict) else {"status": "answered", "detail": response.text[:200]}


def _line(answer: Answer) -> Text:
    said = answer.said
    verdict = {"accepted": "green", "duplicate": "cyan"}.get(str(said.get("status")), "red")
    words = [said[name] for name in ("event", "reason", "detail") if said.get(name)]
    if said.get("errors"):
        words.append(json.dumps(said["errors"]))
    return Text.assemble(
        (f"{answer.status}  ", "bold"),
        screen.styled(f"{said.get('status', 'answered')!s:<11}  ", verdict),
        screen.styled("  ".join(map(str, words))),
        (f"  {answer.milliseconds:.0f} ms", "dim"),
    )


def _item(answer: Answer) -> dict[str, Any]:
    return {"status": answer.status, "answer": answer.said, "milliseconds": round(answer.milliseconds, 1)}


def _suggest(answers: list[Answer]) -> None:
    last = answers[-1].said
    looks = {"rejected": "signalbox rejected show last", "quarantined": "signalbox quarantine show last"}
    look = f"signalbox events show {last['event']}" if last.get("event") else looks.get(str(last.get("status")))
    if look:
        screen.note(f"See it: {look}")
