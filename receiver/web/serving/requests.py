"""Requests as gunicorn parses them, and what it lets through that must not be: framing that others read differently."""

import math
from typing import TYPE_CHECKING, Any

from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.errors import ParseException
from gunicorn.http.message import Request
from gunicorn.http.parser import Parser

if TYPE_CHECKING:
    from receiver.web.serving.connections import Connection


class UnfitError(ParseException):  # type: ignore[misc]
    """A request that gunicorn would take; its text says what is wrong with it."""

    def __init__(self, problem: str) -> None:
        self.problem = problem

    def __str__(self) -> str:
        return self.problem


class ChunkedBody(Body):  # type: ignore[misc]
    """A body whose senseless chunks are an OSError: Flask and werkzeug know what to make of one (3.1: 400)."""

    def _read_reader(self, size: int) -> bytes:
        try:
            data: bytes = super()._read_reader(size)
        except ParseException as error:
            raise OSError(str(error)) from error
        return data


class StrictRequest(Request):  # type: ignore[misc]
    """A request whose framing nobody can read in two ways."""

    asks_to_continue: bool = False
    body: Any
    _closes: bool = False
    _expected_100_continue: bool

    def set_body_reader(self) -> None:
        # Called by gunicorn when the headers are there, as the last thing before the request is served.
        has_host, asked = False, set[str]()
        for name, value in self.headers:
            if name == "HOST":
                has_host = True
            elif name == "CONNECTION":
                asked.update(word.strip(" \t").lower() for word in value.split(","))
            elif name == "TRANSFER-ENCODING" and value.lower() != "chunked":
                # gunicorn 27 takes `gzip, chunked`, and gives the app the compressed bytes.
                raise UnfitError("The only Transfer-Encoding that is taken is chunked.")
        if not has_host and self.version >= (1, 1):
            raise UnfitError("HTTP/1.1 asks for a Host header.")
        super().set_body_reader()
        # gunicorn 27 knows `close` only where it stands alone.
        self._closes = "close" in asked or (self.version < (1, 1) and "keep-alive" not in asked)
        # gunicorn would send its 100 before the app has seen the headers: `Connection.recv` sends it, and only when
        # the body is read.
        self.asks_to_continue, self._expected_100_continue = self._expected_100_continue, False
        if isinstance(self.body.reader, ChunkedReader):
            self.body = ChunkedBody(self.body.reader)

    def should_close(self) -> bool:
        """Say whether this request is the last: asked for, or because where the next one begins is not known."""
        return bool(self._closes or self.must_close or self.method == "CONNECT" or self.unread_bytes())

    def unread_bytes(self) -> float:
        """Give how much of the body is still to come; infinity where nobody knows."""
        reader = self.body.reader
        if self.body.failed or self.unreader.sock.at_end:
            return math.inf
        if isinstance(reader, LengthReader):
            return int(reader.length)  # which may be too large for a float
        return math.inf if reader.parser is not None else 0


class StrictParser(Parser):  # type: ignore[misc]
    """Gives the requests of one connection, one after the other."""

    mesg_class = StrictRequest
    mesg: StrictRequest | None

    def __init__(self, cfg: Any, connection: "Connection", address: Any) -> None:
        super().__init__(cfg, connection, address)
        self._connection = connection

    def __next__(self) -> StrictRequest:
        if self.mesg:
            # Nothing of a body is read only to find the next request behind it, as gunicorn does, without an end.
            if self.mesg.should_close():
                raise StopIteration
            self._connection.rest()
        self.req_count += 1
        self.mesg = StrictRequest(self.cfg, self.unreader, self.source_addr, self.req_count)
        return self.mesg
