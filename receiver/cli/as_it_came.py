"""Headers and bodies on the screen, as they came, whatever is in them."""

import base64
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from receiver.cli import screen

_DUMPED_BYTES = 4096
_SHOWN_CHARACTERS = 20_000


def body_of(item: Any) -> bytes:
    return base64.b64decode(item["body_base64"])


def write_raw(body: bytes) -> None:
    """Write the bytes of a body to standard output, exactly."""
    sys.stdout.buffer.write(body)
    sys.stdout.flush()


def header_lines(pairs: Iterable[Sequence[str]]) -> RenderableType:
    return screen.facts((name, value) for name, value in pairs)


def body_lines(body: bytes) -> list[RenderableType]:
    """Give a body as text if it is text, as a hex dump if not; of long ones the beginning."""
    if not body:
        return [Text("(empty)", style="dim")]
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return [Text("\n".join(hex_lines(body[:_DUMPED_BYTES]))), *_rest(len(body) - _DUMPED_BYTES)]
    return [screen.block(text[:_SHOWN_CHARACTERS]), *_rest(len(body) - len(text[:_SHOWN_CHARACTERS].encode()))]


def _rest(size: int) -> list[RenderableType]:
    return [Text(f"… and {size:,} bytes more: --raw writes all of it", style="dim")] if size > 0 else []


def hex_lines(data: bytes) -> Iterator[str]:
    """Give sixteen bytes a line: where they are, what they are, and what of it is ASCII."""
    for start in range(0, len(data), 16):
        row = data[start : start + 16]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{start:08x}  {row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}  |{letters}|"
