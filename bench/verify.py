"""Whether anything was lost: what was answered 200 against the database, byte for byte, and the handler's file."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from bench.deliveries import Deliveries
from bench.driver import Answered, read_answers
from receiver.storage.tables import events


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many events were promised by a 200, and how many of them the promise was not kept for."""

    promised: int = 0
    missing: int = 0
    changed: int = 0
    unhandled: int = 0

    @property
    def is_kept(self) -> bool:
        return not (self.missing or self.changed or self.unhandled)

    def __str__(self) -> str:
        return (
            f"{self.promised:,} answered 200: {self.missing} not in the database, "
            f"{self.changed} with other bytes, {self.unhandled} not handled"
        )


def promised(answers: Iterable[Answered]) -> dict[str, int]:
    """Give the ids that were answered 200, each with the number of the request that it was answered for."""
    return {json.loads(one.body)["event"]: one.index for one in answers if one.status == 200}


def compare(
    expected: Mapping[str, int],
    sent: Callable[[int], bytes],
    kept: Iterable[tuple[str, bytes]],
    handled: Iterable[str] | None,
) -> Verdict:
    """Hold what was promised against what is kept, and against what the handler saw if that is known."""
    open_ids = dict(expected)
    changed = 0
    for event_id, body in kept:
        index = open_ids.pop(event_id, None)
        changed += index is not None and sent(index) != body
    unhandled = 0 if handled is None else len(expected.keys() - set(handled))
    return Verdict(len(expected), len(open_ids), changed, unhandled)


def verify(answers: Path, deliveries: Deliveries, engine: sa.Engine, notes: Path | None) -> Verdict:
    with answers.open() as lines:
        expected = promised(read_answers(lines))
    handled = None if notes is None else (line.split()[1] for line in notes.read_text().splitlines())
    with engine.connect() as connection:
        rows = connection.execution_options(yield_per=2000).execute(sa.select(events.c.id, events.c.body))
        return compare(expected, deliveries.body, (tuple(row) for row in rows), handled)
