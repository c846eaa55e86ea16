"""The deliveries that are sent: written beforehand, each signed and unlike all others, in the driver's format."""

import mmap
import struct
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from receiver.sources import samples

KEYS = {"primary": "primary-key-of-the-bench", "secondary": "secondary-key-of-the-bench"}
LENGTH = struct.Struct("<I")


def forge(count: int) -> Iterator[bytes]:
    """Give whole HTTP requests: one Box FILE.UPLOADED, each time under another id and signed anew."""
    at = datetime.now(UTC)
    payload = samples.sample("box", "FILE.UPLOADED", at=at, number=1)
    for _ in range(count):
        payload["id"] = str(uuid.uuid4())
        body, headers = samples.forge("box", payload, KEYS, at=at)
        yield request("/hooks/box", headers, body)


def request(path: str, headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def write(path: Path, requests: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        for one in requests:
            file.write(LENGTH.pack(len(one)) + one)


class Deliveries:
    """A file of requests, read back by number."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._offsets = list(self._find())

    def _find(self) -> Iterator[int]:
        at = 0
        while at < len(self._bytes):
            yield at
            at += LENGTH.size + LENGTH.unpack_from(self._bytes, at)[0]

    def __len__(self) -> int:
        return len(self._offsets)

    def body(self, index: int) -> bytes:
        """Give the body of a request exactly as it is sent."""
        start = self._offsets[index]
        whole = self._bytes[start + LENGTH.size : start + LENGTH.size + LENGTH.unpack_from(self._bytes, start)[0]]
        return whole.partition(b"\r\n\r\n")[2]
