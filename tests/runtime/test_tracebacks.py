"""The text of any exception: Python's own for an ordinary one, the ends of a huge one, and some text of a nasty one."""

import traceback
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.runtime.tracebacks import LIMIT_CHARACTERS, name_of, storable, summary_of, text_of

EMPTY: dict[str, str] = {}


def chained() -> None:
    try:
        EMPTY["key"]
    except KeyError as error:
        try:
            raise OSError(2, "no such file")
        except OSError:
            raise ValueError("no") from error


def in_between() -> None:
    try:
        EMPTY["key"]
    except KeyError:
        raise ValueError  # noqa: B904 - what came before is to be seen


def suppressed() -> None:
    try:
        EMPTY["key"]
    except KeyError:
        raise ValueError("no") from None


def noted() -> None:
    error = LookupError("no")
    error.add_note("a note\nof two lines")
    raise error


def endless() -> None:
    endless()


def syntax() -> None:
    compile("def (:", "acme.py", "exec")


def raised(act: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - of any kind
        act()
    return caught.value


@pytest.mark.parametrize("act", [chained, in_between, suppressed, noted, endless, syntax], ids=lambda act: act.__name__)
def test_an_ordinary_exception_reads_as_python_prints_it(act: Callable[[], None]) -> None:
    error = raised(act)
    assert text_of(error) == "".join(traceback.format_exception(error))
    assert summary_of(error) in "".join(traceback.format_exception_only(error))


def test_the_first_frames_are_left_out() -> None:
    error = raised(chained)
    assert error.__traceback__
    assert text_of(error, skip=2) == "".join(
        traceback.format_exception(type(error), error, error.__traceback__.tb_next.tb_next)  # type: ignore[union-attr]
    )


class Raising:
    """Raises whatever is asked of it."""

    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(name)

    def __str__(self) -> str:
        raise SystemExit

    __repr__ = __str__


class Text(str):
    """Is a text, and yet none."""

    __slots__ = ()

    def __str__(self) -> str:
        return self

    def __len__(self) -> int:
        raise SystemExit

    __getitem__ = encode = __iter__ = splitlines = replace = __len__  # type: ignore[assignment]


class Lying(type):
    """Gives classes that say nothing of themselves."""

    def __getattribute__(cls, name: str) -> Any:
        raise SystemExit


def odd_class(**fields: Any) -> BaseException:
    return type("Odd", (Exception,), fields)("words")  # type: ignore[no-any-return]


def fails(*_: object) -> Any:
    raise SystemExit


def odd_syntax_error(**fields: Any) -> SyntaxError:
    error = SyntaxError("no", ("acme.py", 1, 1, "text", 1, 2))
    for name, value in fields.items():
        setattr(error, name, value)
    return error


def with_notes(notes: Any) -> BaseException:
    error = ValueError("words")
    error.__dict__["__notes__"] = notes
    return error


def in_a_circle() -> BaseException:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    return one


def in_a_chain(length: int) -> BaseException:
    error = ValueError(0)
    for number in range(length):
        following = ValueError(number)
        following.__cause__ = error
        error = following
    return error


def in_groups(depth: int) -> BaseException:
    error: Exception = ValueError("innermost")
    for _ in range(depth):
        error = ExceptionGroup("group", [error])
    return error


NASTY: dict[str, Callable[[], BaseException]] = {
    "str raises": lambda: odd_class(__str__=fails),
    "str gives a number": lambda: odd_class(__str__=lambda self: 5),
    "str gives a strange text": lambda: odd_class(__str__=lambda self: Text("words")),
    "everything raises": lambda: odd_class(__str__=fails, __repr__=fails, __getattribute__=fails),
    "a class that lies": lambda: odd_class(__class__=property(fails)),
    "a cause that raises": lambda: odd_class(__cause__=property(fails), __context__=property(fails)),
    "a traceback that raises": lambda: odd_class(__traceback__=property(fails)),
    "notes that raise": lambda: odd_class(__notes__=property(fails)),
    "notes of no kind": lambda: with_notes(5),
    "a note that raises": lambda: with_notes([Raising(), "note"]),
    "notes without end": lambda: with_notes(["note"] * 1_000_000),
    "a class without a name": lambda: Lying("Nameless", (Exception,), {})("words"),
    "a circle": in_a_circle,
    "a chain": lambda: in_a_chain(100_000),
    "a group of 100,000": lambda: ExceptionGroup("group", [ValueError(number) for number in range(100_000)]),
    "groups in groups": lambda: in_groups(500),
    "25 million lines": lambda: ValueError("x\n" * 25_000_000),
    "a syntax error without a message": SyntaxError,
    "a syntax error of odd fields": lambda: odd_syntax_error(
        lineno="x", text=5, offset=Raising(), filename=Raising(), msg=None
    ),
    "a syntax error in a huge line": lambda: odd_syntax_error(text="x" * 10_000_000),
    "surrogates": lambda: ValueError("\ud800\0" * 10_000),
}


@pytest.mark.parametrize("make", NASTY.values(), ids=NASTY.keys())
def test_a_nasty_exception_has_a_text_that_can_be_kept(make: Callable[[], BaseException]) -> None:
    error = make()
    text = text_of(error)
    assert text.strip()
    assert summary_of(error).strip()
    assert name_of(error)
    assert len(text) <= LIMIT_CHARACTERS
    assert storable(text) == text


FIELDS = st.one_of(st.none(), st.integers(), st.text(), st.floats(), st.builds(Raising), st.builds(lambda: Text("x")))


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ["lineno", "offset", "text", "filename", "msg", "end_lineno", "end_offset", "print_file_and_line"]
        ),
        FIELDS,
    ),
    FIELDS,
)
def test_a_syntax_error_of_any_fields_has_a_text(fields: dict[str, Any], note: Any) -> None:
    error = odd_syntax_error(**fields)
    error.__dict__["__notes__"] = [note]
    assert "SyntaxError" in text_of(error)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=100), st.integers(min_value=0, max_value=LIMIT_CHARACTERS))
def test_a_text_is_kept_whole_or_at_both_ends(text: str, times: int) -> None:
    kept = storable(text * times)
    assert len(kept) <= LIMIT_CHARACTERS
    assert storable(kept) == kept
    kept.encode()
    if "left out" not in kept:
        assert kept.replace("\\0", "\0") == text * times or "\\" in kept
