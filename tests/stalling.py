"""A stretch of network before a PostgreSQL that a test can stall: what was sent is acknowledged, and goes nowhere.

To whoever waits that is a server that was stopped with SIGSTOP, or whose disk hangs.
"""

import socket
import threading
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa


class Stretch:
    """Listens on a port of its own, and passes bytes both ways while nothing is stalled."""

    def __init__(self, url: str) -> None:
        self._to = sa.make_url(url)
        self._door = socket.create_server(("127.0.0.1", 0))
        self._flows = threading.Event()
        self._flows.set()
        self._last_words = b""
        self._closed = False
        self._open: list[socket.socket] = []
        self.url = self._to.set(
            host="127.0.0.1", port=self._door.getsockname()[1], query={"sslmode": "disable", "gssencmode": "disable"}
        ).render_as_string(hide_password=False)
        threading.Thread(target=self._serve, daemon=True).start()

    def stall(self) -> None:
        """Pass nothing on, from now on, to anybody."""
        self._flows.clear()

    def stall_after(self, words: bytes) -> None:
        """Pass on what holds these words, and nothing after it, the server's answer neither."""
        self._last_words = words

    def flow(self) -> None:
        """Pass on what waits, and what comes."""
        self._last_words = b""
        self._flows.set()

    def _serve(self) -> None:
        with suppress(OSError):  # the door is closed
            while True:
                near, _ = self._door.accept()
                far = self._reach()
                self._open += [near, far]
                threading.Thread(target=self._pass, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(far, near, False), daemon=True).start()

    def _reach(self) -> socket.socket:
        folder = str(self._to.query.get("host") or self._to.host)
        if not folder.startswith("/"):
            return socket.create_connection((folder, self._to.port or 5432))
        far = socket.socket(socket.AF_UNIX)
        far.connect(str(next(Path(folder).glob(".s.PGSQL.*[0-9]"))))
        return far

    def _pass(self, source: socket.socket, sink: socket.socket, asks: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if asks and self._last_words and self._last_words in data:
                    self.stall()
                else:
                    self._flows.wait()
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._door.close()
        self.flow()
        for end in self._open:
            end.close()
