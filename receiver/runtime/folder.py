"""The folder of the installation that this process runs: the working folder, unless `wsgi.py` names its own."""

from pathlib import Path

_named: list[Path] = []


def use_folder(path: Path) -> None:
    """Make a folder the installation of this process; relative paths in settings are below it from now on."""
    _named[:] = [path.resolve()]


def folder() -> Path:
    """Return the folder of the installation."""
    return _named[0] if _named else Path.cwd()
