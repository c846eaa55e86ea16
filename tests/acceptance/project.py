"""A copy of the project as git has it, and a virtual environment in it that borrows what is installed."""

import subprocess
import sys
from pathlib import Path

from tests.acceptance.service import ROOT


def copy_project(folder: Path) -> Path:
    """Put the project's files into a folder, without anything that git leaves out, and give the folder."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
            (folder / name).chmod((ROOT / name).stat().st_mode)
    return folder


def borrow_environment(project: Path) -> None:
    """Give a copy a `.venv` that make finds complete: nothing is downloaded."""
    venv = project / ".venv"
    venv.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name not in (".run", ".dev"):
            (venv / entry.name).symlink_to(entry)
    (venv / ".run").touch()
