"""A recorded request as a command to paste: the same method, headers and bytes, to the same address."""

import base64
import shlex
from collections.abc import Sequence

from receiver.bins import SERVERS_OWN, Request
from receiver.runtime.redaction import is_secret

# curl says these by itself; compressed answers it would print as they are.
_LEFT_OUT = SERVERS_OWN | {"host", "expect", "accept-encoding"}

# Linux takes 128 KiB as one argument of a program, its end included (MAX_ARG_STRLEN, execve(2)); what the shell does by
# itself, as printf, has no limit.
_LONGEST_ARGUMENT = 128 * 1024 - 1


def write(came: Request, base: str) -> str:
    """Give a command for bash that needs curl, and openssl where the body is no text.

    What is secret is left out. `base` is the address of the bin.
    """
    url = f"{base}{came.path}" + (f"?{came.query}" if came.query else "")
    # As it is: no `..` resolved, no brackets taken for ranges.
    parts = ["curl -sS --path-as-is --globoff", *_method(came), _quoted(url)]
    parts += [f"-H {_quoted(line)}" for line in _header_lines(came)]
    text = _text(came.body)
    if not came.body:
        return _joined(parts)
    if text is not None and len(came.body) <= _LONGEST_ARGUMENT:
        return _joined([*parts, f"--data-raw {shlex.quote(text)}"])
    if text is not None:
        return f"printf %s {shlex.quote(text)} | {_joined([*parts, '--data-binary @-'])}"
    encoded = base64.encodebytes(came.body).decode("ascii")
    return f"openssl base64 -d <<'BODY' | {_joined([*parts, '--data-binary @-'])}{encoded}BODY\n"


def _joined(parts: Sequence[str]) -> str:
    return " \\\n  ".join(parts) + "\n"


def _method(came: Request) -> list[str]:
    if came.method == "HEAD" and not came.body:
        return ["--head"]
    standard = "POST" if came.body else "GET"
    return [] if came.method == standard else [f"-X {shlex.quote(came.method)}"]


def _header_lines(came: Request) -> list[str]:
    # A header without a value is written with a semicolon, and one that curl would add by itself without anything.
    lines = [
        f"{name}: {value}" if value else f"{name};"
        for name, value in came.headers.pairs
        if name.lower() not in _LEFT_OUT and not is_secret(name)
    ]
    names = {name.lower() for name in came.headers}
    added = ["User-Agent", "Accept"] + (["Content-Type"] if came.body else [])
    return lines + [f"{name}:" for name in added if name.lower() not in names]


def _text(body: bytes) -> str | None:
    """Give a body that a terminal takes as it is: text, without what it would act on."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text.replace("\n", "").isprintable() else None


def _quoted(text: str) -> str:
    if text.isascii() and text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(_escaped(byte) for byte in text.encode("latin-1", "replace")) + "'"


def _escaped(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 and chr(byte) not in "\\'" else f"\\x{byte:02x}"
