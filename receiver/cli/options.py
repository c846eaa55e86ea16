"""The options that several commands share, and the times and numbers that they take."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

from receiver import humanize
from receiver.sources import SOURCES
from receiver.storage.search import DISCARDED, JOB_STATES, STATES

Command = TypeVar("Command", bound=Callable[..., Any])


class Moment(click.ParamType[datetime]):
    """A time (`2026-05-04T12:00Z`, in UTC where it says no offset) or a span before now (`10m`, `2h`, `3d`)."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            return humanize.read_time(value, datetime.now(UTC))
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time: write 10m, 2h or 3d for so long ago, or 2026-05-04T12:00.", param, ctx)


class Seconds(click.FloatRange):
    """A span in seconds."""

    name = "seconds"

    def __init__(self) -> None:
        super().__init__(min=0, max=86400, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, timedelta):
            return value
        return timedelta(seconds=float(super().convert(value, param, ctx)))


class JobId(click.IntRange):
    """The number of a job."""

    name = "job"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f"{value!r} is not the number of a job: signalbox jobs list shows them.", param, ctx)


JOB_ID = JobId(1, 2**63 - 1)

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
source = click.option("--source", type=click.Choice(list(SOURCES)), help="Only this source.")
event_type = click.option(
    "--type", metavar="PATTERN", help="Only these types, as handlers write them: box:FILE.UPLOADED, box:FILE.*, box:*."
)
event_state = click.option(
    "--state", type=click.Choice(STATES), help="Only events in this state, or with a job in it, or with drift."
)
job_state = click.option("--state", type=click.Choice((*JOB_STATES, DISCARDED)), help="Only jobs in this state.")
since = click.option("--since", type=Moment(), help="Received then or later: 10m, 2h, 3d ago, or a time (UTC).")
until = click.option("--until", type=Moment(), help="Received before then.")
search = click.option("-q", "--search", "q", metavar="TEXT", help="Only with this text in the body or the headers.")


def within(seconds: float, words: str) -> Callable[[Command], Command]:
    """Give a command that waits for others its `--within`."""
    return click.option("--within", type=Seconds(), metavar="SECONDS", default=seconds, show_default=True, help=words)


def paged(command: Command) -> Command:
    """Give a listing its `--limit` and `--cursor`."""
    limit = click.option(
        "--limit", type=click.IntRange(1, 1000), metavar="N", default=20, show_default=True, help="At most so many."
    )
    cursor = click.option("--cursor", help="Continue where the listing before ended (its `next`).")
    return limit(cursor(command))


def received(command: Command) -> Command:
    """Give a listing of deliveries what they are all narrowed down by."""
    return source(since(until(search(command))))
