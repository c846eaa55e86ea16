"""Processes under a supervisor that starts again what dies, as systemd would, and ends them all with itself."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from bench.sites import ROOT, until

LOOK_SECONDS = 0.1
GRACE_SECONDS = 40
RESTARTED_SECONDS = 90


class Process:
    """One line of a Procfile in a process group of its own."""

    def __init__(self, name: str, line: str, folder: Path, environ: Mapping[str, str]) -> None:
        self.name = name
        self.starts = 0
        self.is_wanted = False
        self._words = line.split()
        self._log = folder / f"{name}.log"
        self._environ = environ
        self._popen: subprocess.Popen[bytes] | None = None
        self._is_piped = False

    @property
    def pid(self) -> int:
        assert self._popen is not None  # noqa: S101 - asked only of what was started
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def start(self) -> None:
        with self._log.open("ab") as output:
            self._begin(subprocess.PIPE if self._is_piped else output)

    def _begin(self, output: Any) -> None:
        self._popen = subprocess.Popen(  # noqa: S603 - the lines are ours
            self._words, cwd=ROOT, env=self._environ, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        self.starts += 1

    def pipe(self, is_piped: bool) -> None:
        """Settle where the next start writes its log to: a pipe, as `signalbox run | cat` has one, or the file."""
        self._is_piped = is_piped

    def break_pipe(self) -> None:
        """Close the end of the pipe that is read."""
        assert self._popen is not None and self._popen.stdout is not None  # noqa: S101, PT018 - it was started on one
        self._popen.stdout.close()

    def signal(self, number: int) -> None:
        if self.is_running:
            os.kill(self.pid, number)

    def children(self) -> list[int]:
        return [child.pid for child in psutil.Process(self.pid).children()]

    def clear_away(self) -> None:
        """Kill what a main process that is dead has left running, as systemd does."""
        if self._popen is not None:
            try:
                os.killpg(self._popen.pid, signal.SIGKILL)
            except ProcessLookupError:
                return

    def end(self) -> None:
        """End it in order, and kill what is left of it."""
        self.is_wanted = False
        self.signal(signal.SIGTERM)
        if self._popen is not None:
            try:
                self._popen.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                print(f"{self.name} did not end when it was told to", file=sys.stderr)
            self.clear_away()
            self._popen.wait()


class Supervisor:
    """Keeps processes running until it is closed."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = environ
        self._processes: dict[str, Process] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def __getitem__(self, name: str) -> Process:
        return self._processes[name]

    def __contains__(self, name: str) -> bool:
        return name in self._processes

    def add(self, name: str, line: str, **environ: str) -> Process:
        process = Process(name, line, self._folder, {**self._environ, **environ})
        process.start()
        process.is_wanted = True
        self._processes[name] = process
        return process

    def _keep(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            for process in list(self._processes.values()):
                if process.is_wanted and not process.is_running:
                    process.clear_away()
                    process.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        processes = list(self._processes.values())
        for process in processes:
            process.is_wanted = False
            process.signal(signal.SIGTERM)
        for process in processes:
            process.end()


def wait_restarted(process: Process, starts: int) -> None:
    """Wait until it has ended and was started again; BenchError where it does not end, even if it was told to."""
    until(lambda: process.starts > starts, f"{process.name} ends and is started again", seconds=RESTARTED_SECONDS)
