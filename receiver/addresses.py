"""Addresses of this installation: where this machine reaches what listens on it, and where webhooks go."""

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is listened on, and where that is reached


def address(host: str, port: int) -> str:
    """Give the URL under which this machine reaches what listens there."""
    reached = _EVERYWHERE.get(host, host)
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def hook_url(base: str, source: str) -> str:
    return f"{base}/hooks/{source}"
