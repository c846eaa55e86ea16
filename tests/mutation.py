"""Make small faults in the code, one at a time, and see whether a test fails: python -m tests.mutation [MODULE …].

Works on a copy of the tree in a temporary folder. Which tests a module has is in COVERED; those of a second line run
where the first notice nothing. A fault that no test notices is a hole in the tests, or changes nothing that matters.
"""

import argparse
import contextlib
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from tests.mutants import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[1]
SQLITE, POSTGRES = ("-k", "not postgresql"), ("-k", "postgresql")
_SOURCES = [
    "tests/sources/test_wire.py",
    "tests/sources/test_drift.py",
    "tests/test_secrets.py",
    "tests/inbox/test_diagnosis.py",
]
_JOBS = [
    "tests/jobs/test_leases.py",
    "tests/jobs/test_apart.py",
    "tests/jobs/test_which_jobs.py",
    "tests/jobs/test_worker.py",
    "tests/jobs/test_pause.py",
]
_AROUND_JOBS = ["tests/jobs/test_dead_letters.py", "tests/jobs/test_celery_tasks.py", "tests/jobs/test_dispatch.py"]

# The lines of tests of each module: the next is run where the one before noticed nothing.
COVERED: dict[str, list[list[str]]] = {
    "receiver/sources/box/__init__.py": [["tests/sources/test_box.py", *_SOURCES], ["tests/sources/test_oracles.py"]],
    "receiver/sources/filestack/__init__.py": [
        ["tests/sources/test_filestack.py", *_SOURCES],
        ["tests/sources/test_oracles.py"],
    ],
    "receiver/sources/wire.py": [
        ["tests/sources/test_wire.py", "tests/sources/test_box.py", "tests/sources/test_filestack.py"],
        ["tests/sources/test_drift.py", "tests/sources/test_oracles.py"],
    ],
    "receiver/sources/schemas.py": [["tests/sources/test_drift.py"]],
    "receiver/sources/box/schemas.py": [["tests/sources/test_drift.py", "tests/sources/test_oracles.py"]],
    "receiver/sources/filestack/schemas.py": [["tests/sources/test_drift.py", "tests/sources/test_oracles.py"]],
    "receiver/inbox/rows.py": [
        [*SQLITE, "tests/inbox/test_rows.py", "tests/inbox/test_reinstate.py"],
        [*POSTGRES, "tests/inbox/test_rows.py", "tests/inbox/test_reinstate.py"],
        [
            *SQLITE,
            "tests/web/test_health.py",
            "tests/web/test_hooks.py",
            "tests/storage/test_search.py",
            "tests/observe/test_queries.py",
        ],
    ],
    "receiver/jobs/store.py": [
        [*SQLITE, *_JOBS],
        [*POSTGRES, *_JOBS],
        [*SQLITE, *_AROUND_JOBS],
        [*POSTGRES, *_AROUND_JOBS],
    ],
    "receiver/jobs/by_hand.py": [
        [*SQLITE, *_JOBS],
        [*POSTGRES, *_JOBS],
        [*SQLITE, *_AROUND_JOBS],
        [*POSTGRES, *_AROUND_JOBS],
    ],
    "receiver/jobs/retry.py": [["tests/jobs/test_retry.py"]],
    "receiver/jobs/worker.py": [[*SQLITE, *_JOBS], [*SQLITE, *_AROUND_JOBS]],
    "receiver/web/auth/__init__.py": [["tests/web/test_auth.py", "tests/test_secrets.py"]],
}

