"""`signalbox listen`: what a Signalbox elsewhere receives goes to a URL here as well, signed afresh; none is missed."""

from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import click
from flask import current_app
from flask.cli import with_appcontext
from rich.text import Text

from receiver import service
from receiver.cli import options, screen
from receiver.cli.listen.cursor import Cursor, held
from receiver.cli.listen.forwarder import Forwarded, forward
from receiver.cli.listen.remote import Far
from receiver.cli.send import target
from receiver.outbound import Client
from receiver.runtime.folder import folder
from receiver.storage import search

WITHIN_SECONDS = 30
MOST_BYTES = 64 * 1024


@click.command()
@click.option("--from", "base", metavar="URL", help="The Signalbox to listen to.  [default: PUBLIC_URL]")
@click.option("--to", metavar="URL", required=True, help="Where to; without a path, to /hooks/SOURCE there.")
@options.within(WITHIN_SECONDS, "Wait so long for each response, to its last byte.")
@options.source
@options.event_type
@click.option("--since", type=options.Moment(), help="The first time, from then on: 2h.  [default: now]")
@click.option("--cursor", "path", type=click.Path(dir_okay=False, path_type=Path), help="Where to remember how far.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@with_appcontext
def listen(
    *,
    base: str | None,
    to: str,
    within: timedelta,
    source: str | None,
    type: str | None,
    since: datetime | None,
    path: Path | None,
    as_json: bool,
) -> None:
    """Forward the events of a Signalbox elsewhere to a URL on this machine, one after the other, until Ctrl-C.

    The body is that which came, byte for byte, signed afresh with the keys that are set here. How far it got is
    remembered: started again, it goes on there, and nothing that came meanwhile is missed. While the URL does not
    answer it is tried again; any answer is an answer, also a 500 and one that cannot be read. API_TOKEN has to be that
    of the other one.

    \b
    API_TOKEN=… signalbox listen --from https://signalbox.example --to http://127.0.0.1:8000
    API_TOKEN=… signalbox listen --from https://signalbox.example --to http://127.0.0.1:3000/webhooks --type "box:*"
    """
    base = (base or current_app.config["PUBLIC_URL"] or "").rstrip("/")
    if not base:
        raise click.UsageError("Say with --from which Signalbox to listen to, or set PUBLIC_URL.")
    target(base, "box", hint="--from")
    target(to, "box", hint="--to")
    if type is not None:
        search.check_pattern(type)
    for name, gate in service.current().gates.items():
        if not gate.keys and source in (None, name):
            screen.note(
                f"{name} has no key here: its events go unsigned. To sign them, set {' or '.join(gate.settings)}."
            )
    filters = {name: value for name, value in (("source", source), ("type", type)) if value is not None}
    path = path or folder() / "var" / "listen" / f"{_name(base, to, filters)}.json"
    far = Far(base, current_app.config["API_TOKEN"], filters, within=within)
    with held(path), closing(far), Client(within=within, most=MOST_BYTES) as near:
        cursor = Cursor.read(path)
        screen.note(f"Listening to {base}; Ctrl-C ends it. How far it got is in {path}.")
        try:
            for one in forward(far, cursor, near, to, since or datetime.now(UTC)):
                _tell(one, as_json)
        except KeyboardInterrupt:
            return


def _name(base: str, to: str, filters: dict[str, str]) -> str:
    """Give each way from one place to another a file of its own."""
    return sha256(repr((base, to, sorted(filters.items()))).encode()).hexdigest()[:16]


def _tell(one: Forwarded, as_json: bool) -> None:
    if as_json:
        screen.show_json(asdict(one), indent=None)
        return
    style = "green" if one.status < 400 else "red"
    status = (f"{one.status}", f"bold {style}")
    type_ = screen.styled(one.type, "cyan")
    fault = screen.styled(f"  ({one.fault})" if one.fault else "", "yellow")
    screen.show(Text.assemble(status, f"  {one.event}  ", type_, (f"  {one.milliseconds:.0f} ms", "dim"), fault))
