"""Charts drawn as SVG on the server: columns in strips, lines, and small bars for table cells.

A drawing is as wide as its place: what is stretched is drawn in a box of its own, and what must not be (text, grid)
stands at percentages. Nothing is styled here: classes say what a shape is, and static/stats.css how it looks.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, floor, log10

from markupsafe import Markup, escape

from receiver import humanize

HEAD = 18  # pixels for the line of words above a strip
FOOT = 20  # and for the hours below
GAP = 10
COLUMN = 0.78  # of the width that a step has
EDGE = 0.03  # nearer to an end no hour is written
LEAST = 2.0  # pixels that the smallest count above nothing is high
ROOM = 0.07  # of the width, where lines are named at their ends

# How far apart hours are written, by the length that a chart shows.
_TICKS = (
    (timedelta(hours=2), timedelta(minutes=15)),
    (timedelta(hours=8), timedelta(hours=1)),
    (timedelta(hours=26), timedelta(hours=4)),
    (timedelta(days=8), timedelta(days=1)),
)


@dataclass(frozen=True, slots=True)
class Times:
    """The steps that a chart goes through: when each began, and how long one is."""

    steps: Sequence[datetime]
    step: timedelta

    def __len__(self) -> int:
        return len(self.steps)

    def label(self, number: int) -> str:
        """Say when a step was: `10:42`, or `Mon 16 Nov 10:00` where there are several days."""
        return f"{self.steps[number]:{self._form()}}"

    def _form(self) -> str:
        return "%H:%M" if self.step * len(self) <= timedelta(hours=26) else "%a %d %b %H:%M"

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Give where hours are written, as a share of the width, and what is."""
        length = self.step * len(self)
        every = next((each for limit, each in _TICKS if length <= limit), timedelta(days=7))
        form = "%H:%M" if every < timedelta(days=1) else "%a %d"
        for number, began in enumerate(self.steps):
            share = (number + 0.5) / len(self)
            if began.timestamp() % every.total_seconds() == 0 and EDGE < share < 1 - EDGE:
                yield share, f"{began:{form}}"


@dataclass(frozen=True, slots=True)
class Strip:
    """A row of columns with its name above: a number for each step.

    `state` colours it; None is plain ink. `limit` draws a line, and what is above it in the colour of trouble. `say`
    writes a number with its unit.
    """

    name: str
    values: Sequence[float]
    say: Callable[[float], str]
    note: str = ""
    state: str | None = None
    limit: float | None = None
    height: int = 44


@dataclass(frozen=True, slots=True)
class Line:
    """One number for each step, None where there is none; dashed so that it is told from a whole one."""

    name: str
    values: Sequence[float | None]
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines over one scale of powers of ten, with the name of what they are about above."""

    name: str
    lines: Sequence[Line]
    say: Callable[[float], str]
    note: str = ""
    height: int = 84


def draw(times: Times, rows: Sequence[Strip | Panel], *, label: str, said: Sequence[str]) -> Markup:
    """Give a chart of rows over the same time; `said` has a line for each step, shown while a pointer is on it."""
    parts, top = [], 0
    panels = [row for row in rows if isinstance(row, Panel)]
    width = 100 * (1 - ROOM) if panels else 100.0
    scale = _Decades.around(value for panel in panels for line in panel.lines for value in line.values)
    for row in rows:
        parts.append(_words_above(row, top))
        drawn = _strip(times, row, top + HEAD) if isinstance(row, Strip) else _panel(row, top + HEAD, scale, width)
        parts.append(drawn)
        top += HEAD + row.height + GAP
    height = top - GAP + FOOT
    return Markup(
        '<svg class="chart" width="100%" height="{}" role="img" aria-label="{}" focusable="false">{}{}{}</svg>'
    ).format(height, label, _hours(times, height, width), Markup("").join(parts), _touched(said, height - FOOT, width))


def took(milliseconds: float) -> str:
    """Say how long something took, with two digits or so: `0.4 ms`, `14 ms`, `1.2 s`."""
    if milliseconds < 9.95:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 999.5:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 9950:
        return f"{milliseconds / 1000:.1f} s"
    return humanize.span(timedelta(milliseconds=milliseconds))


def _words_above(row: Strip | Panel, top: int) -> Markup:
    state = row.state if isinstance(row, Strip) else None
    mark = Markup("")
    if state is not None:
        mark = Markup('<use href="#mark-{0}" class="mark {1}" x="0" y="{2}" width="11" height="11"/>').format(
            _MARKS.get(state, state), state, top + 1
        )
    return Markup('{}<text class="name" x="{}" y="{}">{}</text><text class="note" x="100%" y="{}">{}</text>').format(
        mark, 16 if state else 0, top + 11, _seen(row.name), top + 11, _note(row)
    )


def _note(row: Strip | Panel) -> str:
    """Give what stands above a row on the right. It names the highest column: that is the strip's scale."""
    if isinstance(row, Panel) or not any(row.values):
        return row.note
    highest = f"up to {row.say(max(row.values))}"
    return f"{row.note}, {highest}" if row.note else highest


