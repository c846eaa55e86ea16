"""Which of what is kept apart a command is about: ids, filters, or all; and a question before many are changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click
import sqlalchemy as sa

from receiver.cli import options
from receiver.cli.installation import open_tables
from receiver.events import Reason
from receiver.inbox import reinstate
from receiver.observe.records import QuarantinedRecord, RejectedRecord
from receiver.storage.search import Filters
from receiver.storage.tables import rejected

Command = TypeVar("Command", bound=Callable[..., Any])

reason = click.option(
    "--reason",
    type=click.Choice([one.value for one in Reason]),
    metavar="CODE",
    help="Only what was refused for this reason: signature_mismatch.",
)
yes = click.option("--yes", is_flag=True, help="Do not ask before many are let in.")


@dataclass(frozen=True, slots=True)
class Chosen:
    """The ids that were chosen, and whether one by one: then each has to go well, or the command fails."""

    ids: Sequence[str]
    one_by_one: bool


def several(command: Command) -> Command:
    """Give a command what names one, several or many of what is kept apart."""
    ids = click.argument("ids", nargs=-1, metavar="[ID]...")
    everything = click.option("--all", "everything", is_flag=True, help="All of them.")
    return ids(options.received(everything(command)))


def choose(
    table: sa.Table,
    show: Callable[[sa.Engine, str], RejectedRecord | QuarantinedRecord],
    ids: Sequence[str],
    *,
    everything: bool,
    reason: str | None = None,
    **filters: Any,
) -> Chosen:
    """Give what is meant, oldest first; a usage error where it is not said, or said in two ways."""
    is_filtered = reason is not None or any(value is not None for value in filters.values())
    ways = bool(ids) + is_filtered + everything
    if ways != 1:
        also = " --reason CODE," if table is rejected else ""
        end = "." if ways == 0 else "; one of these, and not two."
        raise click.UsageError(
            f"Say which: ids, or filters (--source,{also} --since, --until, --search), or --all{end}"
        )
    engine = open_tables()
    if ids:
        return Chosen(list(dict.fromkeys(show(engine, given).id for given in ids)), one_by_one=True)
    return Chosen(reinstate.which(engine, table, Filters(**filters), reason=reason), one_by_one=False)


def ask(question: str, *, yes: bool, as_json: bool, option: str = "--yes") -> None:
    """Ask before many are changed; usage error where nobody can answer, and Abort for a no."""
    if yes:
        return
    if as_json:
        raise click.UsageError(f"With --json nobody is asked: {option} says that it is meant.")
    click.confirm(question, abort=True, err=True)
