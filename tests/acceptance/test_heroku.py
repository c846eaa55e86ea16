"""The Procfile's lines as Heroku runs them: `requirements.txt` alone is installed, PORT and DATABASE_URL are given."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest

from receiver.sources import samples
from tests.acceptance.project import copy_project
from tests.acceptance.service import PROCFILE, Service
from tests.installation import KEYS
from tests.waiting import until


def install(requirements: Path, folder: Path) -> Path:
    """Make a virtual environment that holds these requirements and nothing else; give the folder of its commands.

    Without a network: each distribution is linked from the environment that runs the tests.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==", requirements.read_text(), re.MULTILINE):
        for entry in _files_of(name):
            target = site / entry.name
            if not target.exists():
                target.symlink_to(entry)
    command = f"#!{folder}/bin/python\nfrom gunicorn.app.wsgiapp import run\nrun()\n"
    (folder / "bin" / "gunicorn").write_text(command)
    (folder / "bin" / "gunicorn").chmod(0o755)
    return folder / "bin"


def _files_of(name: str) -> set[Path]:
    try:
        found: Distribution = distribution(name)
    except ModuleNotFoundError:  # pinned for another platform or Python
        return set()
    tops = {Path(str(file)).parts[0] for file in found.files or [] if ".." not in Path(str(file)).parts}
    return {Path(str(found.locate_file(top))) for top in tops if top != "__pycache__"}


@pytest.fixture
def slug(tmp_path: Path) -> Path:
    """The project's files, without anything that git leaves out."""
    return copy_project(tmp_path / "app")


def test_the_lines_of_the_procfile_work_with_the_requirements_alone(slug: Path, postgres: str, tmp_path: Path) -> None:
    commands = install(slug / "requirements.txt", tmp_path / "python")
    service = Service(
        tmp_path,
        root=slug,
        bin_folder=commands,
        ENV="production",
        SECRET_KEY="a-secret-key-of-the-tests",
        ADMIN_PASSWORD="a-password-of-the-tests",
        API_TOKEN="a-token-of-the-tests",
        DATABASE_URL=re.sub("^postgresql:", "postgres:", postgres),
        PYTHONPATH="",
    )
    assert "No module named" in service.run("python -m pytest", check=False).stderr
    try:
        service.run(PROCFILE["release"])
        service.web()
        service.worker()
        body, headers = samples.forge("filestack", "fp.upload", KEYS["filestack"], at=datetime.now(UTC))
        answer = service.post("filestack", body, headers).json()
        assert answer["status"] == "accepted"

        def done() -> bool:
            jobs = json.loads(service.signalbox(f"events show {answer['event']} --json"))["jobs"]
            return [job["state"] for job in jobs] == ["done", "done"]

        until(done, "both jobs are done")
    finally:
        service.stop()
