"""Addresses of this installation: where this machine reaches it, and where webhooks are sent."""

from urllib.parse import urlsplit

USUAL = "http://127.0.0.1:8000"  # where an installation listens by default
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - the address listened on, and the one to reach it


def address(host: str, port: int) -> str:
    """Return the URL under which this machine reaches a server that listens there."""
    reached = _EVERYWHERE.get(host, host)
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def hook_url(base: str, source: str) -> str:
    return f"{base}/hooks/{source}"


def is_usual(base: str) -> bool:
    """Return whether a command uses this address without any settings."""
    return base.replace("//localhost:", "//127.0.0.1:") == USUAL


def as_variables(base: str) -> str:
    """Return the settings that make a command use this address, as written before it in a shell: `PORT=8431 `."""
    parts = urlsplit(base)
    host = "" if parts.hostname in (None, "127.0.0.1", "localhost") else f"HOST={parts.hostname} "
    return f"{host}PORT={parts.port or 80} "
