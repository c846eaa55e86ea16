"""Types what a page shows, as it stands there, into shells in a copy of the project, and compares what they say."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx2 as httpx

from tests.acceptance.project import borrow_environment, copy_project
from tests.acceptance.service import free_port
from tests.waiting import PATIENCE_SECONDS, until

# Commands that go on until Ctrl-C, and what each says when it is ready.
STAYING = {"make run": "[info] worker   state=started", "signalbox sandbox": "listens on"}
LOOKS_AFTER = ("signalbox events", "signalbox rejected", "signalbox box apply", "cat ")
ALLOWED_TO_FAIL = {"plan": 2, "--tamper": 1}  # what else than 0 a command with such a word may exit with

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w/]+\.(?:py|toml))\n")
_DONE = "-- done:"
_PIECE = re.compile(
    r"(?P<id>\b[0-9A-Z]{26}\b)|(?P<span>\b\d+ (?:ms|s|min)\b)|(?P<number>\d+)|(?P<space>\s+)|(?P<anything>…)|[^\d\s…]+?"
)
_LIKE = {"id": r"[0-9A-Z]{26}", "span": r"\d+ (?:ms|s|min)", "number": r"\d+", "space": r"\s+", "anything": ".*"}


@dataclass(frozen=True, slots=True)
class Typed:
    """A command, and the lines that the page shows below it."""

    command: str
    shown: tuple[str, ...] = ()


def blocks(page: str, *, end: str) -> list[tuple[str, str]]:
    """Give language and content of the fenced blocks that stand before a heading."""
    assert f"\n{end}\n" in page, f"the page has no {end}"
    return _BLOCK.findall(page.partition(f"\n{end}\n")[0])


def typed(block: str) -> Iterator[Typed]:
    """Give the commands of a block: behind `$ ` with what they print, or one a line."""
    if not block.startswith("$ "):
        yield from (Typed(line) for line in block.splitlines() if line)
        return
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *shown = part.splitlines()
        yield Typed(command, tuple(line for line in shown if line.strip() not in ("", "…")))


def pattern(line: str) -> re.Pattern[str]:
    """Give what a line may look like another time: other numbers, times and ids, wider columns, and … for anything."""
    return re.compile(r"\s*" + _PIECE.sub(_likeness, line.strip()) + r"\s*")


def _likeness(piece: re.Match[str]) -> str:
    kind = piece.lastgroup or ""
    return _LIKE.get(kind, re.escape(piece[0]))


def missing(shown: tuple[str, ...], said: str) -> list[str]:
    """Give the lines of a page that a command did not print, in this order, whatever it printed besides."""
    lines = iter(said.splitlines())
    return [line for line in shown if not any(pattern(line).fullmatch(one) for one in lines)]


class Walk:
    """A copy of the project, and somebody who types there. What is to be on a port gets a free one, by settings."""

    def __init__(self, folder: Path) -> None:
        self.project = copy_project(folder / "signalbox")
        borrow_environment(self.project)
        self.url, self.sandbox_url = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            # The commands of the environment that is borrowed would run the code that it was made for.
            "PYTHONPATH": str(self.project),
            "PORT": self.url.rpartition(":")[2],
            "BOX_API_URL": self.sandbox_url,
            "WEB_CONCURRENCY": "1",
        }
        self._running: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}
        self._shell = _Shell(self.project, self._environ)
        self._http = httpx.Client(trust_env=False, timeout=PATIENCE_SECONDS)

    def go(self, page: str, *, end: str) -> None:
        """Do all that stands on a page before a heading; what is in a `text` block, a running process has to say."""
        again: set[str] = set()
        for language, block in blocks(page, end=end):
            if language == "console" and (staying := [name for name in STAYING if name in block.splitlines()]):
                self._start(staying[0], block, is_again=staying[0] in again)
                again.add(staying[0])
            elif language == "console":
                for one in typed(block):
                    self._type(one)
            elif language == "text":
                self._wait_for(block)
            elif found := _FILE.match(block):
                self._write(found[1], block)

    def _start(self, name: str, block: str, *, is_again: bool) -> None:
        if name in self._running and not is_again:
            return  # from a page before this one
        self._stop(name)
        log = self.project.parent / f"{name.replace(' ', '-')}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-e", "-c", block],
                cwd=self.project,
                env=self._environ,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._running[name] = process, log
        until(lambda: STAYING[name] in log.read_text() or process.poll() is not None, f"{name} is ready")
        assert process.poll() is None, log.read_text()

    def _type(self, one: Typed) -> None:
        if one.command.startswith(LOOKS_AFTER):
            self._let_it_settle()
        status, said = self._shell.type(one.command)
        allowed = {0} | {number for word, number in ALLOWED_TO_FAIL.items() if word in one.command.split()}
        assert status in allowed, f"{one.command}: exit {status}\n{said}"
        assert missing(one.shown, said) == [], f"{one.command} said\n{said}"

    def _let_it_settle(self) -> None:
        """Wait as somebody does who reads before typing on: until all is delivered, routed and handled."""
        until(self._is_settled, "all that was set off is handled")

    def _is_settled(self) -> bool:
        if "signalbox sandbox" in self._running:
            sent = self._http.get(f"{self.sandbox_url}/sandbox/events").json()["items"]
            if not all(one["sent"] for one in sent):
                return False
        counts = [self._http.get(f"{self.url}/api/{what}").json()["items"] for what in _UNFINISHED]
        return not any(counts)

    def _wait_for(self, block: str) -> None:
        for line in filter(str.strip, block.splitlines()):
            until(lambda line=line: self._was_said(line), f"{line!r} in a shell")  # type: ignore[misc]

    def _was_said(self, line: str) -> bool:
        logs = [log.read_text() for _, log in self._running.values()]
        return any(re.search(pattern(line).pattern, one) for log in logs for one in log.splitlines())

    def said(self, name: str) -> str:
        """Give what a running process has printed so far."""
        return self._running[name][1].read_text()

    def _write(self, name: str, content: str) -> None:
        path = self.project / name
        before = path.read_text() + "\n" if path.suffix == ".toml" else ""
        path.write_text(before + content)

    def _stop(self, name: str) -> None:
        if name in self._running:
            process, log = self._running.pop(name)
            os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise AssertionError(f"{name} does not end by Ctrl-C:\n{log.read_text()}") from None

    def close(self) -> None:
        try:
            for name in list(self._running):
                self._stop(name)
        finally:
            self._shell.close()
            self._http.close()


_UNFINISHED = ("events?state=accepted", "jobs?state=waiting", "jobs?state=running")


class _Shell:
    """A bash in which things are typed one after the other."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        bash = shutil.which("bash")
        assert bash, "bash is not installed"
        self._process = subprocess.Popen(
            [bash],
            cwd=folder,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def type(self, command: str) -> tuple[int, str]:
        """Give the exit status and everything that was printed."""
        stdin, stdout = self._pipes()
        stdin.write(f'{command} </dev/null\necho "{_DONE}$?"\n')
        stdin.flush()
        said: list[str] = []
        for line in stdout:
            if line.startswith(_DONE):
                return int(line.removeprefix(_DONE)), "".join(said)
            said.append(line)
        raise AssertionError(f"the shell ended at {command}:\n{''.join(said)}")

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def close(self) -> None:
        for pipe in self._pipes():
            pipe.close()
        self._process.wait(PATIENCE_SECONDS)
