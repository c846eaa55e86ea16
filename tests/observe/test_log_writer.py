"""Whatever is logged is a line, or a line says what could not be written; no reader of the log holds anything up."""

import ctypes
import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TextIO, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from config import ROOT
from receiver.observe import log_writer, logs
from receiver.observe.log_writer import Lines
from tests.waiting import PATIENCE_SECONDS, until


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("not even its name")


@dataclass
class Holder:
    held: object


RENDERERS = {"json": log_writer.as_json, "console": logs._for_people}


def into(stream: TextIO, form: str = "json") -> Lines:
    taken = Lines()
    taken.turn_to(stream, RENDERERS[form])
    return taken


def shown(form: str = "json", **values: Any) -> str:
    """Log values, and then one line more, and give the first as it was written."""
    stream = io.StringIO()
    log = into(stream, form)
    for one in ({"event": "first", **values}, {"event": "second"}):
        log.info(level="info", timestamp=1_777_896_000.0, **one)
    log.write_out()
    written = stream.getvalue()
    assert "second" in written
    return written.rpartition("{" if form == "json" else "second")[0]


def read(**values: Any) -> dict[str, Any]:
    return dict(json.loads(shown(**values)))


@pytest.mark.parametrize("form", RENDERERS)
@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: {"a": [one]}, Holder, lambda one: {one}])
def test_a_value_that_cannot_be_written_is_named_and_takes_no_line_down(
    form: str, wrap: Callable[[object], object]
) -> None:
    assert "that cannot be written: RuntimeError" in shown(form, odd=wrap(Unspeakable()))


def test_an_exception_that_holds_what_cannot_be_written_is_named() -> None:
    assert read(error=ValueError(Unspeakable()))["error"] == "(ValueError that cannot be written: RuntimeError)"


@pytest.mark.parametrize("form", RENDERERS)
def test_a_lone_surrogate_is_written_escaped(form: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    log = into(stream, form)
    log.info(event="odd", name="a\ud800b", level="info", timestamp=1.0, **{"key\udfff": 1})
    log.write_out()
    assert b"a\\ud800b" in stream.buffer.getvalue().replace(b"\\\\", b"\\")


def test_a_key_that_is_no_text_is_written_as_one() -> None:
    assert read(odd={1: "a", (2, 3): "b", None: "c"})["odd"] == {"1": "a", "[2, 3]": "b", "None": "c"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (b"\xff", "b'\\xff'"),
        (10**30, 10**30),
        ([1 << 20_000], ["(a number of 20,001 bits)"]),
        ({"n": float("nan")}, {"n": "nan"}),
        ({}, {}),
        ([], []),
    ],
)
def test_what_json_has_no_word_for_is_written_in_words(value: object, text: object) -> None:
    assert read(value=value)["value"] == text


def test_a_value_is_shown_as_it_was_when_it_was_logged() -> None:
    stream, value = io.StringIO(), {"state": "before", "more": [1]}
    log = into(stream)
    log.info(event="one", value=value, level="info", timestamp=1.0)
    value["state"] = "after"
    value["more"].append(2)  # type: ignore[attr-defined]
    log.write_out()
    until(stream.getvalue, "the line is written")
    assert json.loads(stream.getvalue())["value"] == {"state": "before", "more": [1]}


def test_what_holds_itself_is_written_as_far_as_it_is_of_use() -> None:
    ring: list[object] = []
    ring.extend([ring] * 50)
    mirror: dict[str, object] = {}
    mirror["self"] = mirror
    assert len(shown(ring=ring, mirror=mirror)) < 10 * log_writer.LONGEST_LINE


@pytest.mark.parametrize(
    "make", [lambda: "x" * 10**7, lambda: b"x" * 10**7, lambda: [["word"] * 1000] * 1000, lambda: {"k" * 10**6: 1}]
)
@pytest.mark.parametrize("form", RENDERERS)
def test_what_is_huge_is_cut(form: str, make: Callable[[], object]) -> None:
    assert len(shown(form, huge=make())) < 10 * log_writer.LONGEST_LINE


