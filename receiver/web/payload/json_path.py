"""Where a value stands in a payload, in the form that people paste into code: `source.name`, `entries[0].id`."""

import json

MAX_LENGTH = 500


def below(path: str | None, key: str | int) -> str | None:
    """Give the path of what stands under a key, or at a place of a list; None where it would be too long to be used."""
    if path is None:
        return None
    found = f"{path}{_step(path, key)}" if len(str(key)) <= MAX_LENGTH else ""
    return found if 0 < len(found) <= MAX_LENGTH else None


def _step(path: str, key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    if key.isidentifier():
        return f".{key}" if path else key
    return f"[{json.dumps(key, ensure_ascii=not key.isprintable())}]"
