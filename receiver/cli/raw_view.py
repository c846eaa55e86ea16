"""Headers and bodies on the screen, as they came, whatever is in them."""

import base64
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from receiver.cli import screen
from receiver.humanize import hex_lines

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


def body_heading(body: bytes, *, is_cut: bool, announced: int | None) -> str:
    """Return how long a body is; of one that is cut, how much of how much is here."""
    if not is_cut:
        return f"Body, {len(body):,} bytes"
    return f"Body, cut: the first {len(body):,} bytes of {f'{announced:,}' if announced else 'more'}"


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


def problems(errors: Mapping[str, Sequence[str]]) -> list[str]:
    """Give what is wrong with each field of a body that cannot be read, a line each."""
    return [f"{field}: {' '.join(map(str, messages))}" for field, messages in errors.items()]
