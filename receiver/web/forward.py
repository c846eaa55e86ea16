"""Sends a capture on: to a source of ours, as if it had come there, or to a URL, its address checked and pinned."""

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv6Address, ip_address

import httpcore
import httpx
from flask import Flask
from werkzeug.test import EnvironBuilder, run_wsgi_app

from receiver.bins import SERVERS_OWN, Request
from receiver.errors import ForwardError
from receiver.events import Headers
from receiver.redaction import is_secret

PATIENCE = timedelta(seconds=10)
KEPT_BYTES = 64 * 1024
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
# Of this connection, not of the request; and what we say that we can read, which the answer has to be shown in.
_OF_THE_CONNECTION = SERVERS_OWN | {"host", "expect", "accept-encoding"}
# It opened the bin, and is not kept.
_OF_THE_BIN = "x-bin-secret"

Resolve = Callable[[str, int], Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What the other side said; of a long body the beginning."""

    url: str
    status: int
    headers: Headers
    body: bytes
    is_cut: bool
    took: timedelta


def to_source(app: Flask, source: str, came: Request) -> Answered:
    """Take the way of a delivery that comes from outside, in this process, with the bytes and headers of a capture."""
    began = time.monotonic()
    path = f"/hooks/{source}"
    builder = EnvironBuilder(
        path=path,
        query_string=came.query,
        method=came.method,
        data=came.body,
        headers=_lines(came.headers, keep_secrets=True),
        environ_base={"REMOTE_ADDR": came.client},
    )
    try:
        body, status, headers = run_wsgi_app(app.wsgi_app, builder.get_environ(), buffered=True)
    finally:
        builder.close()
    return _answered(path, int(status.split()[0]), headers.items(), b"".join(body), began)


def resolve(host: str, port: int) -> Sequence[str]:
    """Give the addresses that a name has now."""
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


def to_url(
    came: Request, url: str, *, allow_private: bool, keep_secrets: bool = False, resolve: Resolve = resolve
) -> Answered:
    """Send a capture to a URL and give the answer, whatever it is; redirects are not followed.

    The name is looked up once, every address of it is checked, and the connection goes to one of those: a name that
    points elsewhere a moment later changes nothing. ForwardError where that must not be, or where there is no answer.
    """
    target = _parse(url)
    port = target.port or {"http": 80, "https": 443}[target.scheme]
    addresses = _check(target.host, port, resolve, allow_private=allow_private)
    began = time.monotonic()
    backend = _Pinned(addresses, deadline=began + PATIENCE.total_seconds())
    context = httpx.create_ssl_context(trust_env=False) if target.scheme == "https" else None
    try:
        with httpcore.ConnectionPool(ssl_context=context, network_backend=backend) as pool:
            return _send(pool, _request(came, target, port, keep_secrets=keep_secrets), str(target), began)
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
        raise ForwardError(_why(error, target.host)) from error


def _request(came: Request, target: httpx.URL, port: int, *, keep_secrets: bool) -> httpcore.Request:
    lines = [("Host", target.netloc.decode("ascii")), *_lines(came.headers, keep_secrets=keep_secrets)]
    if came.body or came.method in _METHODS_WITH_BODY:
        lines.append(("Content-Length", str(len(came.body))))
    return httpcore.Request(
        came.method,
        httpcore.URL(scheme=target.raw_scheme, host=target.raw_host, port=port, target=target.raw_path),
        headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in lines],
        content=came.body,
    )


def _send(pool: httpcore.ConnectionPool, request: httpcore.Request, url: str, began: float) -> Answered:
    response = pool.handle_request(request)
    body = b""
    try:
        for chunk in response.iter_stream():
            body += chunk
            if len(body) > KEPT_BYTES:
                break
    finally:
        response.close()
    lines = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers]
    return _answered(url, response.status, lines, body, began)


def _answered(url: str, status: int, lines: Iterable[tuple[str, str]], body: bytes, began: float) -> Answered:
    took = timedelta(seconds=time.monotonic() - began)
    is_cut = len(body) > KEPT_BYTES
    return Answered(url=url, status=status, headers=Headers(lines), body=body[:KEPT_BYTES], is_cut=is_cut, took=took)


def _parse(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url.strip())
        host = parsed.host  # it decodes punycode, and may fail at it
    except (httpx.InvalidURL, ValueError) as error:
        raise ForwardError(f"This is no URL: {error}.") from error
    if parsed.scheme not in ("http", "https") or not host:
        raise ForwardError("Only http:// and https:// with a host can be sent to.")
    if parsed.userinfo:
        raise ForwardError("A URL with a name or password in it is not sent to: leave them out.")
    return parsed.copy_with(fragment=None)


def _check(host: str, port: int, resolve: Resolve, *, allow_private: bool) -> Sequence[str]:
    try:
        addresses = resolve(host, port)
    except (OSError, UnicodeError):
        addresses = []
    if not addresses:
        raise ForwardError(f"{host} has no address: is the name right?")
    # All of them, not only the one that is taken: a name with one address of each kind is a trap.
    if not (allow_private or all(map(is_public, addresses))):
        raise ForwardError(f"{host} is an address of a private network, and in production nothing is sent there.")
    return addresses


def is_public(address: str) -> bool:
    """Say whether an address is one of the internet, and does not lead to another one that is not."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        # Inside of it stands an address of IPv4, and that is who would be reached.
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        if found.sixtofour is not None or found.teredo is not None or found.is_site_local:
            return False
    return found.is_global and not found.is_multicast and not found.is_reserved


def _lines(headers: Headers, *, keep_secrets: bool) -> list[tuple[str, str]]:
    of_the_connection = {name.strip().lower() for name in headers.get("Connection", "").split(",")}
    left_out = _OF_THE_CONNECTION | of_the_connection | {_OF_THE_BIN}
    return [
        (name, value)
        for name, value in headers.pairs
        if name.lower() not in left_out and (keep_secrets or not is_secret(name))
    ]


def _why(error: Exception, host: str) -> str:
    if isinstance(error, httpcore.TimeoutException):
        return f"{host} did not answer within {PATIENCE.total_seconds():.0f} seconds."
    if isinstance(error, httpcore.ConnectError):
        return f"{host} could not be connected to: {error}."
    if isinstance(error, httpcore.LocalProtocolError):
        return f"This capture cannot be sent as HTTP/1.1: {error}."
    return f"{host} did not answer in HTTP: {str(error) or type(error).__name__}."


class _Pinned(httpcore.SyncBackend):
    """Connects to addresses that were checked, whatever the name says by now, and stops everything at a deadline."""

    def __init__(self, addresses: Sequence[str], *, deadline: float) -> None:
        super().__init__()
        self._addresses = addresses
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        *others, last = self._addresses
        for address in others:
            try:
                return self._connect(address, port)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._connect(last, port)

    def _connect(self, address: str, port: int) -> httpcore.NetworkStream:
        stream = super().connect_tcp(address, port, timeout=_left(self._deadline, httpcore.ConnectTimeout))
        return _Limited(stream, self._deadline)


class _Limited(httpcore.NetworkStream):
    """A connection that ends at a deadline, however slowly the other side goes on."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(self._deadline, httpcore.ConnectTimeout)
        return _Limited(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


def _left(deadline: float, too_late: type[httpcore.TimeoutException]) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise too_late
    return left
