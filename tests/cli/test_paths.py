"""`--set PATH=VALUE`: where a value goes, and what it is taken for."""

from typing import Any

import click
import pytest

from receiver.cli import paths


def changed(payload: dict[str, Any], text: str) -> dict[str, Any]:
    paths.change(payload, text)
    return payload


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("a=text", {"a": "text", "list": [{"b": 1}, 2]}),
        ("a.b.c=1", {"a": {"b": {"c": 1}}, "list": [{"b": 1}, 2]}),
        ("list.0.b=null", {"list": [{"b": None}, 2]}),
        ('list.1={"x": [true]}', {"list": [{"b": 1}, {"x": [True]}]}),
        ("a==", {"a": "=", "list": [{"b": 1}, 2]}),
        ("a=", {"a": "", "list": [{"b": 1}, 2]}),
        ("a=NaN", {"a": "NaN", "list": [{"b": 1}, 2]}),
        ('a="1"', {"a": "1", "list": [{"b": 1}, 2]}),
    ],
)
def test_a_value_is_set_at_its_path(text: str, after: dict[str, Any]) -> None:
    assert changed({"list": [{"b": 1}, 2]}, text) == after


@pytest.mark.parametrize(
    "text", ["", "a", "=1", "a..b=1", "list.2=1", "list.-1=1", "list.x=1", "list.1.y=1", "list.²=1"]
)
def test_a_path_that_leads_nowhere_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.BadParameter):
        changed({"list": [{"b": 1}, 2]}, text)
