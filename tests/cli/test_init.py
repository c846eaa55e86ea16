"""`signalbox init` writes an installation, whole, and never over another."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from config import ROOT
from receiver.cli import cli
from receiver.environment import load
from receiver.settings import SETTINGS

SAME_AS_HERE = ["wsgi.py", "Procfile", "app.json", *(f"config/{name}" for name in ("__init__.py", "gunicorn.py"))]

FILES = [
    ".env",
    ".gitignore",
    "Procfile",
    "README.md",
    "app.json",
    "config/__init__.py",
    "config/box_webhooks.toml",
    "config/gunicorn.py",
    "handlers/__init__.py",
    "handlers/uploads.py",
    "tests/test_uploads.py",
    "wsgi.py",
]


def init(folder: Path) -> Result:
    return CliRunner().invoke(cli, ["init", str(folder)], prog_name="signalbox")


def test_it_writes_everything_and_says_what_to_type_next(tmp_path: Path) -> None:
    result = init(tmp_path / "new")
    assert result.exit_code == 0, result.output
    written = sorted(
        str(path.relative_to(tmp_path / "new")) for path in (tmp_path / "new").rglob("*") if path.is_file()
    )
    assert written == FILES
    assert [name for name in written if name not in result.output] == []
    assert "signalbox run" in result.output
    assert "signalbox send box FILE.UPLOADED" in result.output


def test_its_settings_are_complete_with_random_keys_for_its_owners_eyes(tmp_path: Path) -> None:
    init(tmp_path)
    text = (tmp_path / ".env").read_text()
    assert re.findall(r"^(?:# )?([A-Z_]+)=", text, re.MULTILINE) == [setting.name for setting in SETTINGS]
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    settings = load({}, env_file=tmp_path / ".env")
    keys = [settings["SECRET_KEY"], settings["BOX_PRIMARY_KEY"], settings["BOX_SECONDARY_KEY"]]
    assert len({*keys, *settings["FILESTACK_SECRETS"]}) == 4
    assert min(map(len, keys)) > 30


def test_it_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "wsgi.py").write_text("mine")
    result = init(tmp_path)
    assert result.exit_code == 1
    assert "wsgi.py already. Nothing was written" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["wsgi.py"]
    assert (tmp_path / "wsgi.py").read_text() == "mine"


@pytest.mark.parametrize("name", [*SAME_AS_HERE, "config/box_webhooks.toml"])
def test_what_it_writes_is_what_this_installation_has(tmp_path: Path, name: str) -> None:
    init(tmp_path)
    assert (tmp_path / name).read_text() == (ROOT / name).read_text()


def test_the_test_of_its_example_passes(tmp_path: Path) -> None:
    init(tmp_path)
    command = [sys.executable, "-m", "unittest", "discover", "tests"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Ran 2 tests" in done.stderr
