"""However the process that supervises others ends, they end, and what they had begun is finished."""

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config import ROOT
from receiver.cli.supervisor import parse_procfile
from tests.waiting import PATIENCE_SECONDS, until

SUPERVISE = """
import os, sys
from pathlib import Path
from receiver.cli.supervisor import supervise
Path(sys.argv[1], "supervisor").write_text(str(os.getpid()))
commands = {name: sys.argv[2].format(f"{sys.executable} child.py {name}") for name in ("web", "worker")}
sys.exit(supervise(commands, environment=dict(os.environ), folder=Path(sys.argv[1])))
"""

# Finishes what it has begun when it is told to end, says so, and leaves a process behind that it had started.
CHILD = """
import os, pathlib, signal, subprocess, sys, time
name = sys.argv[1]
def end(*_):
    time.sleep(0.2)
    print("is finishing", flush=True)
    pathlib.Path(name + ".finished").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
left = subprocess.Popen(["sleep", "600"])
pathlib.Path(name + ".started").write_text(f"{os.getpid()} {left.pid}")
while True:
    print("is at work", flush=True)
    time.sleep(0.05)
"""

Begin = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Start a supervisor of two children in a process group of its own; what is left of it in the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(child: str = CHILD, *, through: str = "", line: str = "{}", **how: object) -> "subprocess.Popen[bytes]":
        (tmp_path / "child.py").write_text(child)
        (tmp_path / "supervise.py").write_text(SUPERVISE)
        supervise = f"{sys.executable} supervise.py {tmp_path} '{line}'"
        command = f"{supervise} | {through}" if through else f"exec {supervise}"
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(  # type: ignore[call-overload]
            command,
            shell=True,
            cwd=tmp_path,
            env=environment,
            start_new_session=True,
            preexec_fn=heed_ctrl_c,  # noqa: PLW1509 - no thread of these tests holds a lock
            **how,
        )
        started.append(process)
        return process  # type: ignore[no-any-return]

    yield start
    for number in [*numbers(tmp_path), *(process.pid for process in started)]:
        if is_running(number):
            os.kill(number, signal.SIGKILL)
    for process in started:
        process.wait()
        if process.stdout:
            process.stdout.close()


def heed_ctrl_c() -> None:
    # What is started in the background of a shell inherits that SIGINT is ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def numbers(folder: Path) -> list[int]:
    """Give the numbers of the supervisor, its children, and what those have started, as far as they are there."""
    files = [folder / "supervisor", *folder.glob("*.started")]
    return [int(number) for file in files if file.exists() for number in file.read_text().split()]


def all_started(folder: Path) -> list[int]:
    until(lambda: len(numbers(folder)) == 5, "the supervisor, two children and what they start are there")
    return numbers(folder)


