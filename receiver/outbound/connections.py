"""Connections with a deadline for everything and a limit of bytes, to addresses that were checked."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

import httpcore2

from receiver.outbound.replies import OutboundError, Trouble

Resolve = Callable[[str, int], Sequence[str]]
Given = TypeVar("Given")

HEAD_BYTES = 64 * 1024  # of all heads before a body: a 100 Continue is one, and may be followed by another
_AT_A_TIME = 64 * 1024
_HEAD_AT_A_TIME = 4096  # while these are parsed, no other greenlet runs


def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses that a name has now."""
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


class Meter:
    """What is left of the time and the bytes that one exchange may use."""

    def __init__(self) -> None:
        self._until = self._bytes = 0.0
        self.is_in_head = True

    def begin(self, until: float) -> None:
        self._until, self._bytes, self.is_in_head = until, HEAD_BYTES, True

    def go_on_to_body(self, most: int) -> None:
        # The framing of the chunks of a body counts as well.
        self._bytes, self.is_in_head = self._bytes + 2 * most, False

    def left(self, too_late: type[httpcore2.TimeoutException]) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise too_late
        return left

    def count(self, length: int) -> None:
        self._bytes -= length
        if self._bytes < 0:
            what = f"more than {HEAD_BYTES // 1024} kB of header" if self.is_in_head else "a body in ever more pieces"
            raise httpcore2.RemoteProtocolError(f"it sends {what}")


class Backend(httpcore2.SyncBackend):
    """Connects to the addresses that a name has at that moment, if all of them are allowed, and to no other.

    A name that resolves differently a moment later changes nothing (DNS rebinding).
    """

    def __init__(self, meter: Meter, *, may_reach: Callable[[str], bool] | None, resolve: Resolve) -> None:
        super().__init__()
        self._meter = meter
        self._may_reach = may_reach
        self._resolve = resolve

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        addresses = self._addresses(host.strip("[]"), port)
        for number, address in enumerate(addresses[:-1]):
            # An address that drops all packets leaves time for the others.
            share = self._meter.left(httpcore2.ConnectTimeout) / (len(addresses) - number)
            try:
                return self._connect(address, port, share)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return self._connect(addresses[-1], port, self._meter.left(httpcore2.ConnectTimeout))

    def _addresses(self, host: str, port: int) -> Sequence[str]:
        found = self._look_up(host, port)
        # All of them, not only the first: a name with one allowed and one forbidden address is a trap.
        if self._may_reach is not None and not all(map(self._may_reach, found)):
            words = f"{host} is an address of a private network, and in production nothing is sent there."
            raise OutboundError(Trouble.FORBIDDEN, words)
        return found

    def _look_up(self, host: str, port: int) -> Sequence[str]:
        """Resolve a name in a thread: getaddrinfo() has no timeout. With gevent that is a greenlet."""
        found: list[str] = []
        why: list[str] = []

        def look() -> None:
            try:
                found.extend(self._resolve(host, port))
            except (OSError, UnicodeError) as error:
                why.append(f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else "")

        thread = threading.Thread(target=look, name="look-up", daemon=True)
        thread.start()
        thread.join(self._meter.left(httpcore2.ConnectTimeout))
        if thread.is_alive():
            raise httpcore2.ConnectTimeout
        if not found:
            raise OutboundError(Trouble.NO_ADDRESS, f"{host} has no address{''.join(why)}: is the name right?")
        return found

    def _connect(self, address: str, port: int, seconds: float) -> httpcore2.NetworkStream:
        options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        return _Metered(super().connect_tcp(address, port, timeout=seconds, socket_options=options), self._meter)


class _Metered(httpcore2.NetworkStream):
    """A connection that ends at a deadline, however slow the other side is, and lets other greenlets run."""

    def __init__(self, stream: httpcore2.NetworkStream, meter: Meter) -> None:
        self._stream = stream
        self._meter = meter

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        # gevent waits only if a read would block (`recv` in gevent/_socketcommon.py): a far end that is fast enough
        # would have the whole process to itself.
        time.sleep(0)
        most = min(max_bytes, _HEAD_AT_A_TIME if self._meter.is_in_head else _AT_A_TIME)
        data = self._stream.read(most, self._meter.left(httpcore2.ReadTimeout))
        self._meter.count(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _AT_A_TIME):
            self._stream.write(buffer[start : start + _AT_A_TIME], self._meter.left(httpcore2.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        try:
            return _Tls(self, ssl_context, server_hostname)
        except BaseException:
            self.close()
            raise

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


class _Tls(httpcore2.NetworkStream):
    """TLS on a metered connection.

    Not by a socket of `ssl`: with gevent its timeout counts anew for each packet, and a record may arrive byte by byte.
    """

    def __init__(self, stream: _Metered, context: ssl.SSLContext, name: str | None) -> None:
        self._stream = stream
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._came, self._goes, server_hostname=name)
        try:
            self._drive(self._tls.do_handshake)
        except (ssl.SSLError, httpcore2.ReadError, httpcore2.WriteError) as error:
            raise OutboundError(Trouble.TLS, f"TLS with {name} failed: {_reason(error)}.") from error

    def _drive(self, act: Callable[[], Given]) -> Given:
        while True:
            try:
                given = act()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._stream.read(_AT_A_TIME)
                if data:
                    self._came.write(data)
                else:
                    self._came.write_eof()
            else:
                self._flush()
                return given

    def _flush(self) -> None:
        if self._goes.pending:
            self._stream.write(self._goes.read())

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return self._drive(partial(self._tls.read, max_bytes))
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""
        except ssl.SSLError as error:
            raise httpcore2.ReadError(_reason(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        while buffer:
            try:
                written = self._drive(partial(self._tls.write, buffer[:_AT_A_TIME]))
            except ssl.SSLError as error:
                raise httpcore2.WriteError(_reason(error)) from error
            buffer = buffer[written:]

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> object:
        return self._tls if info == "ssl_object" else self._stream.get_extra_info(info)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return str(error) or type(error).__name__
