"""The reason of a failure in one line, found in its stored text: the type and first line of the message.

The text is a traceback as Python prints it, or a handler's own message. Its last line is rarely the reason: libraries
end their messages with links, and hints, notes and the parts of a group follow.
"""

import re
from dataclasses import dataclass

LONGEST = 500
MOST_LINES = 5

_HEADER = "Traceback (most recent call last):"
_FRAME = re.compile(r'  File ".*", line \d+')
_LEFT_OUT = re.compile(r"… \d+ characters left out …")
_BARE_NAME = re.compile(r"[\w.<>]+:")
_NAMED = re.compile(r"[\w.<>]+: ")
_PART = re.compile(r"  \d+ of [\d?]+:")
# The texts between an exception and the one that it led to, each with its meaning.
_JOINTS = {
    "The above exception was the direct cause of the following exception:": "caused by",
    "During handling of the above exception, another exception occurred:": "while handling",
}
# The frame that Python draws around a group and its parts, and its replacement.
_DRAWN = (
    (re.compile(r"(?:  \+-|    )\+-+ (\d+) -+$"), r"  \1 of ?:"),
    (re.compile(r" {2,4}\+-+$"), ""),
    (re.compile(r"    \| ?"), "    "),
    (re.compile(r"  [|+] (?:Exception Group (?=Traceback))?"), ""),
)


@dataclass(frozen=True, slots=True)
class FailureReason:
    """Why something failed: a line, the rest of its message and notes, and what caused it or is part of it.

    `others` are such as `caused by KeyError: 'id'`, the nearest first.
    """

    line: str
    more: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def below(self) -> tuple[str, ...]:
        """The lines shown below the first one, where there is room."""
        return (*self.more, *self.others)


def line_of(text: str | None) -> str:
    """Return the type and first line of the message, or the first line of a handler's own; "" if there is none."""
    return reason_of(text).line


def reason_of(text: str | None) -> FailureReason:
    """Parse the stored text of a failure, whatever it is."""
    links, joints = _links(_undrawn((text or "").splitlines()))
    line, rest = _read(links[-1])
    before = [_short(_read(link)[0]) for link in links[:-1]]
    led = [f"{joint} {one}" for joint, one in zip(joints, before, strict=True) if one]
    more, parts = _parted(rest)
    return FailureReason(_short(line), more, (*led[: -MOST_LINES - 1 : -1], *parts))


def _undrawn(lines: list[str]) -> list[str]:
    if not any(line.startswith("  + Exception Group Traceback") for line in lines):
        return lines
    return [_without_drawing(line) for line in lines]


def _without_drawing(line: str) -> str:
    return next((drawn.sub(instead, line, count=1) for drawn, instead in _DRAWN if drawn.match(line)), line)


def _links(lines: list[str]) -> tuple[list[list[str]], list[str]]:
    """Split the lines at the texts between exceptions; return the parts, and how each led to the next."""
    links: list[list[str]] = [[]]
    joints: list[str] = []
    for number, line in enumerate(lines):
        if line in _JOINTS and lines[number - 1 : number] == lines[number + 1 : number + 2] == [""]:
            joints.append(_JOINTS[line])
            links.append([])
        else:
            links[-1].append(line)
    return links, joints


def _read(lines: list[str]) -> tuple[str, list[str]]:
    """Return the line that names one exception, and its lines that follow."""
    cuts = [number for number, line in enumerate(lines) if _LEFT_OUT.fullmatch(line)]
    if cuts:
        tail = lines[cuts[-1] + 1 :]
        frames = [number for number, line in enumerate(tail) if _FRAME.match(line)]
        # If the part after a cut has frames, the exception follows them; otherwise it stands before the cut.
        found, rest = _named(tail[frames[0] :]) if frames else _named(lines[: cuts[0]])
    else:
        found, rest = _named(lines)
    if not found:
        found = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return found, rest


def _named(lines: list[str]) -> tuple[str, list[str]]:
    """Return the first line after the frames that is not indented, or the first of all, and the rest."""
    lines = lines[next((number for number, line in enumerate(lines) if line.strip()), len(lines)) :]
    if not lines:
        return "", []
    if lines[0] != _HEADER and not _FRAME.match(lines[0]):
        line, rest = _whole(lines, 0)
        if rest[:1] == [_HEADER] and not _NAMED.match(line):  # a message of ours or of a handler's, before a traceback
            found, rest = _named(rest)
            line = f"{line.rstrip(':')}: {found}"
        return line, rest
    at = next((at for at, line in enumerate(lines[1:], 1) if line.strip() and not line.startswith(" ")), None)
    return ("", []) if at is None else _whole(lines, at)


def _whole(lines: list[str], at: int) -> tuple[str, list[str]]:
    """Return the line at an index, with the first text of a message that begins with an empty line, and the rest."""
    line, rest = lines[at].strip(), lines[at + 1 :]
    if not _BARE_NAME.fullmatch(line):
        return line, rest
    words = next((number for number, one in enumerate(rest) if one.strip()), None)
    if words is None or rest[words] == _HEADER:
        return line, rest
    return f"{line} {rest[words].strip()}", rest[words + 1 :]


def _parted(rest: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the rest of a message, and a line for each part of a group."""
    starts = [number for number, line in enumerate(rest) if _PART.fullmatch(line)]
    more = [_short(line) for line in rest[: starts[0] if starts else None] if line.strip()]
    parts = [rest[start + 1 : end] for start, end in zip(starts, [*starts[1:], None], strict=False)]
    within = [line_of("\n".join(line.removeprefix("    ") for line in part)) for part in parts[:MOST_LINES]]
    return tuple(more[:MOST_LINES]), tuple(f"with {one}" for one in within if one)


def _short(line: str) -> str:
    line = line.strip()
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
