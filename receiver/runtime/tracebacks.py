"""The text of any exception: cut before it is processed, and without a way to fail."""

import traceback
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from receiver.runtime.reasons import line_of

T = TypeVar("T")

LIMIT_CHARACTERS = 16_000
MOST_FRAMES = 1000
MOST_LINKS = 20
MOST_PARTS = 30
MOST_NOTES = 10
_MARK_CHARACTERS = 80
_OWN = vars(BaseException)  # bypasses what a class may have put over its fields

_CAUSED = "\nThe above exception was the direct cause of the following exception:\n\n"
_MEANWHILE = "\nDuring handling of the above exception, another exception occurred:\n\n"


def storable(text: str) -> str:
    """Return a text that every database accepts: surrogates and NUL escaped, the middle of long texts left out.

    PostgreSQL's text holds neither (postgresql.org/docs/current/datatype-character.html).
    """
    if len(text) <= LIMIT_CHARACTERS:
        text = _printable(text)
        if len(text) <= LIMIT_CHARACTERS:
            return text
    half = (LIMIT_CHARACTERS - _MARK_CHARACTERS) // 2
    head, tail = _printable(text[:half])[:half], _printable(text[-half:])[-half:]
    return f"{head}\n… {len(text) - 2 * half} characters left out …\n{tail}"


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def text_of(error: BaseException, *, skip: int = 0) -> str:
    """Return the traceback as Python prints it, without the first `skip` frames; of a huge one, both ends.

    Python's own `traceback` processes the whole of each message, note and group, and raises if a field is odd.
    """
    return _surely(lambda: storable("".join(_lines(error, skip, [MOST_PARTS]))), f"{name_of(error)}\n")


def summary_of(error: BaseException) -> str:
    """Return the line to read first: the name of the exception, and the first line of its message."""
    return _surely(lambda: line_of(storable("".join(_last_lines(error)))), name_of(error))


def said(thing: object) -> str:
    """Return the text of an object, cut, as a plain `str` and no subclass; raise what its `__str__` raises."""
    return storable(str.__str__(str(thing)))


def name_of(error: BaseException) -> str:
    """Return the name of an exception as a traceback has it."""
    kind = type(error)
    module, name = _surely(lambda: said(kind.__module__), ""), _surely(lambda: said(kind.__qualname__), "Exception")
    return name if module in ("", "__main__", "builtins") else f"{module}.{name}"


def place_of(error: BaseException) -> str:
    """Return where an exception was raised, as file and line."""
    last = None
    for frame, number in traceback.walk_tb(_OWN["__traceback__"].__get__(error)):
        last = f"{frame.f_code.co_filename}:{number}"
    return last or "unknown"


def _surely(give: Callable[[], T], instead: T) -> T:
    try:
        return give()
    except BaseException:  # noqa: BLE001 - an exception of a handler's own may raise anything while it is read
        return instead


def _lines(error: BaseException, skip: int, parts: list[int]) -> Iterator[str]:
    """Yield the lines of an exception after those that led to it; `parts` limits their number."""
    for number, (link, joint) in enumerate(reversed(_chain(error))):
        if number:
            yield joint
        frames = _OWN["__traceback__"].__get__(link)
        for _ in range(skip if link is error else 0):
            frames = frames and frames.tb_next
        if frames is not None:
            yield "Traceback (most recent call last):\n"
            yield from _frames(frames)
        yield from _last_lines(link)
        yield from _grouped(link, parts)


def _chain(error: BaseException) -> list[tuple[BaseException, str]]:
    """Return an exception and those that led to it, the last one first, each with the text that follows it."""
    links, seen, joint = [(error, "")], {id(error)}, ""
    while len(links) < MOST_LINKS:
        joint, before = _CAUSED, _OWN["__cause__"].__get__(error)
        if before is None and not _OWN["__suppress_context__"].__get__(error):
            joint, before = _MEANWHILE, _OWN["__context__"].__get__(error)
        if before is None or id(before) in seen:
            break
        links[-1] = (error, joint)
        links.append((before, ""))
        seen.add(id(before))
        error = before
    return links


def _frames(frames: TracebackType) -> list[str]:
    depth = sum(1 for _ in traceback.walk_tb(frames))
    if depth <= MOST_FRAMES:
        return traceback.format_tb(frames)
    half = MOST_FRAMES // 2
    left_out = f"  … {depth - 2 * half} frames left out …\n"
    return [*traceback.format_tb(frames, half), left_out, *traceback.format_tb(frames, -half)]


def _last_lines(error: BaseException) -> Iterator[str]:
    if issubclass(type(error), SyntaxError) and (lines := _surely(lambda: _of_syntax(error), "")):
        yield lines
    else:
        words = _surely(lambda: said(error), "<exception str() failed>")
        yield f"{name_of(error)}: {words}\n" if words else f"{name_of(error)}\n"
    notes: Any = _surely(lambda: getattr(error, "__notes__", ()), ())
    for note in notes[:MOST_NOTES] if type(notes) in (list, tuple) else ():
        yield _surely(partial(said, note), "<note str() failed>") + "\n"


def _of_syntax(error: BaseException) -> str:
    """Return the lines of a SyntaxError with the place in its text, if that is short; raise if a field is odd."""
    fields = [getattr(error, name) for name in ("filename", "lineno", "offset", "text", "end_lineno", "end_offset")]
    words = [field for field in (error.args[0], *fields) if isinstance(field, str)]
    if any(len(one) > LIMIT_CHARACTERS for one in words):
        return ""
    # In the place of the error, which may have a long chain of causes, and notes.
    alike = SyntaxError(str.__str__(getattr(error, "msg")), tuple(fields))  # noqa: B009 - mypy sees a BaseException
    return "".join(traceback.TracebackException(type(error), alike, None).format_exception_only())


def _grouped(error: BaseException, parts: list[int]) -> Iterator[str]:
    """Yield the exceptions of a group, indented, as far as there is room for them."""
    if not issubclass(type(error), BaseExceptionGroup):
        return
    grouped = vars(BaseExceptionGroup)["exceptions"].__get__(error)
    for number, one in enumerate(grouped, 1):
        if parts[0] <= 0:
            yield f"  … {len(grouped) - number + 1} more …\n"
            return
        parts[0] -= 1
        yield f"  {number} of {len(grouped)}:\n"
        for line in "".join(_lines(one, 0, parts)).splitlines():
            yield f"    {line}\n"
