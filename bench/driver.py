"""The load: `drive.c`, compiled and run, with its summary and its answers as Python sees them."""

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("drive.c")
GRACE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of the driver measured; milliseconds count from when a request was due."""

    answered: int
    unanswered: int
    next: int
    seconds: float
    per_second: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    statuses: dict[str, int]

    def others(self) -> dict[str, int]:
        """Give how many were answered otherwise than by 200; status 0 is no answer."""
        return {status: count for status, count in self.statuses.items() if status != "200"}


@dataclass(frozen=True, slots=True)
class Answered:
    """One line of the driver's file: which request, and what it was answered. Status 0: nothing."""

    index: int
    status: int
    body: str
    microseconds: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How requests are sent: without a rate each connection waits for its answer before it sends the next."""

    connections: int
    seconds: float
    rate: float | None = None
    count: int | None = None


def compile_driver(folder: Path) -> Path:
    target = folder / "drive"
    subprocess.run(["gcc", "-O2", "-o", str(target), str(SOURCE)], check=True)  # noqa: S603, S607 - our own source
    return target


def drive(binary: Path, *, port: int, requests: Path, answers: Path, load: Load, first: int) -> Run:
    """Send requests from `first` on to a port of loopback, add every answer to `answers`, and give the summary."""
    words = _words(binary, port, requests, answers, load, "--first", first)
    patience = load.seconds + GRACE_SECONDS
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=patience)  # noqa: S603
    return Run(**json.loads(done.stdout))


@contextmanager
def driving(binary: Path, *, port: int, requests: Path, load: Load) -> Iterator[Callable[[], Run]]:
    """Send the same requests over and over meanwhile; what is given waits for the end, and gives the summary."""
    words = _words(binary, port, requests, Path(os.devnull), load, "--again", 1)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            yield lambda: Run(**json.loads(process.communicate(timeout=load.seconds + GRACE_SECONDS)[0]))
        finally:
            process.kill()


def _words(binary: Path, port: int, requests: Path, answers: Path, load: Load, *more: object) -> list[str]:
    words: list[object] = [binary, port, requests, answers, "--connections", load.connections]
    words += ["--seconds", load.seconds, *more]
    words += [] if load.rate is None else ["--rate", load.rate]
    words += [] if load.count is None else ["--count", load.count]
    return list(map(str, words))


def read_answers(lines: Iterable[str]) -> Iterator[Answered]:
    for line in lines:
        index, status, microseconds, body = line.rstrip("\n").split(" ", 3)
        yield Answered(int(index), int(status), body, int(microseconds))


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value that `share` of the values do not exceed, as the driver reckons it; 0 of none."""
    return sorted(values)[int(share * (len(values) - 1))] if values else 0.0
