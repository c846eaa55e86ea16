"""Processes that run side by side and end together, however this one ends; what they say is shown line by line."""

import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from receiver.observe.log_writer import Line, Lines
from receiver.runtime import outlet

GRACE_SECONDS = 5.0  # from the first SIGTERM to SIGKILL
LOOK_SECONDS = 0.1
LAST_LOOKS = 20  # at what stands in the pipes when all have ended
LONGEST_LINE = 65_536
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
COLOURS = (36, 33)  # cyan, yellow
_DONE = b"done\n"
_SIMPLE = re.compile(r"(?!\w+=)[^;&|()<>`]+")  # one command, with no variables set before it


def parse_procfile(text: str) -> dict[str, str]:
    """Return the command of each process that a Procfile names."""
    return dict(re.findall(r"^([A-Za-z0-9_-]+):[ \t]*(.+)$", text, re.MULTILINE))


def supervise(commands: Mapping[str, str], *, environment: Mapping[str, str], folder: Path) -> int:
    """Run commands until one of them ends, or we are told to stop, or nobody reads any more what they say.

    Returns 0 where we were told to, and else the status of the one that ended, or 1 if that was 0. All of them, and
    what they started in turn, have ended then; also where this process is killed.
    """
    pipes = {name: os.pipe() for name in commands}
    with _Guard(list(pipes.values())) as guard, _Screen(commands) as screen:
        stop = _Stop()
        children = []
        for name, (reader, writer) in pipes.items():
            process = _start(commands[name], writer, guard, environment=environment, folder=folder)
            children.append(_Child(name, process, os.fdopen(reader, "rb", buffering=0)))
            screen.say(f"{name} started (pid={process.pid})")
        return _watch(children, screen, stop)


def _start(
    command: str, output: int, guard: "_Guard", *, environment: Mapping[str, str], folder: Path
) -> subprocess.Popen[bytes]:
    """Start a command of a shell in a session, and so a group, of its own: Ctrl-C is for us alone."""
    try:
        return subprocess.Popen(  # noqa: S602 - the Procfile is the installation's own
            # So that it is the command that is told to end, and not a shell before it, which would not pass that on.
            f"exec {command}" if _SIMPLE.fullmatch(command) else command,
            shell=True,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=guard.know_me,  # noqa: PLW1509 - one call to the system; and no thread of ours holds a lock
        )
    finally:
        os.close(output)


@dataclass(slots=True)
class _Child:
    name: str
    process: subprocess.Popen[bytes]
    output: BinaryIO
    unended: bytes = b""
    status: int | None = None


class _Stop:
    """Whether we were told to stop: by a signal, or because who read our lines is gone."""

    def __init__(self) -> None:
        self.by: str | None = None
        for number in SIGNALS:
            # `nohup` has SIGHUP ignored, and means it.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._heed)

    def _heed(self, number: int, _frame: FrameType | None) -> None:
        self.by = self.by or f"{signal.Signals(number).name} received"

    def is_asked(self) -> bool:
        if self.by is None and outlet.is_broken(sys.stdout):
            self.by = "nobody reads this any more"
        return self.by is not None


def _watch(children: Sequence[_Child], screen: "_Screen", stop: _Stop) -> int:
    """Show what children say until all have ended; end the others when one has, or when we are told to stop."""
    end: _End | None = None
    status: int | None = None
    with selectors.DefaultSelector() as selector:
        for child in children:
            selector.register(child.output, selectors.EVENT_READ, child)
        while end is None or not end.is_over():
            _show(selector, screen)
            ended = _ended(children, screen)
            if end is None and (ended or stop.is_asked()):
                status = 0 if stop.is_asked() else ended[0] or 1
                screen.say(f"{stop.by or 'one has ended'}: ending all, within {GRACE_SECONDS:g} s")
                end = _End([child.process.pid for child in children])
            if end is not None:
                end.go_on()
        for _ in range(LAST_LOOKS):
            _show(selector, screen, patience_seconds=0)
    return status or 0


def _ended(children: Sequence[_Child], screen: "_Screen") -> list[int]:
    """Return the status of each child that has ended since, as a shell would give it."""
    statuses = []
    for child in children:
        if child.status is None and (code := child.process.poll()) is not None:
            child.status = code if code >= 0 else 128 - code
            screen.say(f"{child.name} stopped (rc={child.status})")
            statuses.append(child.status)
    return statuses