_MARKS = {"rejected": "dead", "quarantined": "waiting", "unkept": "dead", "duplicate": "none"}


def _strip(times: Times, strip: Strip, top: int) -> Markup:
    most = max((*strip.values, strip.limit or 0, 0))
    scale = (strip.height - 1) / most if most else 0.0
    shapes = [(number, max(value * scale, LEAST)) for number, value in enumerate(strip.values) if value > 0]
    over = {number for number, value in enumerate(strip.values) if strip.limit and value > strip.limit}
    state = strip.state or "plain"
    return Markup("").join(
        [
            _rule("grid", top + 0.5),
            _rule("base", top + strip.height - 0.5),
            _columns(times, [one for one in shapes if one[0] not in over], top, strip.height, state),
            _columns(times, [one for one in shapes if one[0] in over], top, strip.height, "over"),
            _limit(strip, top, scale),
        ]
    )


def _rule(kind: str, at: float) -> Markup:
    return Markup('<line class="{0}" x1="0" x2="100%" y1="{1}" y2="{1}"/>').format(kind, round(at, 1))


def _columns(times: Times, shapes: Sequence[tuple[int, float]], top: int, height: int, kind: str) -> Markup:
    if not shapes:
        return Markup("")
    side = (1 - COLUMN) / 2
    path = "".join(f"M{number + side:.2f} {height}v-{tall:.1f}h{COLUMN}v{tall:.1f}z" for number, tall in shapes)
    return _stretched(len(times), 100, top, height, Markup('<path class="bars {}" d="{}"/>').format(kind, path))


def _stretched(steps: int, width: float, top: int, height: int, inner: Markup) -> Markup:
    return Markup(
        '<svg x="0" y="{}" width="{:g}%" height="{}" viewBox="0 0 {} {}" preserveAspectRatio="none">{}</svg>'
    ).format(top, width, height, max(steps, 1), height, inner)


def _limit(strip: Strip, top: int, scale: float) -> Markup:
    if strip.limit is None:
        return Markup("")
    at = top + strip.height - strip.limit * scale
    said = Markup('<text class="unit limit-name" x="0" y="{}">{}</text>').format(
        round(max(at - 4, top + 11), 1), f"alarm: {strip.say(strip.limit)}"
    )
    return _rule("limit", at) + said


@dataclass(frozen=True, slots=True)
class _Decades:
    """A scale of powers of ten, from one to another."""

    low: int
    high: int

    @classmethod
    def around(cls, values: Iterable[float | None]) -> "_Decades":
        """Give the scale that holds all of these, and more than one power."""
        known = [value for value in values if value]
        if not known:
            return cls(0, 2)
        low = floor(log10(min(known)))
        return cls(low, max(ceil(log10(max(known))), low + 1))

    def share(self, value: float) -> float:
        """Give how far up a value is, from 0 to 1."""
        return min(max((log10(max(value, 1e-9)) - self.low) / (self.high - self.low), 0.0), 1.0)

    def place(self, value: float, height: int) -> float:
        return round(height - self.share(value) * (height - 2) - 1, 1)


def _panel(panel: Panel, top: int, scale: _Decades, width: float) -> Markup:
    powers = [10.0**power for power in range(scale.low, scale.high + 1)]
    heights = [top + scale.place(power, panel.height) for power in powers]
    # A unit stands under its line, where the name of the panel is not; only the lowest has no room there.
    units = [
        Markup('<text class="unit" x="0" y="{}">{}</text>').format(
            round(at + (11 if number else -3), 1), panel.say(power)
        )
        for number, (power, at) in enumerate(zip(powers, heights, strict=True))
    ]
    lines = Markup("").join(_line(line, scale, panel.height) for line in panel.lines)
    steps = max(len(line.values) for line in panel.lines)
    drawn = _stretched(steps, width, top, panel.height, lines)
    return Markup("").join([*(_rule("grid", at) for at in heights), drawn, *units, *_names(panel, top, scale)])


