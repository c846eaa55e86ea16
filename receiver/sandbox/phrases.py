"""The result of a delivery, in words: for the terminal and for the page."""

import re
from collections.abc import Mapping
from typing import Any

SAID_AT_MOST = 100
_VERDICT = re.compile(r'\{"status": ?"(\w+)", ?"reason": ?"(\w+)"')


def coming(delivery: Mapping[str, Any]) -> str:
    """Return the response to a delivery, and what is next."""
    if delivery["delivered"]:
        return f"{delivery['seconds'] * 1000:.0f} ms" + (
            f", delivery {delivery['number']}" if delivery["number"] > 1 else ""
        )
    said = _said(delivery["answer"])
    following = delivery["number"] + 1
    if delivery["next_at"] is None:
        return f"{said}; delivery {delivery['number']} was the last"
    if delivery["state"] == "dropped":
        return f"{said}; its webhook is gone"
    if delivery["next_in_seconds"] is None:
        return f"{said}; delivery {following} followed"
    return f"{said}; delivery {following} in {span(delivery['next_in_seconds'])}"


def _said(answer: str) -> str:
    """Return what a receiver responded: of ours the verdict and its reason, of any other the beginning."""
    found = _VERDICT.match(answer)
    return f"{found[1]}, {found[2]}" if found else answer[:SAID_AT_MOST]


def span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.0f} min"
