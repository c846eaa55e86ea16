"""`python -m tests.conformance`: set off everything that Box and Filestack send, and print what became of each."""

import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from rich.text import Text

from receiver.cli import screen
from tests.acceptance.service import Service
from tests.conformance.catalogue import NOT_SENT, cases
from tests.conformance.play import Row, Stage, judge

HEADS = ("", "WHAT", "REGISTERED", "SET OFF BY", "DELIVERED", "VERIFIED BY", "ROUTED TO", "HANDLED", "DRIFT")


def run(service: Service) -> list[Row]:
    """Play every case in a service whose tables are made, and judge it."""
    stage = Stage(service)
    try:
        return [judge(outcome) for outcome in stage.play(cases())]
    finally:
        stage.close()


def tell(rows: Sequence[Row]) -> int:
    """Print the table; give 1 where anything is wrong, and 0 where nothing is.

    ROUTED TO counts handlers, those of the installation among them.
    """
    for group, members in groupby(rows, key=lambda row: row.case.group):
        screen.show(screen.heading(group), screen.table(HEADS, map(_line, members), whole=["WHAT"]))
    wrong = [row for row in rows if row.wrong]
    if wrong:
        screen.show(screen.heading("What is wrong"))
    for row in wrong:
        for sentence in row.wrong:
            screen.show(Text.assemble(("✗ ", "red"), screen.styled(f"{row.cells[0]}: {sentence}")))
    return 1 if wrong or not rows else 0


def _line(row: Row) -> list[str | Text]:
    return [Text("✗", "red") if row.wrong else Text("✓", "green"), *row.cells]


def main() -> int:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="signalbox-conformance-") as folder:
        service = Service(Path(folder))
        try:
            service.signalbox("db upgrade")
            rows = run(service)
        finally:
            service.stop()
    status = tell(rows)
    good = sum(not row.wrong for row in rows)
    screen.show(
        Text(
            f"\n{good} of {len(rows)} as they have to be, {time.monotonic() - began:.0f} s.",
            "red" if status else "green",
        ),
        Text(f"Left out, as no webhook can ask for it: {', '.join(sorted(NOT_SENT))}.", "dim"),
    )
    return status


if __name__ == "__main__":
    sys.exit(main())