def is_running(number: int) -> bool:
    try:
        stat = Path(f"/proc/{number}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def all_ended(started: list[int]) -> bool:
    return not any(map(is_running, started))


def finished(folder: Path) -> set[str]:
    return {file.stem for file in folder.glob("*.finished")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_told_to_stop_it_lets_all_finish_and_ends_well(begin: Begin, tmp_path: Path, number: signal.Signals) -> None:
    process = begin(stdout=subprocess.DEVNULL)
    started = all_started(tmp_path)
    process.send_signal(number)
    process.send_signal(number)  # impatience changes nothing
    assert process.wait() == 0
    until(lambda: all_ended(started), "nothing is left")
    assert finished(tmp_path) == {"web", "worker"}


def test_what_a_child_has_started_is_left_to_it_while_it_finishes(begin: Begin, tmp_path: Path) -> None:
    asking = CHILD.replace("time.sleep(0.2)", "time.sleep(0.5); assert left.poll() is None, 'ended under us'")
    process = begin(asking, stdout=subprocess.DEVNULL)
    all_started(tmp_path)
    process.terminate()
    assert process.wait() == 0
    assert finished(tmp_path) == {"web", "worker"}


@pytest.mark.parametrize("line", ["A=1 {}", "true; {}"])
def test_a_line_that_needs_a_shell_ends_as_well(begin: Begin, tmp_path: Path, line: str) -> None:
    process = begin(line=line, stdout=subprocess.DEVNULL)
    started = all_started(tmp_path)
    process.terminate()
    assert process.wait() == 0
    until(lambda: all_ended(started), "nothing is left")
    assert finished(tmp_path) == {"web", "worker"}


def test_killed_it_leaves_nobody_behind_and_all_finish(begin: Begin, tmp_path: Path) -> None:
    process = begin(stdout=subprocess.DEVNULL)
    started = all_started(tmp_path)
    process.kill()
    until(lambda: all_ended(started), "nothing is left")
    assert finished(tmp_path) == {"web", "worker"}


@pytest.mark.parametrize("through", ["cat", "tee log"])
def test_ctrl_c_in_a_pipeline_ends_all(begin: Begin, tmp_path: Path, through: str) -> None:
    process = begin(through=through, stdout=subprocess.DEVNULL)
    started = all_started(tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    until(lambda: all_ended(started), "nothing is left")
    assert finished(tmp_path) == {"web", "worker"}


def test_a_reader_that_ends_after_a_few_lines_leaves_nobody_behind(begin: Begin, tmp_path: Path) -> None:
    # It may end before all have started: then these never are.
    process = begin(through="head -n 3", stdout=subprocess.DEVNULL)
    process.wait(PATIENCE_SECONDS)
    until(lambda: all_ended(numbers(tmp_path)), "nothing is left")


def test_a_reader_that_goes_away_ends_all(begin: Begin, tmp_path: Path) -> None:
    process = begin(stdout=subprocess.PIPE)
    started = all_started(tmp_path)
    assert process.stdout
    process.stdout.close()
    assert process.wait() == 0
    until(lambda: all_ended(started), "nothing is left")
    assert finished(tmp_path) == {"web", "worker"}


def test_a_reader_that_stops_reading_keeps_nobody_from_stopping_it(begin: Begin, tmp_path: Path) -> None:
    loud = CHILD.replace('print("is at work", flush=True)', 'print("x" * 10_000, flush=True)')
    process = begin(loud, stdout=subprocess.PIPE)
    started = all_started(tmp_path)
    os.kill(started[0], signal.SIGTERM)
    assert process.wait() == 0
    until(lambda: all_ended(started), "nothing is left")
    assert finished(tmp_path) == {"web", "worker"}


def test_a_terminal_that_is_closed_ends_all(begin: Begin, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    begin(stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    started = all_started(tmp_path)
    os.read(ours, 1024)
    os.close(ours)
    until(lambda: all_ended(started), "nothing is left")
    assert finished(tmp_path) == {"web", "worker"}


def test_what_does_not_heed_sigterm_is_killed_with_all_that_it_started(begin: Begin, tmp_path: Path) -> None:
    deaf = CHILD.replace("signal.SIGTERM, end", "signal.SIGTERM, signal.SIG_IGN")
    process = begin(deaf, stdout=subprocess.DEVNULL)
    started = all_started(tmp_path)
    process.terminate()
    assert process.wait() == 0
    assert all_ended(started)


@pytest.mark.parametrize(
    ("end", "status"), [("sys.exit(3)", 3), ("sys.exit(0)", 1), ("os.kill(os.getpid(), signal.SIGKILL)", 137)]
)
def test_one_that_ends_by_itself_ends_the_others_and_gives_the_status(
    begin: Begin, tmp_path: Path, end: str, status: int
) -> None:
    ending = CHILD.replace("while True:", f"while True:\n    if name == 'web' and os.path.exists('now'): {end}")
    process = begin(ending, stdout=subprocess.DEVNULL)
    started = all_started(tmp_path)
    (tmp_path / "now").touch()
    assert process.wait() == status
    until(lambda: all_ended(started), "nothing is left")
    assert finished(tmp_path) == {"worker"}


def test_lines_are_whole_in_order_and_behind_their_names(begin: Begin, tmp_path: Path) -> None:
    counting = CHILD.replace("while True:", "for number in range(500): print('number', number)\nwhile True:")
    process = begin(counting, stdout=subprocess.PIPE)
    assert process.stdout
    deadline = threading.Timer(PATIENCE_SECONDS, process.kill)
    deadline.start()
    seen: dict[str, list[int]] = {"web": [], "worker": []}
    for line in process.stdout:
        found = re.fullmatch(rb"\d\d:\d\d:\d\d (web   |worker|system) \| (.*)\n", line)
        assert found, line
        if found[2].startswith(b"number"):
            seen[found[1].decode().strip()].append(int(found[2].split()[1]))
        if all(len(numbers) == 500 for numbers in seen.values()):
            process.terminate()
    deadline.cancel()
    assert seen == {"web": [*range(500)], "worker": [*range(500)]}


def test_on_a_terminal_names_have_colours(begin: Begin, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = begin(stdout=theirs)
    os.close(theirs)
    text = b""

    def both_have_said_something() -> bool:
        nonlocal text
        text += os.read(ours, 1024)
        return b"\x1b[36m" in text and b"\x1b[33m" in text

    until(both_have_said_something, "lines in cyan and in yellow")
    process.terminate()
    assert process.wait() == 0
    os.close(ours)


def test_a_procfile_is_read_as_others_read_it() -> None:
    assert parse_procfile("# note\nweb: gunicorn a:b\n\nworker:   python w.py\nno line\n") == {
        "web": "gunicorn a:b",
        "worker": "python w.py",
    }
