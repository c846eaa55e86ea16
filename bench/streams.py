"""Open live pages: streams of server-sent events, as many as asked for, held open and read by a thread."""

import selectors
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

AT_MOST = 65_536
NAP_SECONDS = 0.1


@dataclass(slots=True)
class Stream:
    """One open page: its status, how many messages it got and up to which place, and whether the server ended it."""

    connection: socket.socket
    status: int = 0
    messages: int = 0
    place: int = 0
    is_over: bool = False
    _rest: bytes = b""

    def take(self, received: bytes) -> None:
        self.is_over = not received
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in lines:
            self.messages += line.startswith(b"event:")
            if line.startswith(b"id:"):
                self.place = int(line[3:])
            if not self.status and line.startswith(b"HTTP/1.1 "):
                self.status = int(line.split()[1])


@contextmanager
def opened(port: int, path: str, headers: Mapping[str, str], *, count: int) -> Iterator[list[Stream]]:
    """Open so many streams of one address of loopback, and read them until the end."""
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Accept: text/event-stream"]
    request = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()
    streams: list[Stream] = []
    is_over = threading.Event()
    reader = threading.Thread(target=_read, args=(streams, is_over))
    try:
        for _ in range(count):
            streams.append(Stream(socket.create_connection(("127.0.0.1", port), timeout=5)))
            streams[-1].connection.sendall(request)
        reader.start()
        yield streams
    finally:
        is_over.set()
        if reader.ident:
            reader.join()
        for stream in streams:
            stream.connection.close()


def _read(streams: list[Stream], is_over: threading.Event) -> None:
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream.connection, selectors.EVENT_READ, stream)
        while not is_over.is_set():
            for key, _ in selector.select(NAP_SECONDS):
                stream = key.data
                stream.take(_received(stream))
                if stream.is_over:
                    selector.unregister(stream.connection)


def _received(stream: Stream) -> bytes:
    try:
        return stream.connection.recv(AT_MOST)
    except OSError:
        return b""
