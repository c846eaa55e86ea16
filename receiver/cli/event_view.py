"""How an event looks on the screen: as a row, as a line, and whole."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from receiver import humanize
from receiver.cli import job_view, raw_view, screen
from receiver.observe.records import EventDetail, EventRecord

HOW_TO_GET_ONE = "No events yet. This sends one: signalbox send box FILE.UPLOADED"
SOON = timedelta(seconds=10)


def grid(items: Sequence[EventRecord], now: datetime) -> Table:
    rows = [
        (
            screen.styled(humanize.age(item.received_at, now), "dim"),
            item.id,
            screen.styled(item.type, "cyan"),
            fate(item),
        )
        for item in items
    ]
    return screen.table(["AGE", "ID", "TYPE", "BECAME"], rows)


def line(item: EventRecord) -> Text:
    return Text.assemble(
        (humanize.clock(item.received_at), "dim"),
        f"  {item.id}  ",
        screen.styled(item.type, "cyan"),
        *([("  drift", "yellow")] if item.drift else []),
    )


def fate(item: EventRecord) -> Text:
    """Say in a few words what became of an event: its jobs by state, and what is unusual about it."""
    counts = item.job_counts
    parts = [
        Text(f"{counts[state]} {state}", style=style) for state, style in job_view.STATES.items() if state in counts
    ]
    if not parts:
        parts = [Text("not routed yet", "yellow") if item.state == "accepted" else Text("no handler", "dim")]
    if item.deliveries > 1:
        parts.append(Text(f"{item.deliveries} times", style="dim"))
    if item.drift:
        parts.append(Text("drift", style="yellow"))
    return Text(", ").join(parts)


def whole(item: EventDetail, now: datetime, *, full: bool, nobody_works: bool) -> Iterator[RenderableType]:
    """Give the parts of an event from top to bottom: what is most often looked for comes last, next to the prompt."""
    yield Text.assemble(screen.styled(item.type, "bold cyan"), "  ", fate(item))
    yield screen.facts(_facts(item, now))
    yield screen.heading("Headers")
    yield raw_view.header_lines(item.headers)
    yield screen.heading("Payload")
    yield screen.as_json(item.payload)
    yield from _drift(item.drift)
    yield from _deliveries(item)
    yield screen.heading("Jobs")
    yield from _jobs(item, now, full, nobody_works)


def _facts(item: EventDetail, now: datetime) -> Iterator[tuple[str, str]]:
    received = item.received_at
    yield "Id", item.id
    if item.type != f"{item.source}:{item.name}":
        yield "Name", f"{item.name}, as {item.source} calls it"
    yield "Received", f"{humanize.full(received)}, {humanize.ago(received, now)}"
    if item.occurred_at:
        yield "Occurred", _occurred(item.occurred_at, received)
    yield "Verified by", item.verified_by


def _occurred(occurred: datetime, received: datetime) -> str:
    if abs(received - occurred) < timedelta(seconds=1):
        return humanize.full(occurred)
    side = "before" if occurred < received else "after"
    return f"{humanize.full(occurred)}, {humanize.span(received - occurred)} {side} that"


def _drift(drift: Sequence[Mapping[str, str]]) -> Iterator[RenderableType]:
    if drift:
        yield screen.heading("Drift from the schema that we know")
        yield screen.facts((one["path"], screen.styled(one["problem"], "yellow")) for one in drift)


def _deliveries(item: EventDetail) -> Iterator[RenderableType]:
    if not item.repeats:
        return
    first = item.received_at
    rows = [("1st", humanize.full(first), item.verified_by, Text())]
    for number, repeat in enumerate(item.repeats, 2):
        at = repeat.received_at
        side = "before" if at < first else "after"  # one that was let in may be older
        when = Text(f"{humanize.span(at - first)} {side} the first", style="dim")
        differs = Text(", with another body", style="yellow") if repeat.body_differs else Text()
        rows.append((humanize.ordinal(number), humanize.full(at), repeat.verified_by, when + differs))
    yield screen.heading("Deliveries")
    yield screen.table(["", "RECEIVED", "VERIFIED BY", ""], rows, whole=["RECEIVED"])
    left_out = item.deliveries - len(rows)
    if left_out > 0:
        yield Text(f"… and {left_out} more", style="dim")


def _jobs(item: EventDetail, now: datetime, full: bool, nobody_works: bool) -> Iterator[RenderableType]:
    if item.state == "accepted":
        # An old event may have been put back just now.
        late = nobody_works and now - item.received_at > SOON
        yield Text(f"Not routed yet{': is a worker running?' if late else '.'}", style="yellow")
    elif not item.jobs:
        yield Text("No handler wanted it. Which want what: signalbox handlers list", style="dim")
    for job in item.jobs:
        yield from job_view.whole(job, now, full=full)
