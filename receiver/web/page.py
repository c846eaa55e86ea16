"""What every page uses: the time, the engine, static files, and how times and odd characters are shown."""

import re
import shlex
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from flask import Flask, request, url_for
from markupsafe import Markup, escape

from receiver import humanize
from receiver.outbound import addresses

COMMAND = ".venv/bin/signalbox"  # as it is typed in the folder of the project
STATIC = Path(__file__).resolve().parent / "static"

# What a terminal or browser would act on instead of showing: control characters, those that turn the direction of
# writing, those that cannot be seen, and halves of characters.
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def prepare(app: Flask) -> None:
    """Give an application's templates what ours use."""
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.add_template_filter(seen, "seen")
    app.add_template_filter(ago, "ago")
    app.add_template_filter(moment, "moment")
    app.add_template_filter(humanize.size, "size")
    app.add_template_filter(humanize.count, "counted")
    app.add_template_filter(humanize.ordinal, "ordinal")
    app.add_template_global(asset)
    app.add_template_global(sent_here)
    app.jinja_env.globals["signalbox"] = COMMAND


def now() -> datetime:
    return datetime.now(UTC)


def wants_part(target: str) -> bool:
    """Say whether htmx asks for the element of this id alone, rather than a browser for the whole page."""
    return request.headers.get("HX-Target") == target and "HX-History-Restore-Request" not in request.headers


def asset(name: str) -> str:
    """Give the address of a static file, which changes with its content: browsers may keep it for ever."""
    return url_for("static", filename=name, v=_digest(name, (STATIC / name).stat().st_mtime_ns))


@cache
def _digest(name: str, _changed: int) -> str:
    return sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def sent_here() -> str:
    """Give what `signalbox send` needs behind it in another shell to reach us; "" where it would anyway."""
    base = request.host_url.rstrip("/")
    return "" if addresses.is_usual(base) else f" --to {shlex.quote(base)}"


def seen(text: object) -> Markup:
    """Give text from outside so that all of it is seen: what is invisible or turns the line stands as its number."""
    parts, at, whole = [], 0, str(text)
    for found in UNSEEN.finditer(whole):
        parts += [escape(whole[at : found.start()]), f'<span class="unseen">U+{ord(found[0]):04X}</span>']
        at = found.end()
    return Markup("".join([*parts, escape(whole[at:])]))  # noqa: S704 - each part is escaped, or a number


def ago(at: str | datetime | None) -> Markup:
    """Give a time as people say it, exact on hover and for screen readers; app.js keeps it true."""
    return _time(at, lambda moment: humanize.ago(moment, now()), "ago")


def moment(at: str | datetime | None) -> Markup:
    """Give a time in full, in UTC; app.js puts the local one beside it."""
    return _time(at, humanize.full, "moment")


def _time(at: str | datetime | None, say: Any, kind: str) -> Markup:
    if at is None:
        return Markup("&ndash;")
    when = humanize.parse(at) if isinstance(at, str) else at
    return Markup('<time class="{}" datetime="{}" title="{}">{}</time>').format(
        kind, when.isoformat(), humanize.full(when), say(when)
    )
