"""Tests wait by the one limit of tests/waiting.py: a number of a test's own fails where a machine is busy."""

import ast
import re
import tomllib
from collections.abc import Iterator

import pytest

from config import ROOT
from tests import waiting

NUMBER = re.compile(r"[\d._+\-*/() ]*\d[\d._+\-*/() ]*")
BY_POSITION = {"wait", "join", "result", "settimeout", "sleep"}
BY_NAME = {"timeout", "seconds"}
SPANS = {"timedelta", "pass_by"}  # are made of seconds, and wait for nothing
HTTPX = {"get", "post", "put", "patch", "delete", "request", "stream", "Client"}  # give up after 5 s by themselves

# What may have a number all the same, and why no machine is too busy for it.
EXCEPTIONS = {
    ("tests/waiting.py", "time.sleep(0.01)"): "how often `until` asks",
    ("tests/web/test_forward.py", "hang_up.wait(0.05)"): "how slowly a server drips",
    ("tests/acceptance/test_limits.py", "paced.wait(0.01)"): "how slowly a client sends",
    ("tests/acceptance/test_limits.py", "paced.wait(0.2)"): "how slowly a client sends",
    ("tests/slow_sentry.py", "time.sleep(1)"): "how slowly a Sentry responds",
    ("tests/sandbox/test_running.py", "controls.post('/clock', seconds=7200)"): "of a clock that is moved",
    ("tests/test_bench.py", "Load(connections=1, seconds=10, count=15)"): "what a load is to be; the count ends it",
    ("tests/test_bench.py", "Load(connections=1, seconds=10, count=20)"): "what a load is to be; the count ends it",
}


def own_limits(source: str) -> Iterator[str]:
    """Yield the calls, as they are written, that wait by another limit than that of tests/waiting.py."""
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        function = ast.unparse(call.func)
        name = function.rpartition(".")[2]
        named = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg in BY_NAME}
        limits = [*named.values(), *(call.args[:1] if name in BY_POSITION else [])]
        is_a_number = any(NUMBER.fullmatch(ast.unparse(limit)) for limit in limits)
        gives_up = function.startswith(("httpx.", "httpx2.")) and name in HTTPX and "timeout" not in named
        if (is_a_number and name not in SPANS) or gives_up:
            yield ast.unparse(call)


PROGRAMS = {ROOT / "tests" / "mutation.py"}  # no tests: somebody starts them, and looks on
PATHS = set((ROOT / "tests").rglob("*.py")) - PROGRAMS
FILES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PATHS}


def test_no_test_has_a_limit_of_its_own() -> None:
    found = {(file, call) for file, source in FILES.items() for call in own_limits(source)}
    assert found - set(EXCEPTIONS) == set(), "give it PATIENCE_SECONDS of tests.waiting, or use its `until`"
    assert set(EXCEPTIONS) - found == set(), "an exception that is none any more"


@pytest.mark.parametrize(
    ("call", "is_found"),
    [
        ("process.wait(30)", True),
        ("thread.join(timeout=0.5)", True),
        ("until(found, 'it', seconds=20)", True),
        ("time.sleep(3)", True),
        ("httpx.get(url)", True),
        ("subprocess.run(line, timeout=2 * 30)", True),
        ("process.wait(PATIENCE_SECONDS)", False),
        ("httpx.get(url, timeout=PATIENCE_SECONDS)", False),
        ("steady.finish(seconds=PATIENCE_SECONDS + EVENTS / 50)", False),
        ("thread.join()", False),
        ("', '.join(words)", False),
        ("timedelta(seconds=30)", False),
        ("until(found, 'it')", False),
    ],
)
def test_a_limit_is_told_from_what_is_none(call: str, is_found: bool) -> None:
    assert bool(list(own_limits(call))) == is_found


def test_only_one_file_says_how_long_the_patience_is() -> None:
    """A module's constant of that name would hide a number."""
    naming = re.compile(r"^(PATIENCE|TIMEOUT)\w* *=", re.MULTILINE)
    assert [file for file, source in FILES.items() if naming.search(source)] == ["tests/waiting.py"]


def test_a_wait_ends_before_the_whole_run_is_ended_for_it() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    assert options["faulthandler_timeout"] > waiting.PATIENCE_SECONDS
