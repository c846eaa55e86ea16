"""The line that says why something failed, found in what is kept of it: of real exceptions, and in foreign texts."""

import asyncio
import json
import multiprocessing.pool
import subprocess
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path

import httpx2 as httpx
import marshmallow
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import StoreError
from receiver.runtime.reasons import LONGEST, FailureReason, line_of, reason_of
from receiver.runtime.tracebacks import storable, summary_of, text_of
from tests.waiting import PATIENCE_SECONDS

NOTHING: dict[str, str] = {}
MDN = "For more information check: https://developer.mozilla.org/en-US/docs/Web/HTTP/Status/429"


def too_many_requests() -> None:
    httpx.Response(429, request=httpx.Request("POST", "https://acme.example/in")).raise_for_status()


def refused() -> None:
    httpx.get("http://127.0.0.1:9/", timeout=PATIENCE_SECONDS)


def no_table() -> None:
    with sa.create_engine("sqlite://").connect() as connection:
        connection.execute(sa.text("SELECT * FROM files"))


def not_unique() -> None:
    with sa.create_engine("sqlite://").begin() as connection:
        connection.exec_driver_sql("CREATE TABLE files (id INTEGER UNIQUE)")
        for _ in range(2):
            connection.exec_driver_sql("INSERT INTO files VALUES (?)", (1,))


def missing_key() -> None:
    NOTHING["id"]


def of_many_lines() -> None:
    raise ValueError("the file is odd:\n  line 1\nline 2\n\nSee https://acme.example/odd")


def that_begins_empty() -> None:
    raise ValueError("\n\n  the words\nand more")


def of_no_words() -> None:
    raise TimeoutError


def of_blank_words() -> None:
    raise ValueError("  \n ")


def with_notes() -> None:
    error = LookupError("no such file")
    error.add_note("It was looked for in acme.")
    error.add_note("Ask\nsomebody.")
    raise error


def grouped() -> None:
    inner = ExceptionGroup("deeper", [KeyError("id"), OSError(2, "no file")])
    raise ExceptionGroup("two of three failed", [ValueError("one\nof them"), inner])


def caused() -> None:
    try:
        missing_key()
    except KeyError as error:
        raise StoreError("the row is not there\nLook again.") from error


def caused_twice() -> None:
    try:
        caused()
    except StoreError:
        raise RuntimeError("gave up\nfor good")  # noqa: B904 - what came before is to be seen


def group_that_was_caused() -> None:
    try:
        missing_key()
    except KeyError as error:
        raise ExceptionGroup("all", [ValueError("one")]) from error


def no_syntax() -> None:
    compile("def (:\n    pass", "acme.py", "exec")


def no_indentation() -> None:
    compile("def f():\npass", "acme.py", "exec")


def no_json() -> None:
    json.loads("{'id': 1}")


def no_text() -> None:
    b"\xff\xfe".decode()


def looks_like_a_traceback() -> None:
    try:
        missing_key()
    except KeyError:
        words = traceback.format_exc()
    raise RuntimeError(f"the other side failed:\n{words}")


def with_a_surrogate() -> None:
    raise ValueError("a \ud800 alone\nand more")


def with_controls() -> None:
    raise ValueError("one\rtwo\x0bthree\u2028four")


def huge() -> None:
    raise ValueError("first " + "x" * 50_000 + "\n" + "y" * 50_000)


def huge_in_lines() -> None:
    raise ValueError("first\n" + "line\n" * 50_000 + "last")


def endless() -> None:
    endless()


def endless_then_more() -> None:
    try:
        endless()
    except RecursionError as error:
        raise ValueError("too deep\nby far") from error


def of_a_command() -> None:
    subprocess.run([sys.executable, "-c", "raise SystemExit(3)"], check=True)


def in_a_pool() -> None:
    with multiprocessing.pool.ThreadPool(1) as pool:
        pool.apply(missing_key)


def in_another_process() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(int, "x").result()


def in_tasks() -> None:
    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())

    async def fail() -> None:
        raise ValueError("in a task")

    # In a thread of its own: where the tests with a browser ran before, this one has a loop already.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(all_of_them())).result()


def no_schema() -> None:
    marshmallow.Schema.from_dict({"id": marshmallow.fields.Integer(required=True)})().load({})


def no_address() -> None:
    ip_address("acme")


def no_time() -> None:
    datetime.fromisoformat("yesterday")


def no_file() -> None:
    Path("/nowhere/acme").read_bytes()


def no_module() -> None:
    __import__("acme_of_nowhere")


class Local:
    class Error(Exception):
        """Says nothing of itself but its words."""


def of_a_class_in_a_class() -> None:
    raise Local.Error("words: with a colon\nand more")


def that_exits() -> None:
    raise SystemExit(3)


def asserted() -> None:
    raise AssertionError("assert 1 == 2\n  +1\n  -2")


