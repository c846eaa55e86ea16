"""The wheel, in an environment that has what its own metadata requires and nothing else: the whole tour."""

import json
import os
import socket
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.acceptance.project import copy_project
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.xdist_group("wheel")
Environ = dict[str, str]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = copy_project(folder / "project")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ["--no-build-isolation", "--no-deps", "--no-index", "-w", str(folder)]
    subprocess.run([*pip, "wheel", *options, str(source)], check=True, capture_output=True, timeout=PATIENCE_SECONDS)
    (made,) = folder.glob("signalbox-*.whl")
    return made


@pytest.fixture(scope="module")
def commands(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of a fresh environment with the wheel, and what it requires without extras."""
    folder = tmp_path_factory.mktemp("python")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    done = [*pip, "install", "--no-deps", "--no-index", "--no-compile", str(wheel)]
    subprocess.run(done, check=True, capture_output=True, timeout=PATIENCE_SECONDS)
    (site,) = folder.glob("lib/python*/site-packages")
    (metadata,) = site.glob("signalbox-*.dist-info")
    for found in required_by(Distribution.at(metadata)):
        link(found, site)
    (folder / "bin" / "gunicorn").write_text(f"#!{python}\nfrom gunicorn.app.wsgiapp import run\nrun()\n")
    (folder / "bin" / "gunicorn").chmod(0o755)
    return folder / "bin"


def required_by(root: Distribution) -> list[Distribution]:
    """Return what a distribution requires without extras, and what that requires in turn."""
    found: dict[tuple[str, str], Distribution] = {}
    to_do = [(root, "")]
    while to_do:
        one, extra = to_do.pop()
        for requirement in map(Requirement, one.requires or ()):
            if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
                continue
            for wanted in ("", *requirement.extras):
                key = (requirement.name.lower(), wanted)
                if key not in found:
                    try:
                        found[key] = distribution(requirement.name)
                    except PackageNotFoundError:  # wanted on another platform only
                        continue
                    to_do.append((found[key], wanted))
    return list(found.values())


def link(found: Distribution, site: Path) -> None:
    tops = {Path(str(file)).parts[0] for file in found.files or [] if ".." not in Path(str(file)).parts}
    for top in tops - {"__pycache__"}:
        if not (site / top).exists():
            (site / top).symlink_to(Path(str(found.locate_file(top))))


@pytest.fixture
def environ(commands: Path) -> Environ:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {"PATH": f"{commands}{os.pathsep}{os.defpath}", "PORT": str(port), "WEB_CONCURRENCY": "1"}


def signalbox(words: str, *, cwd: Path, environ: Environ, status: int | None = 0) -> str:
    """Run the installed command, and return all that it printed."""
    done = subprocess.run(
        ["signalbox", *words.split()],
        executable=f"{environ['PATH'].split(os.pathsep)[0]}/signalbox",
        cwd=cwd,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert status is None or done.returncode == status, done.stdout
    return done.stdout


class Running:
    """A command in the background, and what it has printed so far."""

    def __init__(self, words: str, *, cwd: Path, environ: Environ, log: Path) -> None:
        self._log = log
        with log.open("w") as output:
            line = [f"{environ['PATH'].split(os.pathsep)[0]}/signalbox", *words.split()]
            self._process = subprocess.Popen(line, cwd=cwd, env=environ, stdout=output, stderr=subprocess.STDOUT)

    def printed(self) -> str:
        text = self._log.read_text()
        assert self._process.poll() is None, text
        return text

    def stop(self) -> int:
        self._process.terminate()
        return self._process.wait(PATIENCE_SECONDS)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[list[Running]]:
    started: list[Running] = []
    yield started
    for one in started:
        one.stop()


def test_the_wheel_has_all_of_the_engine_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"receiver"}
    assert [name for name in names if name.endswith(".pyc")] == []
    listed = subprocess.run(["git", "ls-files", "receiver"], check=True, capture_output=True, text=True).stdout
    assert set(listed.split()) - set(names) == set()


def test_the_tour_of_the_readme(commands: Path, environ: Environ, tmp_path: Path, running: list[Running]) -> None:
    assert signalbox("--version", cwd=tmp_path, environ=environ) == "signalbox 0.2.0\n"
    assert "signalbox run" in signalbox("init here", cwd=tmp_path, environ=environ)
    here = tmp_path / "here"
    assert "now" in signalbox("db upgrade", cwd=here, environ=environ)
    run = Running("run", cwd=here, environ=environ, log=tmp_path / "run.log")
    running.append(run)
    until(lambda: "Booting worker" in run.printed() and "state=started" in run.printed(), "web and worker run")
    assert str(here / "var" / "signalbox.db") in run.printed().replace("\n", "")
    assert "accepted" in signalbox("send box FILE.UPLOADED", cwd=here, environ=environ)

    def done() -> bool:
        event = json.loads(signalbox("events show last --json", cwd=here, environ=environ))
        return [(job["handler"], job["state"]) for job in event["jobs"]] == [("handlers.uploads.note_upload", "done")]

    until(done, "the example has handled it")
    assert "box:FILE.UPLOADED" in signalbox("events list", cwd=here, environ=environ)
    assert "note_upload" in signalbox("jobs list", cwd=here, environ=environ)
    assert "note_upload" in signalbox("handlers list", cwd=here, environ=environ)
    assert run.stop() == 0


def test_an_empty_folder_runs_on_defaults_and_says_where_its_data_is(
    environ: Environ, tmp_path: Path, running: list[Running]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    run = Running("run", cwd=empty, environ=environ, log=tmp_path / "run.log")
    running.append(run)
    until(lambda: "Booting worker" in run.printed() and "state=started" in run.printed(), "web and worker run")
    assert str(empty / "var" / "signalbox.db") in run.printed().replace("\n", "")
    assert (empty / "var" / "signalbox.db").exists()


def test_the_sandbox_starts(environ: Environ, tmp_path: Path, running: list[Running]) -> None:
    sandbox = Running("sandbox --port 0", cwd=tmp_path, environ=environ, log=tmp_path / "sandbox.log")
    running.append(sandbox)
    until(lambda: "The sandbox listens on" in sandbox.printed(), "the sandbox listens")


@pytest.mark.parametrize(
    ("words", "variables", "extra"),
    [
        ("events list", {"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none"}, "postgres"),
        ("worker", {"CELERY_BROKER_URL": "redis://127.0.0.1:9/0"}, "celery"),
        ("box list", {"BOX_DEVELOPER_TOKEN": "token"}, "box"),
    ],
)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    environ: Environ, tmp_path: Path, words: str, variables: Environ, extra: str
) -> None:
    if words == "worker":  # which asks for its tables first
        signalbox("db upgrade", cwd=tmp_path, environ=environ)
    said = signalbox(words, cwd=tmp_path, environ=environ | variables, status=1)
    assert f"pip install 'signalbox[{extra}]'" in " ".join(said.split())
    assert "Traceback" not in said