@pytest.mark.parametrize("form", RENDERERS)
def test_words_that_a_renderer_keeps_for_itself_take_no_line_down(form: str) -> None:
    assert shown(form, logger=5, stack=5, exception=5, logger_name=[])


@pytest.mark.parametrize("form", RENDERERS)
def test_an_exception_is_logged_with_its_traceback(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(form=form)
    try:
        raise KeyError("the wrong key")
    except KeyError:
        logs.log.exception("trouble")
    logs.LINES.write_out()
    written = capsys.readouterr().err
    assert "Traceback (most recent call last)" in written
    assert "KeyError: 'the wrong key'" in written
    assert "in test_an_exception_is_logged_with_its_traceback" in written


def test_an_exception_that_cannot_be_formatted_is_named() -> None:
    broken = SyntaxError("odd", ("file", cast(Any, object()), cast(Any, object()), cast(Any, object())))
    assert "SyntaxError" in read(exc_info=broken)["exception"]


def test_a_long_traceback_keeps_its_beginning_and_its_end() -> None:
    text = read(exc_info=ValueError("x" * 10**6 + "the end"))["exception"]
    assert text.startswith("ValueError: x")
    assert text.endswith("the end")
    assert len(text) < 2 * log_writer.LONGEST_TRACEBACK


def anything() -> st.SearchStrategy[Any]:
    odd = (
        st.builds(Unspeakable) | st.builds(Holder, st.builds(Unspeakable)) | st.sampled_from([int, io.StringIO(), ...])
    )
    plain = st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.text() | st.datetimes()
    words = st.text(st.characters(codec=None), max_size=20)  # lone surrogates as well
    return st.recursive(
        plain | odd | words | st.complex_numbers() | st.decimals() | st.uuids(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(words | st.integers(), inner)
            | st.tuples(inner)
            | st.builds(Holder, inner)
        ),
        max_leaves=12,
    )


NAMES = st.text(st.characters(codec=None), min_size=1, max_size=9).filter(lambda name: name not in {"self", "exc_info"})


LOG = Lines()


@settings(max_examples=200, deadline=None)
@example(values={"\ud800": 1})
@given(values=st.dictionaries(NAMES | st.sampled_from(["logger", "exception", "stack"]), anything(), max_size=4))
def test_no_values_keep_a_line_or_the_next_one_from_being_written(values: dict[str, Any]) -> None:
    told = {"event": "first", "level": "info", "timestamp": 1.0}
    for form, render in RENDERERS.items():
        stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
        log = LOG
        log.turn_to(stream, render)
        log.info(**(values | told))
        log.info(event="second", level="info", timestamp=1.0)
        log.write_out()
        written = stream.buffer.getvalue().decode()
        assert "first" in written or "not written" in written
        assert "second" in written
        if form == "json":
            assert [json.loads(line)["event"] for line in written.split("\n")[:-1]] == ["first", "second"]


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """Give the two ends of a pipe that nobody reads yet."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    stream = os.fdopen(writer, "w", encoding="utf-8")
    yield reader, stream
    stream.close()
    os.close(reader)


def read_some(reader: int) -> bytes:
    try:
        return os.read(reader, 1 << 20)
    except BlockingIOError:
        return b""


def fill(stream: TextIO) -> None:
    """Fill a pipe until it takes nothing more."""
    os.set_blocking(stream.fileno(), False)
    with suppress(BlockingIOError):
        while True:
            os.write(stream.fileno(), b"\n" * 4096)
    os.set_blocking(stream.fileno(), True)


def add(log: Lines, count: int, **more: Any) -> None:
    for number in range(count):
        log.info(event="one", number=number, level="info", timestamp=1.0, **more)


def test_what_waits_for_a_reader_is_bounded_and_what_was_dropped_is_said_once_it_reads(
    pipe: tuple[int, TextIO],
) -> None:
    reader, stream = pipe
    log = into(stream)
    fill(stream)
    add(log, 1)
    until(lambda: not log._waiting, "the writer has taken it, and cannot write it")
    add(log, log_writer.MOST_WAITING + 1_234)
    assert len(log._waiting) == log_writer.MOST_WAITING
    text = b""

    def has_been_said() -> bool:
        nonlocal text
        text += read_some(reader)
        return b"lines dropped" in text and text.endswith(b"\n")

    until(has_been_said, "what was dropped is said")
    (said,) = [json.loads(line) for line in text.splitlines() if b"dropped" in line]
    assert (said["lines"], said["level"]) == (1_234, "warning")


def test_of_heavy_lines_fewer_wait_for_a_reader(pipe: tuple[int, TextIO]) -> None:
    log = into(pipe[1])
    fill(pipe[1])
    add(log, 1)
    until(lambda: not log._waiting, "the writer has taken it, and cannot write it")
    add(log, log_writer.MOST_HEAVY + 100, heavy=["x" * 900] * 10)
    assert len(log._waiting) == log_writer.MOST_HEAVY


def test_lines_that_a_broken_stream_took_are_counted_and_said_on_the_next_one() -> None:
    closed, later = io.StringIO(), io.StringIO()
    closed.close()
    log = into(closed)
    add(log, 3)
    log.turn_to(later, log_writer.as_json)
    add(log, 1)
    until(lambda: '"number":0' in later.getvalue(), "the line is written")
    assert '"state":"lines dropped","lines":3' in later.getvalue()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_writer_that_is_ended_from_outside_is_followed_by_another() -> None:
    stream = io.StringIO()
    log = into(stream)
    add(log, 1)
    until(lambda: '"number":0' in stream.getvalue(), "the line is written")
    writer = log._writer
    assert writer
    assert writer.ident
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(writer.ident), ctypes.py_object(SystemExit))

    def another() -> bool:
        log.info(event="again", level="info", timestamp=1.0)
        return log._writer is not writer and '"again"' in stream.getvalue()

    until(another, "another thread writes")
    until(lambda: not writer.is_alive(), "the first has ended")


def test_lines_of_two_processes_in_one_pipe_stay_whole(pipe: tuple[int, TextIO]) -> None:
    reader, stream = pipe
    code = (
        "import sys\nfrom receiver.observe.log_writer import Lines\nlog = Lines()\n"
        "for number in range(2_000): log.info(event=sys.argv[1] * 50, timestamp=1.0)\n"
        "log.write_out(patience_seconds=60)\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, word], stderr=stream, cwd=ROOT, text=True) for word in "ab"
    ]
    text = b""

    def is_all() -> bool:
        nonlocal text
        text += read_some(reader)
        return text.count(b"\n") == 4_000

    until(is_all, "all lines came")
    assert {process.wait() for process in started} == {0}
    assert {json.loads(line)["event"] for line in text.splitlines()} == {"a" * 50, "b" * 50}


STUCK = """
import sys, time
if sys.argv[1] == "gevent":
    import gevent.monkey
    gevent.monkey.patch_all()
from receiver.observe import logs
logs.configure(form="json")
for number in range(5_000):
    logs.log.info("one", number=number)
time.sleep(0.1)
print("still here", flush=True)
"""


@pytest.mark.parametrize("kind", ["threads", "gevent"])
def test_a_process_whose_log_nobody_reads_goes_on_and_ends(kind: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, kind], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    deadline = threading.Timer(PATIENCE_SECONDS, process.kill)
    deadline.start()
    with process:
        assert process.stdout.readline() == "still here\n"
        until(lambda: process.poll() is not None, "it ends")
        assert process.returncode == 0
        deadline.cancel()
        assert process.stderr
        assert re.match(r'\{"number":0,', process.stderr.readline())
