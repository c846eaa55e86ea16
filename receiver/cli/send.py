"""`signalbox send`: deliveries signed with the keys of this installation, as the source itself would send them."""

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext
from rich.text import Text

from receiver import service
from receiver.cli import options, paths, screen
from receiver.errors import SignalboxError
from receiver.humanize import plain
from receiver.outbound import Client, OutboundError, Reply, Trouble, parse, read_json
from receiver.outbound.addresses import address, hook_url
from receiver.sources import PROFILES, SOURCES, samples
from receiver.sources.accounts import Gate

Lines = list[tuple[str, str]]

WITHIN_SECONDS = 30
MOST_BYTES = 64 * 1024
STALER = timedelta(minutes=1)
MANY_NUMBERS = 10**8
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class Answer:
    """What the receiver said to one delivery, and what is wrong with how it said it."""

    status: int
    said: Mapping[str, Any]
    milliseconds: float
    fault: str = ""

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300 and not self.fault


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
@options.within(WITHIN_SECONDS, "Wait so long for each response, to its last byte.")
@click.option("--list", "only_names", is_flag=True, help="List the names that have a sample, and send nothing.")
@options.as_json
@with_appcontext
def send(
    source: str | None,
    name: str | None,
    *,
    to: str | None,
    within: timedelta,
    only_names: bool,
    as_json: bool,
    **wish: Any,
) -> None:
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
    for answer in _post(url, deliveries, within):
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
    names = [{"source": source, "name": name} for source in sources for name in samples.names(source)]
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
        parts = parse(to)
    except OutboundError as error:
        words = f"{plain(to, most=200)!r} is no URL to send to: write http://HOST:PORT. {error}"
        raise click.BadParameter(words, param_hint=hint) from error
    return hook_url(to.rstrip("/"), source) if parts.path == "/" else to


def _open_gate(source: str) -> Gate:
    gate = service.current().gates[source]
    if not gate.keys:
        raise SignalboxError(f"{source} is off, so there is no key to sign with: set {' or '.join(gate.settings)}.")
    return gate


def _hint_at_known(source: str, name: str) -> None:
    known = samples.names(source)
    if name in known or name in PROFILES[source].aliases:
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
        payload = samples.sample(source, name, at=at, number=number)
        for change in changes:
            paths.change(payload, change)
        for _ in range(2 if duplicate else 1):
            body, headers = _forge(source, payload, gate.keys, at)
            yield samples.tampered(body) if tamper else body, headers


def _forge(source: str, payload: Mapping[str, Any], keys: Mapping[str, str], at: datetime) -> tuple[bytes, Lines]:
    try:
        return samples.forge(source, payload, keys, at=at)
    except UnicodeEncodeError as error:
        raise click.UsageError(f"This payload cannot be written as UTF-8: {error.reason}.") from error


def _post(url: str, deliveries: Iterator[tuple[bytes, Lines]], within: timedelta) -> Iterator[Answer]:
    with Client(within=within, most=MOST_BYTES) as client:
        for body, headers in deliveries:
            try:
                with screen.waiting(url, most=within):
                    reply = client.fetch("POST", url, headers=headers, body=body)
            except OutboundError as error:
                advice = " Start it with make run, or say with --to where it is." if _is_nobody(error) else ""
                raise SignalboxError(f"No response of {plain(url, most=200)}: {error}{advice}") from error
            said, fault = _said(reply)
            yield Answer(reply.status, said, reply.took.total_seconds() * 1000, fault)


def _is_nobody(error: OutboundError) -> bool:
    return error.trouble in (Trouble.UNREACHED, Trouble.NO_ADDRESS)


def _said(reply: Reply) -> tuple[Mapping[str, Any], str]:
    """Return what a Signalbox says, or the beginning of what somebody else does, and what is wrong with the body."""
    fault = f"the body of its response {reply.fault}" if reply.fault else ""
    try:
        said = read_json(reply)
        if isinstance(said, dict):
            return said, ""
    except OutboundError:
        pass
    return {"status": "answered", "detail": plain(reply.body[:1000].decode("utf-8", "replace"), most=200)}, fault


def _line(answer: Answer) -> Text:
    said = answer.said
    verdict = {"accepted": "green", "duplicate": "cyan"}.get(str(said.get("status")), "red")
    words = [plain(said[name], most=_LONGEST) for name in ("event", "reason", "detail") if said.get(name)]
    if said.get("errors"):
        words.append(plain(json.dumps(said["errors"]), most=_LONGEST))
    if answer.fault:
        words.append(f"({answer.fault})")
    return Text.assemble(
        (f"{answer.status}  ", "bold"),
        screen.styled(f"{plain(said.get('status', 'answered'), most=40):<11}  ", verdict),
        screen.styled("  ".join(words)),
        (f"  {answer.milliseconds:.0f} ms", "dim"),
    )


def _item(answer: Answer) -> dict[str, Any]:
    item = {"status": answer.status, "answer": answer.said, "milliseconds": round(answer.milliseconds, 1)}
    return item | ({"fault": answer.fault} if answer.fault else {})


def _suggest(answers: list[Answer]) -> None:
    last = answers[-1].said
    looks = {"rejected": "signalbox rejected show last", "quarantined": "signalbox quarantine show last"}
    event = plain(last.get("event"), most=40)
    look = f"signalbox events show {event}" if event else looks.get(str(last.get("status")))
    if look:
        screen.note(f"See it: {look}")