def _line(line: Line, scale: _Decades, height: int) -> Markup:
    """Draw a line through what there is; a point with nothing on either side is a dot."""
    path, dots = "", ""
    values = [None, *line.values, None]
    for number, (before, value, after) in enumerate(zip(values, values[1:], values[2:], strict=False)):
        if value is None:
            continue
        place = f"{number + 0.5} {scale.place(value, height)}"
        if before is None and after is None:
            dots += f"M{place}h0"
        path += f"{'M' if before is None else 'L'}{place}"
    dashed = " dashed" if line.dashed else ""
    return Markup('<path class="line{}" d="{}"/><path class="dots" d="{}"/>').format(dashed, path, dots)


def _names(panel: Panel, top: int, scale: _Decades) -> Iterator[Markup]:
    """Write each line's name where it ends, beside the drawing, and no name over another."""
    ends = [(next((one for one in reversed(line.values) if one is not None), None), line.name) for line in panel.lines]
    free = top + panel.height + 10.0
    for value, name in sorted((value, name) for value, name in ends if value is not None):
        free = min(top + scale.place(value, panel.height) + 4, free - 12)
        yield Markup('<text class="end" x="100%" y="{}">{}</text>').format(round(free, 1), name)


def _hours(times: Times, height: int, width: float) -> Markup:
    parts = [
        Markup(
            '<line class="hour" x1="{0}%" x2="{0}%" y1="{1}" y2="{2}"/><text class="time" x="{0}%" y="{3}">{4}</text>'
        ).format(round(share * width, 2), HEAD, height - FOOT + 4, height - 4, said)
        for share, said in times.ticks()
    ]
    return Markup("").join(parts)


def _touched(said: Sequence[str], height: int, width: float) -> Markup:
    """Give what shows a step's line while a pointer is on it."""
    each = width / max(len(said), 1)
    parts = [
        f'<rect class="touch" x="{number * each:.2f}%" y="0" width="{each:.2f}%" height="{height}">'
        f"<title>{escape(line)}</title></rect>"
        for number, line in enumerate(said)
    ]
    return Markup("".join(parts))  # noqa: S704 - numbers of ours, and each line is escaped


def rate_bar(done: int, again: int, dead: int) -> Markup:
    """Give how attempts ended as one bar: done over its whole height, what is made again lower, what died lowest."""
    whole = max(done + again + dead, 1)
    parts, at = [], 0.0
    for kind, count, height in (("done", done, 10), ("waiting", again, 6), ("dead", dead, 3)):
        width = 100 * count / whole
        if count:
            parts.append(
                Markup('<rect class="{}" x="{}%" y="{}" width="{}%" height="{}"/>').format(
                    kind, round(at, 2), 10 - height, max(round(width, 2), 2), height
                )
            )
        at += width
    return Markup('<svg class="rate" width="100%" height="10" aria-hidden="true">{}</svg>').format(
        Markup("").join(parts)
    )


def range_bar(low: float | None, high: float | None, *, of: Sequence[float | None]) -> Markup:
    """Give a line from one time to another, on one scale of powers of ten for all the times that there are."""
    if low is None or high is None:
        return Markup("")
    scale = _Decades.around(of)
    start, end = (round(100 * scale.share(value), 1) for value in (low, high))
    return Markup(
        '<svg class="range" width="100%" height="10" aria-hidden="true">'
        '<line class="rail" x1="0" x2="100%" y1="5" y2="5"/>'
        '<line class="span" x1="{0}%" x2="{1}%" y1="5" y2="5"/><circle cx="{0}%" cy="5" r="3"/></svg>'
    ).format(min(start, 98), min(max(end, start + 1), 100))


def _seen(text: str) -> str:
    """Give a name so that all of it is seen, with plain letters: an SVG text holds no elements of HTML."""
    return "".join(letter if letter.isprintable() else f"U+{ord(letter):04X}" for letter in text)
