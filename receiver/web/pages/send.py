"""Send: a sample, edited, signed right or wrong on purpose, and what became of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from receiver import service
from receiver.errors import NotFoundError, UnreadableError
from receiver.events import Delivery, Headers
from receiver.observe import queries
from receiver.service import engine
from receiver.sources import PROFILES, SOURCES, samples, wire
from receiver.sources.accounts import Gate
from receiver.sources.spoil import faults_of, spoil
from receiver.web import loopback
from receiver.web.auth import local_path
from receiver.web.loopback import Outcome
from receiver.web.page import UNSEEN, now, wants_part

MANY_NUMBERS = 10**8

send = Blueprint("send", __name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the form says: `text` is the payload as it was typed, `key` the slot to sign with ("" is all of them)."""

    source: str
    name: str
    text: str
    key: str = ""
    fault: str = ""
    is_fresh: bool = True
    is_double: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """What the receiver would make of a text: where it is no JSON object, what is unreadable, what drifts."""

    payload: dict[str, Any] | None = None
    type: str = ""
    problem: str = ""
    place: tuple[int, int] | None = None
    errors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    drift: Sequence[Mapping[str, str]] = ()


@send.get("/send")
def page() -> str:
    wish = _sample() if not request.args.get("from") else _again(request.args["from"])
    return _page(wish)


@send.post("/send")
def go() -> str:
    """Send what the form says. The page is the answer, with the form as it was: the payload fits into no address."""
    wish = _wish()
    gate = _gate(wish.source)
    if not gate.keys:
        abort(404, f"{wish.source} is off: set {' or '.join(gate.settings)} to turn it on.")
    body = _body(wish)
    outcomes = [_deliver(gate, wish, body) for _ in range(2 if wish.is_double else 1)]
    if wants_part("answer"):
        return render_template("_answer.html", outcomes=outcomes, fault=faults_of(wish.source).get(wish.fault))
    return _page(wish, outcomes)


@send.post("/send/check")
def check() -> str:
    wish = _wish()
    if wants_part("check"):
        return render_template("_check.html", checked=_check(wish.source, wish.text))
    return _page(wish)


@send.post("/send/sample")
def sample() -> Response:
    """Send one sample, signed right, and go on to `next`; where that cannot be, say why on the page that could."""
    wish = _sample(request.form.get("source"), request.form.get("name"))
    gate = _gate(wish.source)
    if not gate.keys:
        return redirect(url_for("send.page", source=wish.source), 303)
    outcome = _deliver(gate, wish, _body(wish))
    if outcome.status != 200:
        abort(outcome.status, outcome.said.get("detail"))
    return redirect(local_path(request.form.get("next")), 303)


def _page(wish: Wish, outcomes: Sequence[Outcome] = ()) -> str:
    return render_template(
        "send.html",
        wish=wish,
        gates=_gates(),
        profiles=PROFILES,
        words=PROFILES[wish.source].key_words,
        gate=_gate(wish.source),
        names=samples.names(wish.source),
        faults=faults_of(wish.source),
        fault=faults_of(wish.source).get(wish.fault),
        checked=_check(wish.source, wish.text),
        outcomes=outcomes,
    )


def _gates() -> Mapping[str, Gate]:
    return service.current().gates


def _gate(source: str) -> Gate:
    if source not in _gates():
        raise NotFoundError(f"There is no source {source!r}. The sources are: {', '.join(_gates())}.")
    return _gates()[source]


def _sample(source: str | None = None, name: str | None = None) -> Wish:
    """Give a sample of a source and a name: those asked for, or else of the first source that is on."""
    is_on = next((one for one, gate in _gates().items() if gate.keys), next(iter(_gates())))
    source = source or request.args.get("source") or is_on
    _gate(source)
    name = (name or request.args.get("name", "")).strip() or PROFILES[source].example
    at = now()
    payload = samples.sample(source, name, at=at, number=int(at.timestamp() * 1000) % MANY_NUMBERS)
    return Wish(source, name, _written(payload))


def _again(event_id: str) -> Wish:
    """Give what an event said, to be edited and sent again."""
    event = queries.show_event(engine(), event_id)
    return Wish(event.source, event.name, _written(event.payload))


def _written(payload: Mapping[str, Any]) -> str:
    """Write a payload for an editor: what would not be seen there is written as its number, as JSON allows."""
    text = json.dumps(payload, indent=2, ensure_ascii=False)
    return UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _wish() -> Wish:
    form = request.form
    source = form.get("source", "")
    _gate(source)
    text = form.get("text", "").replace("\r\n", "\n")
    return Wish(
        source,
        form.get("name", ""),
        text,
        form.get("key", ""),
        form.get("fault", ""),
        is_fresh="fresh" in form,
        is_double="double" in form,
    )


def _check(source: str, text: str) -> Checked:
    """Say what the receiver would make of a text, once it is written as the source writes."""
    try:
        payload = wire.read_object(text.encode())
        body = samples.encode(source, payload)
    except UnreadableError as error:
        return Checked(problem=error.errors["body"][0].partition(" (character")[0], place=_place(text))
    except UnicodeEncodeError as error:
        return Checked(problem=f"It cannot be written as UTF-8: {error.reason}.")
    came = Delivery(source=source, body=body, headers=Headers(), received_at=now())
    try:
        event = SOURCES[source].parse(came)
    except UnreadableError as error:
        return Checked(payload, errors=error.errors)
    return Checked(payload, event.type, drift=SOURCES[source].drift(event))


def _place(text: str) -> tuple[int, int] | None:
    """Give the line and the column, both from 1, where a text stops being JSON."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.lineno, error.colno
    except (ValueError, RecursionError):
        pass
    return None


def _body(wish: Wish) -> bytes:
    """Give the bytes to sign: written as the source writes, or, where that cannot be, as they were typed."""
    payload = _check(wish.source, wish.text).payload
    if payload is None:
        return wish.text.encode()
    return samples.encode(wish.source, samples.renewed(wish.source, payload) if wish.is_fresh else payload)


def _deliver(gate: Gate, wish: Wish, body: bytes) -> Outcome:
    keys = {slot: key for slot, key in gate.keys.items() if wish.key in ("", slot)}
    if not keys:
        raise NotFoundError(f"{wish.source} has no key named {wish.key}.")
    if not wish.fault:
        return loopback.deliver(wish.source, body, samples.signed(wish.source, body, keys, at=now()))
    spoilt = spoil(wish.source, body, keys, wish.fault, at=now(), max_age=gate.max_age, max_skew=gate.max_skew)
    return loopback.deliver(wish.source, *spoilt)
