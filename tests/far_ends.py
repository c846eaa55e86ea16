"""Far ends that misbehave: one table of them, each a server on loopback that does its one thing to whoever connects."""

import socket
import ssl
import struct
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.waiting import PATIENCE_SECONDS

PIECE = b"x" * 65536
SOON = 0.05  # between the bytes of one that drips: a byte a second does the same to a longer deadline
_HARDLY = timedelta(seconds=0.3)
DEEP = b"[" * 200_000 + b"]" * 200_000


class Line:
    """A connection that somebody opened to a far end."""

    def __init__(self, connection: socket.socket, over: threading.Event) -> None:
        self._connection = connection
        self.over = over

    def hear(self) -> None:
        """Read the request, as far as it has come."""
        self._connection.recv(65536)

    def say(self, *parts: bytes) -> None:
        for part in parts:
            self._connection.sendall(part)

    def answer(self, body: bytes, *, status: str = "200 OK", length: int | None = None, more: str = "") -> None:
        lines = f"HTTP/1.1 {status}\r\nContent-Length: {len(body) if length is None else length}\r\n{more}\r\n"
        self.say(lines.encode("latin-1"), body)

    def go_on(self, piece: bytes, times: int, *, pause: float = 0.0) -> None:
        """Send a piece again and again, until nobody is there any more."""
        for _ in range(times):
            if self.over.wait(pause) if pause else self.over.is_set():
                return
            self.say(piece)

    def reset(self) -> None:
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()


Act = Callable[[Line], None]


@dataclass(frozen=True, slots=True)
class FarEnd:
    """One way to misbehave, and what the client is to make of it: words of its error, or of the fault of its reply.

    `hangs` says that only the deadline ends it.
    """

    name: str
    act: Act
    says: str = ""
    status: int = 0
    hangs: bool = False
    scheme: str = "http"
    has_tls: bool = False
    accepts: bool = True

    def __str__(self) -> str:
        return self.name


def _gzip_bomb() -> bytes:
    """Return a gigabyte of zeros in a megabyte: one block of them, a thousand times."""
    packing = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = packing.compress(b"\0" * 2**20) + packing.flush(zlib.Z_FULL_FLUSH)
    block = packing.compress(b"\0" * 2**20) + packing.flush(zlib.Z_FULL_FLUSH)
    return head + block * 1023


def answers(body: bytes, *, status: str = "200 OK", length: int | None = None, more: str = "") -> Act:
    def act(line: Line) -> None:
        line.hear()
        line.answer(body, status=status, length=length, more=more)

    return act


def _raw(*parts: bytes) -> Act:
    def act(line: Line) -> None:
        line.hear()
        line.say(*parts)

    return act


def _silent(line: Line) -> None:
    line.over.wait()


def _drips_head(line: Line) -> None:
    line.say(b"HTTP/1.1 200 OK\r\nX-Long: ")
    line.go_on(b"x", 10_000, pause=SOON)


def _drips_tls(line: Line) -> None:
    line.say(b"\x16\x03\x03\x40\x00")
    line.go_on(b"\x02", 10_000, pause=SOON)


def _drips_body(line: Line) -> None:
    line.hear()
    line.answer(b"{", length=10_000)
    line.go_on(b" ", 10_000, pause=SOON)


def _drips_chunks(line: Line) -> None:
    line.hear()
    line.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    line.go_on(b"1\r\n \r\n", 10_000, pause=SOON)


def _continues(line: Line) -> None:
    line.go_on(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 100_000)


def _is_huge(line: Line) -> None:
    line.hear()
    line.answer(b"", length=2**30)
    line.go_on(PIECE, 2**14)


def _is_huge_without_length(line: Line) -> None:
    line.hear()
    line.say(b"HTTP/1.1 200 OK\r\n\r\n")
    line.go_on(PIECE, 2**14)


def _extends_chunks(line: Line) -> None:
    line.hear()
    line.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    line.go_on(b"1;" + b"x" * 60_000 + b"\r\n \r\n", 20_000)


def _bombs(line: Line) -> None:
    line.hear()
    line.answer(_gzip_bomb(), more="Content-Encoding: gzip\r\n")


def _redirects(where: str) -> Act:
    def act(line: Line) -> None:
        line.hear()
        line.answer(b"", status="302 Found", more=f"Location: {where}\r\n")

    return act


def _resets(line: Line) -> None:
    line.hear()
    line.reset()


BROKEN_GZIP = b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + b"\xff" * 40
_MARKED = b'{"entries": [], "next_marker": "again", "items": [], "next": "again"}'
_LIST_MARKED = b'{"entries": [], "next_marker": ["x"], "items": [], "next": ["x"]}'
_ODD_ITEMS = b'{"entries": [{"id": {}, "target": []}], "items": [7], "next": null}'
_DETAIL = b'{"status": "rejected", "detail": "' + b"d" * 5_000_000 + b'"}'
_CONTROLS = (
    b'{"status": "\\u001b[2J", "detail": "\\u001b]0;x\\u0007\\r\\n", "error": "\\u001b[2J", "message": "\\u001b[2J"}'
)