_OURS = {"tests", "receiver", "config", "handlers", "wsgi", "bench"}
_NOT_COPIED = shutil.ignore_patterns(".git", ".venv", "__pycache__", "var", ".*_cache", ".hypothesis", "images")
_MEMORY_BYTES = 6 * 1024**3
_LEAST_SECONDS = 20.0


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: `killed`, `survived` or `timed out`."""

    module: str
    line: int
    before: str
    after: str
    outcome: str


class Copy:
    """A copy of the tree, in which one module at a time is not what it should be."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "tree"
        self._temporary = folder / "t"
        self._temporary.mkdir()
        self._imported = folder / "imported"
        shutil.copytree(ROOT, self.tree, ignore=_NOT_COPIED)

    def warm_up(self) -> None:
        """Import what the last run did, but for what is ours, so that the next need not."""
        for name in self._imported.read_text().split():
            if name.partition(".")[0] not in _OURS | {"__main__"} and name not in sys.modules:
                with contextlib.suppress(Exception):
                    importlib.import_module(name)

    def run(self, tests: Sequence[str], *, seconds: float) -> int | None:
        """Run tests in a process of its own; give pytest's exit code, or None where they took too long."""
        pid = os.fork()
        if pid == 0:
            self._become_pytest(tests)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        self._end(pid)
        return None

    def _become_pytest(self, tests: Sequence[str]) -> None:
        code = 3
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
            os.chdir(self.tree)
            with (self.tree / "output").open("wb") as output:
                for stream in (1, 2):
                    os.dup2(output.fileno(), stream)
            # What is imported from here on is the copy's.
            for name in [name for name in sys.modules if name.partition(".")[0] in _OURS]:
                del sys.modules[name]
            sys.path[:] = [str(self.tree), *(path for path in sys.path if path not in ("", str(ROOT)))]
            os.environ |= {"PYTHONPATH": str(self.tree), "TMPDIR": str(self._temporary)}
            tempfile.tempdir = None
            quick = ["-x", "-q", "-n", "0", "-p", "no:randomly", "-p", "no:cacheprovider"]
            # What was imported before the fork; what is collected late, after the tests have passed.
            quick += [
                f"-Wignore::pytest.{name}"
                for name in ("PytestAssertRewriteWarning", "PytestUnraisableExceptionWarning")
            ]
            code = int(pytest.main([*quick, *tests]))
            self._imported.write_text("\n".join(sys.modules))
        except Exception:  # noqa: BLE001 - whatever it is, this process ends here, and has to say why
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _end(self, pid: int) -> None:
        """End a process that hangs: in good order, so that it stops its own, or else by force."""
        for number, patience in ((signal.SIGINT, 15.0), (signal.SIGKILL, 15.0)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                if os.waitpid(pid, os.WNOHANG)[0]:
                    return
                time.sleep(0.05)

    def output(self) -> str:
        return (self.tree / "output").read_text(errors="replace")

    def close(self) -> None:
        """End the databases that tests which were ended by force have left behind."""
        for note in self._temporary.glob("**/postmaster.pid"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(note.read_text().split()[0]), signal.SIGTERM)


def try_out(copy: Copy, module: str, chosen: Sequence[Mutant], until: float) -> Iterator[Verdict]:
    """Yield what becomes of each mutant of a module, as long as there is time."""
    path = copy.tree / module
    original = path.read_bytes()
    lines = [(tests, limit_of(copy, tests)) for tests in COVERED[module]]
    for cached in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        cached.unlink()
    sys.dont_write_bytecode = True
    try:
        for mutant in chosen:
            if time.monotonic() > until:
                print(f"{module}: out of time", file=sys.stderr)
                return
            path.write_bytes(mutant.source)
            outcome = next(filter(None, (_outcome(copy, *line) for line in lines)), "survived")
            yield Verdict(module, mutant.line, mutant.before, mutant.after, outcome)
    finally:
        path.write_bytes(original)
        sys.dont_write_bytecode = False


def _outcome(copy: Copy, tests: Sequence[str], seconds: float) -> str | None:
    code = copy.run(tests, seconds=seconds)
    return "timed out" if code is None else "killed" if code else None


def limit_of(copy: Copy, tests: Sequence[str]) -> float:
    """Run tests on code without a fault; give how long they may take with one. They have to pass."""
    began = time.monotonic()
    code = copy.run(tests, seconds=600)
    if code:
        sys.exit(f"{' '.join(tests)}: they fail without any fault\n{copy.output()}")
    copy.warm_up()
    return max(_LEAST_SECONDS, 4 * (time.monotonic() - began))


def choose(module: str, lines: Sequence[int], most: int, seed: int) -> list[Mutant]:
    """Choose mutants of a module: those of some lines, or a sample that the same seed gives again."""
    found = mutants_of((ROOT / module).read_bytes())
    if lines:
        return [one for one in found if one.line in lines]
    if most and len(found) > most:
        found = random.Random(f"{seed} {module}").sample(found, most)
    return sorted(found, key=lambda one: (one.line, one.before, one.after))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", help="such as receiver/jobs/store.py, or receiver/jobs/store.py:120"
    )
    parser.add_argument("--most", type=int, default=20, metavar="N", help="of each module so many; 0 is all (20)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="which ones: the same number, the same sample")
    parser.add_argument("--minutes", type=float, default=60, metavar="N", help="stop after so long (60)")
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON, one a line")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    wanted: dict[str, list[int]] = {}
    for name in asked.modules or COVERED:
        module, _, line = name.partition(":")
        if module not in COVERED:
            sys.exit(f"{module}: COVERED in tests/mutation.py does not say which tests it has")
        wanted.setdefault(module, []).extend([int(line)] if line else [])
    until = time.monotonic() + 60 * asked.minutes
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Copy(Path(folder))
        try:
            for module, lines in wanted.items():
                chosen = choose(module, lines, asked.most, asked.seed)
                tell(module, try_out(copy, module, chosen, until), as_json=asked.json)
        finally:
            copy.close()


def tell(module: str, verdicts: Iterator[Verdict], *, as_json: bool) -> None:
    """Print the survivors as they are found, and then how many there were of each kind."""
    counts: Counter[str] = Counter()
    for one in verdicts:
        counts[one.outcome] += 1
        if as_json:
            print(json.dumps(asdict(one)), flush=True)
        elif one.outcome != "killed":
            print(f"{one.module}:{one.line}: {one.outcome}: {one.before}  →  {one.after}", flush=True)
    if not as_json:
        print(f"{module}: " + ", ".join(f"{counts[kind]} {kind}" for kind in ("killed", "survived", "timed out")))


if __name__ == "__main__":
    main()