def _show(selector: selectors.BaseSelector, screen: "_Screen", *, patience_seconds: float = LOOK_SECONDS) -> None:
    """Show what children have written since."""
    if not selector.get_map():
        time.sleep(patience_seconds)
        return
    for key, _ in selector.select(patience_seconds):
        child: _Child = key.data
        data = os.read(key.fd, LONGEST_LINE)
        if not data:
            selector.unregister(key.fileobj)
        *whole, child.unended = (child.unended + data).split(b"\n")
        if child.unended and (not data or len(child.unended) > LONGEST_LINE):
            whole, child.unended = [*whole, child.unended], b""
        for line in whole:
            screen.show(child.name, line.decode("utf-8", "replace"))


class _Screen:
    """Our standard output: each line behind the time and the name of the process that wrote it, in its colour."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._width = max(map(len, [*names, "system"]))
        self._colours = dict(zip(names, COLOURS, strict=False)) if sys.stdout.isatty() else {}
        # It never waits for a reader: behind `| less` nobody may be reading, and Ctrl-C is to be heard all the same.
        self._lines = Lines()
        self._lines.turn_to(sys.stdout, self._render)

    def __enter__(self) -> "_Screen":
        return self

    def __exit__(self, *_how: object) -> None:
        self._lines.write_out()

    def say(self, text: str) -> None:
        self.show("system", text)

    def show(self, name: str, text: str) -> None:
        self._lines.put({"name": name, "text": text.rstrip("\r"), "timestamp": time.time()})

    def _render(self, lines: list[Line]) -> str:
        return "".join(map(self._line, lines))

    def _line(self, line: Line) -> str:
        at = datetime.fromtimestamp(line["timestamp"]).astimezone().strftime("%H:%M:%S")
        name, text = line.get("name", "system"), line.get("text") or ""
        if "lines" in line:
            text = f"{line['lines']} lines were not shown"
        prefix = f"{at} {name.ljust(self._width)} | "
        colour = self._colours.get(name)
        return f"\033[0m\033[{colour}m{prefix}\033[0m{text}\n" if colour else f"{prefix}{text}\n"


class _End:
    """The end of process groups: each leader is asked by SIGTERM, then what it left behind; in the end all are killed.

    The leader alone at first: what a handler started would otherwise end under it, and its job fail. A second SIGTERM
    is not sent, because a worker takes it for impatience.
    """

    def __init__(self, leaders: Sequence[int]) -> None:
        self._until = time.monotonic() + GRACE_SECONDS
        self._left = dict.fromkeys(leaders, False)
        for leader in leaders:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(leader, signal.SIGTERM)

    def go_on(self) -> None:
        late = time.monotonic() > self._until
        for leader, is_asked in list(self._left.items()):
            try:
                os.killpg(leader, signal.SIGKILL if late else 0)
                if not is_asked and not _is_running(leader):
                    self._left[leader] = True
                    os.killpg(leader, signal.SIGTERM)
            except (ProcessLookupError, PermissionError):
                del self._left[leader]

    def is_over(self) -> bool:
        # What was killed may stay for a while as a name without a process, where nobody is there to take it away.
        return not self._left or time.monotonic() > self._until + 1


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


class _Guard:
    """A process beside this one that ends the groups of its children if this one goes without having done it.

    It waits at a pipe whose other end only we hold: the system closes that, whatever ends us. (Linux could signal the
    children by itself, but other systems cannot, and it would not see to it that they do end.) Each child writes its
    number into the pipe before it becomes the command. While the guard ends them it reads what they say, so that a
    handler that prints does not fail.
    """

    def __init__(self, outputs: Sequence[tuple[int, int]]) -> None:
        ours, self._pipe = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            try:
                for writer in (self._pipe, *(writer for _, writer in outputs)):
                    os.close(writer)
                _guard(ours, [reader for reader, _ in outputs])
            finally:
                os._exit(0)
        os.close(ours)

    def know_me(self) -> None:
        os.write(self._pipe, b"%d\n" % os.getpid())

    def __enter__(self) -> "_Guard":
        return self

    def __exit__(self, *_how: object) -> None:
        if _how[0] is None:
            os.write(self._pipe, _DONE)
        os.close(self._pipe)
        os.waitpid(self._process, 0)


def _guard(pipe: int, outputs: Sequence[int]) -> None:
    os.setsid()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    told = b""
    while data := os.read(pipe, 4096):
        told += data
    if told.endswith(_DONE):
        return
    end = _End([int(number) for number in told.split()])
    with selectors.DefaultSelector() as selector:
        for output in outputs:
            selector.register(output, selectors.EVENT_READ)
        while not end.is_over():
            for key, _ in selector.select(LOOK_SECONDS):
                if not os.read(key.fd, LONGEST_LINE):
                    selector.unregister(key.fd)
            end.go_on()
            if not selector.get_map():
                time.sleep(LOOK_SECONDS)
