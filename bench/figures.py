"""What was measured, as rows: the value of each side, and its ratio to what it is held against in the same run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

SIDES = ("empty", "SQLite", "PostgreSQL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. `ratios` are to `against`, which is said wherever it is not the empty view."""

    phase: str
    figure: str
    unit: str
    values: Mapping[str, float]
    ratios: Mapping[str, float] = field(default_factory=dict)
    against: str = "empty"


def row_of_rounds(phase: str, figure: str, unit: str, rounds: Mapping[str, Sequence[float]]) -> Row:
    """Give the medians of all rounds, and the medians of the ratios to the empty view, each taken within its round."""
    empty = rounds["empty"]
    ratios = {
        side: median(one / other for one, other in zip(values, empty, strict=True) if other)
        for side, values in rounds.items()
        if side != "empty" and any(empty)
    }
    values = {side: median(values) for side, values in rounds.items()}
    return Row(phase=phase, figure=figure, unit=unit, values=values, ratios=ratios)


def shown(value: float | None, *, is_ratio: bool = False) -> str:
    if value is None:
        return ""
    if is_ratio:
        return f"{value:.2f}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(rows: Sequence[Row]) -> Table:
    drawn = Table(title="Signalbox and an empty Flask view, in turns on this machine: the ratios count")
    for name in ("phase", "figure"):
        drawn.add_column(name, no_wrap=name == "phase")
    for name in ("unit", *SIDES, "SQLite ratio", "PostgreSQL ratio", "ratio to"):
        drawn.add_column(name, justify="left" if name in ("unit", "ratio to") else "right")
    before = None
    for row in rows:
        drawn.add_row(*cells(row, phase=row.phase if row.phase != before else ""))
        before = row.phase
    return drawn


def cells(row: Row, *, phase: str) -> list[str]:
    values = [shown(row.values.get(side)) for side in SIDES]
    ratios = [shown(row.ratios.get(side), is_ratio=True) for side in SIDES[1:]]
    return [phase, row.figure, row.unit, *values, *ratios, row.against if row.ratios else ""]


def markdown(rows: Sequence[Row]) -> str:
    """Give the same table as docs/performance.md has it."""
    heads = ["phase", "figure", "unit", *SIDES, "SQLite ratio", "PostgreSQL ratio", "ratio to"]
    lines = [heads, ["---"] * 3 + ["---:"] * 5 + ["---"], *(cells(row, phase=row.phase) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def keep(path: Path, rows: Sequence[Row], **facts: object) -> None:
    path.write_text(json.dumps({**facts, "rows": [asdict(row) for row in rows]}, indent=2) + "\n")


def show(rows: Sequence[Row]) -> None:
    console = Console()
    Console(width=max(console.width, 150)).print(table(rows))
