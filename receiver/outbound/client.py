"""One request and its response, within one deadline and a bounded memory, whatever the far end does."""

import os
import ssl
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cache
from types import TracebackType
from typing import Self
from urllib.request import getproxies, proxy_bypass

import certifi
import httpcore2
import httpx2

from receiver.events import Headers
from receiver.humanize import plain, size
from receiver.outbound.connections import Backend, Meter, Resolve, resolve
from receiver.outbound.public_addresses import is_loopback
from receiver.outbound.replies import OutboundError, Reply, Trouble, decode

_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_PORTS = {"http": 80, "https": 443}
_NO_RESPONSE = (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError, httpcore2.ProxyError)

Headed = Iterable[tuple[str, str]]


class Client:
    """Makes requests, one after the other; it must not be shared between threads.

    A whole exchange, from resolving the name to the last byte, has to end within `within`; `most` bytes of a body are
    kept. Redirects are not followed. With `may_reach`, each address of a name is checked before anything is sent.
    `by_environment` uses the proxies and authorities that the environment names, for the world outside.
    """

    def __init__(
        self,
        *,
        within: timedelta,
        most: int,
        may_reach: Callable[[str], bool] | None = None,
        resolve: Resolve = resolve,
        by_environment: bool = True,
        decodes: bool = True,
    ) -> None:
        self.within = within
        self.most = most
        self._by_environment = by_environment
        self._decodes = decodes
        self._meter = Meter()
        self._backend = Backend(self._meter, may_reach=may_reach, resolve=resolve)
        self._pools: dict[tuple[str, str], httpcore2.ConnectionPool] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        while self._pools:
            self._pools.popitem()[1].close()

    def fetch(
        self, method: str, url: str, *, headers: Headed = (), body: bytes = b"", within: timedelta | None = None
    ) -> Reply:
        """Send a request and return the response; OutboundError if there is none.

        A response whose body is too long, breaks off, or is not what its label says is returned too: its `fault` says
        so.
        """
        target = parse(url)
        within = self.within if within is None else within
        began = time.monotonic()
        self._meter.begin(began + within.total_seconds())
        request = self._request(method, target, headers, body)
        try:
            response = self._pool(target).handle_request(request)
        except _NO_RESPONSE as error:
            raise _trouble(error, target, within) from error
        self._meter.go_on_to_body(self.most)
        try:
            raw, fault = self._read(response, target, within)
        finally:
            response.close()
        lines = Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers)
        body = raw
        if self._decodes and not fault:
            body, fault = decode(raw, lines.get("Content-Encoding", ""), most=self.most)
        is_cut = len(body) > self.most
        return Reply(
            url=str(target),
            status=response.status,
            headers=lines,
            body=body[: self.most],
            took=timedelta(seconds=time.monotonic() - began),
            is_cut=is_cut,
            fault=fault or (f"is longer than {size(self.most)}" if is_cut else ""),
        )

    def _request(self, method: str, target: httpx2.URL, headers: Headed, body: bytes) -> httpcore2.Request:
        lines = [("Host", target.netloc.decode("ascii")), *headers]
        if self._decodes:
            lines.append(("Accept-Encoding", "gzip"))
        if body or method in _METHODS_WITH_BODY:
            lines.append(("Content-Length", str(len(body))))
        try:
            return httpcore2.Request(
                method,
                httpcore2.URL(
                    scheme=target.raw_scheme, host=target.raw_host, port=_port(target), target=target.raw_path
                ),
                headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in lines],
                content=body,
            )
        except UnicodeEncodeError as error:
            raise OutboundError(Trouble.UNSENDABLE, "a header of it cannot be sent as HTTP/1.1") from error

    def _read(self, response: httpcore2.Response, target: httpx2.URL, within: timedelta) -> tuple[bytes, str]:
        """Read the body, up to `most` bytes and one more; return it with what is wrong with it."""
        body = bytearray()
        try:
            for piece in response.iter_stream():
                body += piece
                if len(body) > self.most:
                    return bytes(body[: self.most + 1]), ""
        except httpcore2.TimeoutException:
            return bytes(body), f"is not complete within {_seconds(within)}"
        except _NO_RESPONSE as error:
            return bytes(body), f"breaks off: {plain(error, most=120) or type(error).__name__}"
        return bytes(body), ""

    def _pool(self, target: httpx2.URL) -> httpcore2.ConnectionPool:
        proxy = _proxy(target) if self._by_environment else ""
        key = target.scheme, proxy
        if key not in self._pools:
            self._pools[key] = self._open(target.scheme, proxy)
        return self._pools[key]

    def _open(self, scheme: str, proxy: str) -> httpcore2.ConnectionPool:
        # Reusing a connection saves a TLS handshake. Over plain HTTP it saves little, and what a far end sends too much
        # (a body with a 204) would begin the next response.
        kept = 1 if scheme == "https" else 0
        context = _trusted(_authorities() if self._by_environment else None) if scheme == "https" else None
        via = None
        if proxy:
            try:
                via = httpcore2.Proxy(*_proxy_parts(proxy))
            except (httpx2.InvalidURL, ValueError):
                raise OutboundError(Trouble.UNREACHED, "the proxy that the environment names is not a URL") from None
        return httpcore2.ConnectionPool(
            ssl_context=context, network_backend=self._backend, max_keepalive_connections=kept, proxy=via
        )


