"""A delivery as something to paste: cURL, HTTPie, Python, a pytest test, HAR. Each signs afresh when it runs."""

import base64
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from receiver.observe.documents import iso
from receiver.sources.profile import Signing

Lines = Sequence[Sequence[str]]

# What the source itself sets anew for each delivery, or what belongs to one connection, is left out; so is whatever
# was masked. What is left is only what describes the body.
_DESCRIBES_THE_BODY = ("content-type", "content-language")


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """A delivery to be copied: its bytes, its header lines as people may see them, and where it would go."""

    source: str
    signing: Signing
    title: str
    body: bytes
    headers: Lines
    received_at: datetime
    url: str


def curl(copied: Copied) -> str:
    """Give a command for bash that needs curl and openssl."""
    flags = "".join(f" \\\n    -H {name}:{value}" for name, value in _shell_headers(copied))
    return _in_shell(copied, f"curl -sS {_shell_url(copied)} --data-binary @-{flags}")


def httpie(copied: Copied) -> str:
    """Give a command for bash that needs HTTPie and openssl."""
    items = "".join(f" \\\n    {name}:{value}" for name, value in _shell_headers(copied))
    return _in_shell(copied, f"http POST {_shell_url(copied)}{items}")


def _in_shell(copied: Copied, command: str) -> str:
    """Write it in parentheses: a key that is not set ends these lines, and not the shell that they were pasted into."""
    return f"""(
  # {_plain(copied.title)}, signed afresh when this runs
{_shell_body(copied.body)}
{copied.signing.bash}
  body | {command}
)
"""


def _shell_url(copied: Copied) -> str:
    return f'"${{SIGNALBOX_URL:-{_address(copied)}}}/hooks/{copied.source}"'


def _shell_headers(copied: Copied) -> list[tuple[str, str]]:
    fresh = [(name, f'"{value}"') for name, value in copied.signing.bash_headers]
    return [*((name, shlex.quote(value)) for name, value in _kept(copied)), *fresh]


def _shell_body(body: bytes) -> str:
    """Write the function `body`, which prints these very bytes.

    What a terminal could change on its way in (control characters, tabs, what is not UTF-8) goes as base64.
    """
    text = _readable(body)
    if text is not None:
        return f"  body() {{ printf %s {_single_quoted(text)}; }}"
    lines = base64.encodebytes(body).decode("ascii")
    return f"  body() {{ openssl base64 -d <<'BODY'\n{lines}BODY\n  }}"


def _single_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _readable(body: bytes) -> str | None:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if all(letter.isprintable() or letter == "\n" for letter in text) else None


def python(copied: Copied) -> str:
    """Return a script that needs httpx2."""
    return f'''"""{_plain(copied.title)}, signed afresh when this runs."""
{_python_head(copied)}

{_python_body(copied)}
{_python_signature(copied)}
{_python_post(copied)}
print(answer.status_code, answer.text)
'''


def pytest(copied: Copied) -> str:
    """Give a test that posts these bytes to a running Signalbox and looks at its answer."""
    name = re.sub(r"[^a-z0-9]+", "_", copied.title.lower(), flags=re.ASCII).strip("_")
    steps = "\n".join([_python_signature(copied), _python_post(copied)])
    indented = "\n".join(f"    {line}" for line in steps.splitlines())
    return f'''"""{_plain(copied.title)}: these very bytes, signed afresh, are accepted."""
{_python_head(copied)}

{_python_body(copied)}


def test_{name}_is_accepted() -> None:
{indented}
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] in ("accepted", "duplicate")
'''


def _python_head(copied: Copied) -> str:
    imports = "".join(f"import {name}\n" for name in sorted({*copied.signing.modules, "os"}))
    return f"\n{imports}from datetime import UTC, datetime\n\nimport httpx2"


def _python_body(copied: Copied) -> str:
    text = _readable(copied.body)
    return f"body = {copied.body!r}" if text is None else f"body = {text!r}.encode()"


def _python_signature(copied: Copied) -> str:
    return copied.signing.python


def _python_post(copied: Copied) -> str:
    written = [*((name, json.dumps(value)) for name, value in _kept(copied)), *copied.signing.python_headers]
    headers = "".join(f"\n    {json.dumps(name)}: {value}," for name, value in written)
    return f"""url = os.environ.get("SIGNALBOX_URL", "{_address(copied)}")
headers = {{{headers}
}}
answer = httpx2.post(f"{{url}}/hooks/{copied.source}", content=body, headers=headers)"""


def har(copied: Copied) -> str:
    """Give an HTTP archive (version 1.2) of the delivery as it came: credentials masked, signatures cut."""
    request = {
        "method": "POST",
        "url": f"{_address(copied)}/hooks/{copied.source}",
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": [{"name": name, "value": value} for name, value in copied.headers],
        "queryString": [],
        "postData": {"mimeType": _content_type(copied), **_har_text(copied.body)},
        "headersSize": -1,
        "bodySize": len(copied.body),
    }
    response = {
        "status": 0,
        "statusText": "",
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": [],
        "content": {"size": 0, "mimeType": "application/json"},
        "redirectURL": "",
        "headersSize": -1,
        "bodySize": -1,
        "comment": "The answer is not kept.",
    }
    entry = {
        "startedDateTime": iso(copied.received_at),
        "time": 0,
        "request": request,
        "response": response,
        "cache": {},
        "timings": {"send": 0, "wait": 0, "receive": 0},
        "comment": copied.title,
    }
    log = {"version": "1.2", "creator": {"name": "Signalbox", "version": "1"}, "entries": [entry]}
    return json.dumps({"log": log}, indent=2) + "\n"


def _content_type(copied: Copied) -> str:
    return next((value for name, value in copied.headers if name.lower() == "content-type"), "application/json")


def _har_text(body: bytes) -> dict[str, str]:
    # HAR 1.2 knows `encoding` in answers only; in requests the readers that know it take it, and the others see it.
    try:
        return {"text": body.decode("utf-8")}
    except UnicodeDecodeError:
        return {"text": base64.b64encode(body).decode("ascii"), "encoding": "base64"}


def _kept(copied: Copied) -> list[tuple[str, str]]:
    """Give the header lines that go along; what could end a line, or is not ASCII, does not."""
    return [
        (name.title(), value)
        for name, value in copied.headers
        if name.lower() in _DESCRIBES_THE_BODY and value.isascii() and value.isprintable()
    ]


def _address(copied: Copied) -> str:
    """Give where Signalbox answers, which a browser said: only what an address is made of."""
    return re.sub(r"[^\w.:/\[\]-]", "", copied.url, flags=re.ASCII)


def _plain(title: str) -> str:
    """Give a title that can end neither a comment nor a docstring."""
    return re.sub(r"[^\w .,:;@/+-]", "_", title)


FORMS: Mapping[str, Callable[[Copied], str]] = {
    "curl": curl,
    "httpie": httpie,
    "har": har,
    "python": python,
    "pytest": pytest,
}
NAMES = {"curl": "cURL", "httpie": "HTTPie", "python": "Python", "pytest": "pytest", "har": "HAR"}
