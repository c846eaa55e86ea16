"""`signalbox init`: writes an installation into a folder."""

import os
import secrets
import shlex
import sysconfig
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from shutil import which

import click

# Each file of an installation, and the one in `files/` that it is a copy of: packages leave out names with a dot.
COPIES = {
    "README.md": "README.md",
    ".gitignore": "gitignore",
    "Procfile": "Procfile",
    "app.json": "app.json",
    "wsgi.py": "wsgi.py",
    "config/__init__.py": "config/__init__.py",
    "config/gunicorn.py": "config/gunicorn.py",
    "config/box_webhooks.toml": "config/box_webhooks.toml",
    "handlers/__init__.py": "handlers/__init__.py",
    "handlers/uploads.py": "handlers/uploads.py",
    "tests/test_uploads.py": "tests/test_uploads.py",
}
ENV_FILE = ".env"
RANDOM = ("SECRET_KEY", "BOX_PRIMARY_KEY", "BOX_SECONDARY_KEY", "FILESTACK_SECRETS")


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
def init(folder: Path) -> None:
    """Write an installation into DIR: settings with random keys, an example handler and its test, a Procfile.

    A file that is there already is never overwritten: then nothing is written.
    """
    there = [name for name in (*COPIES, ENV_FILE) if os.path.lexists(folder / name)]
    if there:
        raise click.ClickException(
            f"{folder} has {', '.join(there)} already. Nothing was written: name another folder."
        )
    try:
        for name, source in COPIES.items():
            _write(folder / name, (files(__name__) / "files" / source).read_text(encoding="utf-8"))
        _write(folder / ENV_FILE, "\n".join(_env_lines()), mode=0o600)
    except OSError as error:
        raise click.ClickException(f"{error.filename} cannot be written: {error.strerror}.") from error
    click.echo(f"Wrote an installation into {folder}:")
    for name in COPIES:
        click.echo(f"  {name}")
    click.echo(f"  {ENV_FILE}  with random keys: {', '.join(RANDOM)}")
    command = _command()
    into = f"cd {shlex.quote(str(folder))} && "
    click.echo(f"\nStart it:\n  {into}{command} run")
    click.echo(f"Then, in another terminal:\n  {into}{command} send box FILE.UPLOADED")


def _write(path: Path, text: str, *, mode: int = 0o666) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _env_lines() -> Iterator[str]:
    """Yield the lines of `.env`: each setting with what it does, commented out unless it is a random key."""
    from receiver.settings import SETTINGS  # not above: `-h` does without

    yield "# The settings of this installation; a variable in the environment wins over one here."
    for setting in SETTINGS:
        yield f"\n# {setting.help}"
        if setting.name in RANDOM:
            yield f"{setting.name}={secrets.token_urlsafe()}"
        else:
            yield f"# {setting.name}={setting.default or ''}"
    yield ""


def _command() -> str:
    """Return what to type for `signalbox` in any folder: its whole path where the shell would not find it."""
    return "signalbox" if which("signalbox") else shlex.quote(str(Path(sysconfig.get_path("scripts"), "signalbox")))
