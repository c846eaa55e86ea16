"""A stretch of network between browser and service that a test can cut: every connection through it, at once."""

import socket
import threading
from contextlib import suppress


class Relay:
    """Listens on a port of its own, and passes bytes both ways until it is cut."""

    def __init__(self, port: int) -> None:
        self._to = ("127.0.0.1", port)
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._door.getsockname()[1]}"
        self._open: set[socket.socket] = set()
        self._changing = threading.Lock()
        self.streams = 0  # how many requests for a stream went through, ever
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):  # the door is closed
            while True:
                near, _ = self._door.accept()
                far = socket.create_connection(self._to)
                with self._changing:
                    self._open |= {near, far}
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if data.startswith(b"GET /live"):
                    with self._changing:
                        self.streams += 1
                sink.sendall(data)
        self._end([source, sink])

    def carries(self, streams: int) -> bool:
        """Say whether so many requests for a stream went through by now, those that were cut among them."""
        return self.streams >= streams

    def cut(self) -> None:
        """End every connection that there is; new ones come through."""
        with self._changing:
            ends = list(self._open)
        self._end(ends)

    def _end(self, ends: list[socket.socket]) -> None:
        with self._changing:
            self._open.difference_update(ends)
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._door.close()
        self.cut()
