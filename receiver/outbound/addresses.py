"""Addresses of this installation: where this machine reaches what listens on it, and where webhooks go."""

from urllib.parse import urlsplit

USUAL = "http://127.0.0.1:8000"  # where an installation listens unless somebody says otherwise
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is listened on, and where that is reached


def address(host: str, port: int) -> str:
    """Give the URL under which this machine reaches what listens there."""
    reached = _EVERYWHERE.get(host, host)
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def hook_url(base: str, source: str) -> str:
    return f"{base}/hooks/{source}"


def is_usual(base: str) -> bool:
    """Say whether a command in a shell where nothing is set looks there."""
    return base.replace("//localhost:", "//127.0.0.1:") == USUAL


def as_variables(base: str) -> str:
    """Give the settings that make a command look there, as they are written before it in a shell: `PORT=8431 `."""
    parts = urlsplit(base)
    host = "" if parts.hostname in (None, "127.0.0.1", "localhost") else f"HOST={parts.hostname} "
    return f"{host}PORT={parts.port or 80} "