def parse(url: str) -> httpx2.URL:
    """Parse a URL that a request can be sent to; OutboundError for anything else."""
    try:
        parsed = httpx2.URL(url.strip())
        host = parsed.host  # it decodes punycode, which may fail
    except (httpx2.InvalidURL, ValueError) as error:
        raise OutboundError(Trouble.NO_URL, f"This is not a URL: {error}.") from error
    if parsed.scheme not in _PORTS or not host:
        raise OutboundError(Trouble.NO_URL, "Requests can be sent only to http:// and https:// with a host.")
    if parsed.userinfo:
        raise OutboundError(
            Trouble.NO_URL, "Requests are not sent to a URL with a name or password in it: leave them out."
        )
    return parsed.copy_with(fragment=None)


def _port(target: httpx2.URL) -> int:
    return target.port or _PORTS[target.scheme]


def _proxy(target: httpx2.URL) -> str:
    """Return the proxy that the environment names for a URL, or "": proxies are for the world outside."""
    named = getproxies()
    found = named.get(target.scheme) or named.get("all") or ""
    if not found or is_loopback(target.host) or proxy_bypass(target.host):
        return ""
    return found if "://" in found else f"http://{found}"


def _proxy_parts(proxy: str) -> tuple[str, tuple[str, str] | None]:
    parts = httpx2.URL(proxy)
    if parts.scheme not in _PORTS or not parts.host:
        raise ValueError("a proxy of another kind")
    plain_url = str(parts.copy_with(userinfo=b""))
    return plain_url, (parts.username, parts.password) if parts.userinfo else None


def _authorities() -> str | None:
    """Return the file or folder of certificates that the environment names."""
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


@cache
def _trusted(authorities: str | None) -> ssl.SSLContext:
    # Cached: loading the certificates of the authorities takes longer than a whole exchange.
    if authorities is None:
        # Not httpx2's own context: since 2.0 that is truststore's, and an image without ca-certificates trusts nobody.
        return ssl.create_default_context(cafile=certifi.where())
    try:
        if os.path.isdir(authorities):  # noqa: PTH112 - it is a text of the environment, for ssl
            return ssl.create_default_context(capath=authorities)
        return ssl.create_default_context(cafile=authorities)
    except OSError as error:
        words = f"the certificates of {authorities}, which the environment names, cannot be read: {error}"
        raise OutboundError(Trouble.TLS, words) from error


def _trouble(error: Exception, target: httpx2.URL, within: timedelta) -> OutboundError:
    host, why = target.host, plain(error, most=120).rstrip(".") or type(error).__name__
    match error:
        case httpcore2.TimeoutException():
            return OutboundError(Trouble.LATE, f"{host} did not respond within {_seconds(within)}.")
        case httpcore2.ConnectError():
            return OutboundError(Trouble.UNREACHED, f"{host} could not be connected to: {why}.")
        case httpcore2.ProxyError():
            return OutboundError(Trouble.UNREACHED, f"the proxy of the environment does not lead to {host}: {why}.")
        case httpcore2.LocalProtocolError():
            return OutboundError(Trouble.UNSENDABLE, f"This cannot be sent as HTTP/1.1: {why}.")
        case _:
            return OutboundError(Trouble.NOT_HTTP, f"{host} did not respond in HTTP: {why}.")


def _seconds(within: timedelta) -> str:
    return f"{within.total_seconds():g} seconds"
