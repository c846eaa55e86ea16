"""A Sentry on this machine that takes its time: a second for each request, or for ever."""

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Sentry(ThreadingHTTPServer):
    """Takes a second for each request, or for ever, and keeps what it heard."""

    daemon_threads = True

    def __init__(self, *, answers: bool) -> None:
        super().__init__(("127.0.0.1", 0), Hearing)
        self.answers = answers
        self.heard: list[bytes] = []
        self.asked = threading.Event()
        self.over = threading.Event()

    @property
    def dsn(self) -> str:
        return f"http://public@127.0.0.1:{self.server_port}/1"


class Hearing(BaseHTTPRequestHandler):
    server: Sentry

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.set()
        if not self.server.answers:
            self.server.over.wait()
            return
        time.sleep(1)
        said = gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
        if b'"type":"event"' in said.replace(b" ", b""):
            self.server.heard.append(said)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def sentry(*, answers: bool) -> Iterator[Sentry]:
    server = Sentry(answers=answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()
