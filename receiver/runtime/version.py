"""The version of this release."""

import tomllib
from functools import cache
from pathlib import Path

_PROJECT = Path(__file__).resolve().parent.parent.parent / "pyproject.toml"


@cache
def version() -> str:
    # Not from the metadata of the package: on Heroku only the requirements are installed.
    return str(tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]["version"])
