"""Sends a capture on: to a source of ours, as if it had come there, or to a URL, its address checked and pinned."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from flask import Flask
from werkzeug.test import EnvironBuilder, run_wsgi_app

from receiver.bins import SERVERS_OWN, Request
from receiver.errors import ForwardError
from receiver.events import Headers
from receiver.outbound import Client, OutboundError, Resolve, parse, resolve
from receiver.outbound.public_addresses import is_public
from receiver.runtime.redaction import is_secret

PATIENCE = timedelta(seconds=10)
KEPT_BYTES = 64 * 1024
# Of this connection, not of the request; and what we say that we can read, which the answer has to be shown in.
_OF_THE_CONNECTION = SERVERS_OWN | {"host", "expect", "accept-encoding"}
# It opened the bin, and is not kept.
_OF_THE_BIN = "x-bin-secret"


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


def to_url(
    came: Request, url: str, *, allow_private: bool, keep_secrets: bool = False, resolve: Resolve = resolve
) -> Answered:
    """Send a capture to a URL and give the answer, whatever it is; redirects are not followed.

    The name is looked up once, every address of it is checked, and the connection goes to one of those: a name that
    points elsewhere a moment later changes nothing. ForwardError where that must not be, or where there is no answer.
    """
    client = Client(
        within=PATIENCE,
        most=KEPT_BYTES,
        may_reach=None if allow_private else is_public,
        resolve=resolve,
        by_environment=False,
        decodes=False,  # it is shown as it came
    )
    try:
        with client:
            reply = client.fetch(
                came.method, url, headers=_lines(came.headers, keep_secrets=keep_secrets), body=came.body
            )
    except OutboundError as error:
        raise ForwardError(str(error)) from error
    if reply.fault and not reply.is_cut:
        raise ForwardError(f"{parse(url).host} did not respond in HTTP: its body {reply.fault}.")
    return Answered(
        url=reply.url,
        status=reply.status,
        headers=reply.headers,
        body=reply.body,
        is_cut=reply.is_cut,
        took=reply.took,
    )


def _answered(url: str, status: int, lines: Iterable[tuple[str, str]], body: bytes, began: float) -> Answered:
    took = timedelta(seconds=time.monotonic() - began)
    is_cut = len(body) > KEPT_BYTES
    return Answered(url=url, status=status, headers=Headers(lines), body=body[:KEPT_BYTES], is_cut=is_cut, took=took)


def _lines(headers: Headers, *, keep_secrets: bool) -> list[tuple[str, str]]:
    of_the_connection = {name.strip().lower() for name in headers.get("Connection", "").split(",")}
    left_out = _OF_THE_CONNECTION | of_the_connection | {_OF_THE_BIN}
    return [
        (name, value)
        for name, value in headers.pairs
        if name.lower() not in left_out and (keep_secrets or not is_secret(name))
    ]