FAR_ENDS = (
    FarEnd("silent", _silent, "did not respond within", hangs=True),
    FarEnd("never accepts", _silent, "did not respond within", hangs=True, accepts=False),
    FarEnd("a byte at a time in a header", _drips_head, "did not respond within", hangs=True),
    FarEnd("a byte at a time in the body", _drips_body, "within", 200, hangs=True),
    FarEnd("a chunk at a time", _drips_chunks, "within", 200, hangs=True),
    FarEnd("a byte at a time of TLS", _drips_tls, "did not respond within", hangs=True, scheme="https"),
    FarEnd("100 Continue without end", _continues, "more than 64 kB of header"),
    FarEnd("a gigabyte", _is_huge, "is longer than", 200),
    FarEnd("a gigabyte without a length", _is_huge_without_length, "is longer than", 200),
    FarEnd("a bomb in gzip", _bombs, "is longer than", 200),
    FarEnd("chunks in long frames", _extends_chunks, "a body in ever more pieces", 200),
    FarEnd("broken gzip", answers(BROKEN_GZIP, more="Content-Encoding: gzip\r\n"),
           "is labelled gzip, and is not", 200),
    FarEnd("labelled gzip", answers(b"{}", more="Content-Encoding: gzip\r\n"),
           "is labelled gzip, and is not", 200),
    FarEnd("another coding", answers(b"{}", more="Content-Encoding: br\r\n"),
           "not asked for (br)", 200),
    FarEnd("redirects in a circle", _redirects("/"), "", 302),
    FarEnd("redirects to a private address", _redirects("http://169.254.169.254/latest/"), "", 302),
    FarEnd("cut in a header", _raw(b"HTTP/1.1 200 OK\r\nContent-Ty"), "did not respond in HTTP"),
    FarEnd("cut in the body", answers(b"{", length=50), "breaks off", 200),
    FarEnd("hangs up", Line.hear, "did not respond in HTTP"),
    FarEnd("resets", _resets, "did not respond in HTTP"),
    FarEnd("no TLS where it should be", _raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "TLS with", scheme="https"),
    FarEnd("a certificate of its own", answers(b"{}"), "certificate is not trusted", scheme="https", has_tls=True),
    FarEnd("a malformed status line", _raw(b"HTTP/1.1 \x1b[2Jtwo hundred\r\n\r\n"), "did not respond in HTTP"),
    FarEnd("another protocol", _raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "did not respond in HTTP"),
    FarEnd("a header of a megabyte", _raw(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 2**20), "did not respond in HTTP"),
    FarEnd("control characters in the reason", _raw(b"HTTP/1.1 500 \x1b[2J\x07\r\nContent-Length: 0\r\n\r\n"), "", 500),
    FarEnd("null", answers(b"null"), "", 200),
    FarEnd("an empty list", answers(b"[]"), "", 200),
    FarEnd("an empty object", answers(b"{}"), "", 200),
    FarEnd("a marker that is a list", answers(_LIST_MARKED), "", 200),
    FarEnd("entries of another shape", answers(_ODD_ITEMS), "", 200),
    FarEnd("the same marker again and again", answers(_MARKED), "", 200),
    FarEnd("200,000 levels of JSON", answers(DEEP), "", 200),
    FarEnd("90 levels of JSON", answers(b'{"detail": ' + b"[" * 90 + b"]" * 90 + b"}"), "", 200),
    FarEnd("nothing, with 200", answers(b""), "", 200),
    FarEnd("a body with 204", _raw(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nextra"), "", 204),
    FarEnd("no UTF-8", answers(b'{"detail": "\xff\xfe"}'), "", 200),
    FarEnd("a detail of 5 MB", answers(_DETAIL, status="401 Unauthorized"), "", 401),
    FarEnd("control characters", answers(_CONTROLS, status="400 Bad Request"), "", 400),
)  # fmt: skip


def within(far_end: FarEnd) -> timedelta:
    """Give only those a short time that nothing else ends."""
    return _HARDLY if far_end.hangs else timedelta(seconds=PATIENCE_SECONDS)


@contextmanager
def misbehaving(far_end: FarEnd) -> Iterator[str]:
    """Serve a far end at a port of its own, and give its URL."""
    over = threading.Event()
    context = _context() if far_end.has_tls else None
    lines: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=0 if not far_end.accepts else 100) as door:
        if far_end.accepts:
            threading.Thread(target=_serve, args=(door, far_end.act, over, context, lines), daemon=True).start()
        else:
            lines += _fill(door)
        try:
            yield f"{far_end.scheme}://127.0.0.1:{door.getsockname()[1]}"
        finally:
            over.set()
            with suppress(OSError):
                door.shutdown(socket.SHUT_RDWR)
            for one in lines:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()


def _fill(door: socket.socket) -> list[socket.socket]:
    """Take all places in the queue of who waits to be accepted."""
    waiting = [socket.socket() for _ in range(4)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(door.getsockname())
    return waiting


def _serve(
    door: socket.socket,
    act: Act,
    over: threading.Event,
    context: ssl.SSLContext | None,
    lines: list[socket.socket],
) -> None:
    with suppress(OSError):  # the door is closed
        while True:
            connection, _ = door.accept()
            lines.append(connection)
            threading.Thread(target=_talk, args=(connection, act, over, context), daemon=True).start()


def _talk(connection: socket.socket, act: Act, over: threading.Event, context: ssl.SSLContext | None) -> None:
    with suppress(OSError), connection if context is None else context.wrap_socket(connection, True) as line:
        act(Line(line, over))
        with suppress(OSError):
            line.shutdown(socket.SHUT_WR)
        while not over.is_set() and line.recv(65536):  # or what we said is lost with a reset
            pass


def _context() -> ssl.SSLContext:
    """Make a certificate that nobody vouches for."""
    with TemporaryDirectory() as folder:
        key, certificate = str(Path(folder) / "key.pem"), str(Path(folder) / "certificate.pem")
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        made = ["openssl", "req", "-x509", *curve, "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2"]
        subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    return context
