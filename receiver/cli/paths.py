"""`--set source.name=report.pdf`: a change to a payload, written in one word."""

import json
from typing import Any

import click

Node = dict[str, Any] | list[Any]


def change(payload: dict[str, Any], text: str) -> None:
    """Set the value at a path through objects (by key) and lists (by number), making the objects that are missing.

    The value is JSON if it reads as JSON, and text if not. A path that leads nowhere is a usage error.
    """
    path, equals, written = text.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise _wrong(text, "write PATH=VALUE, for example source.name=report.pdf")
    node: Node = payload
    for key in keys[:-1]:
        node = _step(node, key, text)
    _put(node, keys[-1], _value(written), text)


def _value(written: str) -> Any:
    try:
        return json.loads(written, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return written


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _step(node: Node, key: str, text: str) -> Node:
    child = node[_index(node, key, text)] if isinstance(node, list) else node.setdefault(key, {})
    if not isinstance(child, dict | list):
        raise _wrong(text, f"{key} is neither an object nor a list here")
    return child


def _put(node: Node, key: str, value: Any, text: str) -> None:
    if isinstance(node, list):
        node[_index(node, key, text)] = value
    else:
        node[key] = value


def _index(node: list[Any], key: str, text: str) -> int:
    if not (key.isascii() and key.isdigit() and len(key) < 10 and int(key) < len(node)):
        raise _wrong(text, f"{key} is no place in a list of {len(node)}")
    return int(key)


def _wrong(text: str, why: str) -> click.BadParameter:
    return click.BadParameter(f"{text!r}: {why}.", param_hint="--set")
