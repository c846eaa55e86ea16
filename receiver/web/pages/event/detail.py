"""What every detail has in common: it is the right pane alone or the whole page, and its address has a tab."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, TypeVar
from urllib.parse import urlencode

from flask import Response, make_response, render_template, request
from markupsafe import Markup

from receiver import humanize
from receiver.errors import UnreadableError
from receiver.humanize import hex_lines
from receiver.inbox.reinstate import BY_NOBODY
from receiver.sources import profile_of, wire
from receiver.web.page import wants_part
from receiver.web.pages import inbox
from receiver.web.payload import tree

SHOWN_BYTES = 64 * 1024
STEPS_AT_ONCE = 200
_OF_ONE_REQUEST = ("view", "seen", "verified", "read", "headers")

Some = TypeVar("Some")


def show(template: str, *, selected: str, kind: inbox.Kind, title: str, **facts: Any) -> Response:
    """Give a detail: alone to htmx, which knows the rest of the page, and in the whole page to a browser."""
    detail = Markup(render_template(template, address=address, **facts))  # noqa: S704 - our template, which escapes
    if wants_part("detail"):
        return make_response(Markup("<title>{} · Signalbox</title>{}").format(title, detail))
    return make_response(inbox.render(selected, detail, kind, title))


def address(path: str, **changed: str | None) -> str:
    """Give a path of ours with what the address of this page asks for, but for what is changed; None leaves it out."""
    asked = {**dict.fromkeys(_OF_ONE_REQUEST), **changed}
    asked = {**{name: value for name, value in request.args.items() if name not in asked}, **asked}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    return f"{path}?{query}" if query else path


def tab(known: Iterable[str]) -> str:
    """Give the tab that the address asks for; the first one where it asks for none, or for one that is not there."""
    first, *others = known
    asked = request.args.get("tab", first)
    return asked if asked in others else first


def in_clear() -> bool:
    """Say whether somebody asks to see header lines as they came: this once, no link goes on with it."""
    return request.args.get("headers") == "clear"


def raw(body: bytes) -> Mapping[str, Any]:
    """Give the beginning of a body as text or as a hex dump, as the address asks; what is no text only so."""
    beginning = body[:SHOWN_BYTES]
    text = _text(beginning, is_cut=len(body) > SHOWN_BYTES)
    as_hex = text is None or request.args.get("as") == "hex"
    return {
        "size": len(body),
        "shown": len(beginning),
        "is_text": text is not None,
        "as_hex": as_hex,
        "text": "\n".join(hex_lines(beginning)) if as_hex else text,
    }


def _text(beginning: bytes, *, is_cut: bool) -> str | None:
    # The cut may go through a letter, which is up to four bytes long.
    for lost in range(4 if is_cut else 1):
        try:
            return beginning[: len(beginning) - lost].decode("utf-8")
        except UnicodeDecodeError:
            continue
    return None


def drawn(payload: object) -> Iterator[tree.Step]:
    """Give the steps of a payload's drawing; others get their turn in between."""
    return _with_pauses(tree.steps(payload))


def _with_pauses(steps: Iterable[Some]) -> Iterator[Some]:
    for number, step in enumerate(steps, 1):
        if number % STEPS_AT_ONCE == 0:
            time.sleep(0)
        yield step


def payload_of(body: bytes) -> tuple[dict[str, Any] | None, str]:
    """Give the payload of a body that nobody has read yet, and where there is none the reason."""
    try:
        return wire.read_object(body), ""
    except UnreadableError as error:
        return None, " ".join(chain.from_iterable(error.errors.values()))


def download(name: str, body: bytes) -> Response:
    """Give a body, byte for byte, to be saved and not to be shown."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.bin"', "X-Content-Type-Options": "nosniff"}
    return Response(body, headers=headers, mimetype="application/octet-stream")


def key_in_words(source: str, slot: str) -> str:
    """Say which key verified a delivery, by its slot."""
    if slot == BY_NOBODY.by:
        return "nobody: somebody here let it in"
    profile = profile_of(source)
    return profile.key_words.verified.format(slot=slot) if profile else f"{slot} of {source}"


def provider(source: str) -> str:
    """Return what people call the provider of a source."""
    profile = profile_of(source)
    return profile.label if profile else source


def told(response: Response, said: str) -> Response:
    """Have the page say something at its foot: event.js listens for it."""
    response.headers["HX-Trigger"] = json.dumps({"signalbox:told": said})
    return response


def span_after(first: datetime, at: datetime) -> str:
    """Say how long after the first something came; `at once` where it took no time."""
    passed = at - first
    if abs(passed) < timedelta(milliseconds=1):
        return "at once"
    return f"{humanize.span(passed)} {'after' if passed > timedelta() else 'before'} the first"