REAL = [
    (
        too_many_requests,
        "httpx2.HTTPStatusError: Client error '429 Too Many Requests' for url 'https://acme.example/in'",
    ),
    (refused, "httpx2.ConnectError: [Errno 111] Connection refused"),
    (no_table, "sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) no such table: files"),
    (not_unique, "sqlalchemy.exc.IntegrityError: (sqlite3.IntegrityError) UNIQUE constraint failed: files.id"),
    (missing_key, "KeyError: 'id'"),
    (of_many_lines, "ValueError: the file is odd:"),
    (that_begins_empty, "ValueError: the words"),
    (of_no_words, "TimeoutError"),
    (of_blank_words, "ValueError:"),
    (with_notes, "LookupError: no such file"),
    (grouped, "ExceptionGroup: two of three failed (2 sub-exceptions)"),
    (caused, "receiver.errors.StoreError: the row is not there"),
    (caused_twice, "RuntimeError: gave up"),
    (group_that_was_caused, "ExceptionGroup: all (1 sub-exception)"),
    (no_syntax, "SyntaxError: invalid syntax"),
    (no_indentation, "IndentationError: expected an indented block after function definition on line 1"),
    (
        no_json,
        "json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
    ),
    (no_text, "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    (looks_like_a_traceback, "RuntimeError: the other side failed:"),
    (with_a_surrogate, "ValueError: a \\ud800 alone"),
    (with_controls, "ValueError: one"),
    (huge, "ValueError: first " + "x" * (LONGEST - 19) + "…"),
    (huge_in_lines, "ValueError: first"),
    (endless, "RecursionError: maximum recursion depth exceeded"),
    (endless_then_more, "ValueError: too deep"),
    (in_a_pool, "KeyError: 'id'"),
    (in_another_process, "ValueError: invalid literal for int() with base 10: 'x'"),
    (in_tasks, "ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)"),
    (no_schema, "marshmallow.exceptions.ValidationError: {'id': ['Missing data for required field.']}"),
    (no_address, "ValueError: 'acme' does not appear to be an IPv4 or IPv6 address"),
    (no_time, "ValueError: Invalid isoformat string: 'yesterday'"),
    (no_file, "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere/acme'"),
    (no_module, "ModuleNotFoundError: No module named 'acme_of_nowhere'"),
    (of_a_class_in_a_class, f"{__name__}.Local.Error: words: with a colon"),
    (that_exits, "SystemExit: 3"),
    (asserted, "AssertionError: assert 1 == 2"),
]


def raised(act: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - of any kind
        act()
    return caught.value


@pytest.mark.parametrize(("act", "line"), REAL, ids=lambda one: getattr(one, "__name__", None))
def test_the_reason_is_the_type_and_the_first_line_of_the_message(act: Callable[[], None], line: str) -> None:
    error = raised(act)
    assert line_of(text_of(error)) == line
    assert line_of(text_of(error, skip=1000)) == line  # where no frame of it is ours to show
    assert summary_of(error) == line


@pytest.mark.parametrize(("act", "line"), REAL, ids=lambda one: getattr(one, "__name__", None))
def test_what_python_itself_prints_is_read_as_well(act: Callable[[], None], line: str) -> None:
    text = storable("".join(traceback.format_exception(raised(act))))
    assert line_of(text) == line


def test_notes_causes_and_parts_are_below() -> None:
    assert reason_of(text_of(raised(too_many_requests))).below == (MDN,)
    assert reason_of(text_of(raised(with_notes))).below == ("It was looked for in acme.", "Ask", "somebody.")
    twice = reason_of(text_of(raised(caused_twice)))
    assert twice.more == ("for good",)
    assert twice.others == (
        "while handling receiver.errors.StoreError: the row is not there",
        "caused by KeyError: 'id'",
    )
    parts = ("with ValueError: one", "with ExceptionGroup: deeper (2 sub-exceptions)")
    assert reason_of(text_of(raised(grouped))).below == parts
    assert reason_of("".join(traceback.format_exception(raised(grouped)))).below == parts


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, ""),
        ("", ""),
        (" \n ", ""),
        ("not ours", "not ours"),
        ("not ours\nbecause of its folder", "not ours"),
        ("no handler is named acme.index", "no handler is named acme.index"),
        (
            "it broke:\nTraceback (most recent call last):\n  File \"a.py\", line 1\nKeyError: 'id'\n",
            "it broke: KeyError: 'id'",
        ),
        ("Traceback (most recent call last):\n  File x\nValueError: no\n", "ValueError: no"),
        ('Traceback (most recent call last):\n  File "a.py", line 1, in f\n    f()\n', "f()"),
        ("TypeError: x is not a function\n    at run (/srv/app.js:3:5)\n", "TypeError: x is not a function"),
        ("java.io.IOException: gone\n\tat com.acme.Run.main(Run.java:3)\nCaused by: x\n", "java.io.IOException: gone"),
        ("panic: boom\n\ngoroutine 1 [running]:\nmain.main()\n", "panic: boom"),
        ("… 3 characters left out …", "… 3 characters left out …"),
    ],
)
def test_whatever_is_kept_has_a_line(text: str | None, line: str) -> None:
    assert line_of(text) == line


@given(st.text(), st.lists(st.text(), max_size=3), st.booleans())
def test_of_any_message_the_first_line_that_says_something_is_found(
    message: str, notes: list[str], has_a_cause: bool
) -> None:
    def act() -> None:
        error = ValueError(message)
        for note in notes:
            error.add_note(note)
        raise error from (KeyError("id") if has_a_cause else None)

    words = storable(message).split("\n")
    first = next((line.strip() for part in words for line in part.splitlines() if line.strip()), "")
    found = reason_of(text_of(raised(act)))
    if first:
        assert found.line.split() == f"ValueError: {first}".split()
    else:
        assert found.line.startswith("ValueError")
    assert ("caused by KeyError: 'id'" in found.others) == has_a_cause


@given(
    st.text(st.sampled_from("\n \t:|+-'\"x…1") | st.characters()) | st.binary().map(lambda raw: raw.decode("latin-1"))
)
def test_no_text_is_too_odd_to_be_read(text: str) -> None:
    found = reason_of(text)
    assert isinstance(found, FailureReason)
    assert bool(found.line) == bool(text.strip())
    assert all("\n" not in line and len(line) <= LONGEST + 20 for line in (found.line, *found.below))
