"""Bytes as people look at them when they are not text: where they are, what they are, what of it is ASCII."""

from collections.abc import Iterator


def hex_lines(data: bytes) -> Iterator[str]:
    """Give sixteen bytes a line: where they are, what they are, and what of it is ASCII."""
    for start in range(0, len(data), 16):
        row = data[start : start + 16]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{start:08x}  {row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}  |{letters}|"
