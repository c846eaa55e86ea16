"""Which handlers want an event, and how modules are loaded."""

import gc
import importlib
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from receiver.errors import DuplicateHandlerError, HandlerError, PatternError
from receiver.events import Event
from receiver.jobs import routing
from receiver.jobs.routing import Router, ancestry, matches


def names(router: Router, event_type: str, raw_name: str = "") -> list[str]:
    return [handler.name.rpartition(".")[2] for handler in router.handlers_for(event_type, raw_name)]


def test_an_event_reaches_its_type_its_family_its_source_and_everything() -> None:
    assert ancestry("box:FILE.UPLOADED") == ["box:FILE.UPLOADED", "box:FILE.*", "box:*", "*"]


def test_a_name_without_a_dot_has_no_family() -> None:
    assert ancestry("box:NO_ACTIVE_SESSION") == ["box:NO_ACTIVE_SESSION", "box:*", "*"]


@pytest.mark.parametrize("pattern", ["box:FILE.UPLOADED", "box:FILE.*", "box:*", "*"])
def test_a_pattern_matches(pattern: str) -> None:
    assert matches(pattern, "box:FILE.UPLOADED")


@pytest.mark.parametrize("pattern", ["box:FILE", "box:FILE.UP*", "filestack:*", "box:FOLDER.*"])
def test_a_pattern_does_not_match(pattern: str) -> None:
    assert not matches(pattern, "box:FILE.UPLOADED")


def test_each_handler_is_wanted_once_however_many_of_its_patterns_match(router: Router) -> None:
    @router.on("box:FILE.UPLOADED", "box:*")
    @router.on("*")
    def index(event: Event) -> None: ...

    assert names(router, "box:FILE.UPLOADED") == ["index"]
    assert router.handlers()[0].patterns == ("*", "box:FILE.UPLOADED", "box:*")


def test_handlers_come_sorted_by_name(router: Router) -> None:
    @router.on("*")
    def second(event: Event) -> None: ...

    @router.on("box:*")
    def first(event: Event) -> None: ...

    assert names(router, "box:ANY") == ["first", "second"]


def test_a_trigger_invented_tomorrow_reaches_the_handlers_of_its_source(router: Router) -> None:
    @router.on("box:*")
    def all_of_box(event: Event) -> None: ...

    assert names(router, "box:SOMETHING.NEW") == ["all_of_box"]


def test_a_handler_may_ask_for_the_providers_own_name(router: Router) -> None:
    @router.on("filestack:fp.converse")
    def as_written(event: Event) -> None: ...

    @router.on("filestack:fp.conversion")
    def as_said(event: Event) -> None: ...

    assert names(router, "filestack:fp.conversion", "fp.converse") == ["as_said", "as_written"]


def test_a_function_inside_another_stays_connected(router: Router) -> None:
    def connect() -> None:
        @router.on("*")
        def inner(event: Event) -> None: ...

    connect()
    assert names(router, "box:ANY") == ["inner"]


def plain(event: Event) -> None: ...


def test_a_plain_connect_to_a_signal_works_and_gets_the_default_policy(router: Router) -> None:
    router.signal("box:*").connect(plain)
    (handler,) = router.handlers_for("box:ANY")
    assert (handler.name, handler.policy.attempts) == (f"{__name__}.plain", 10)


def test_attempts_are_the_handlers_own(router: Router) -> None:
    @router.on("*", attempts=3)
    def index(event: Event) -> None: ...

    assert router.handlers()[0].policy.attempts == 3


@pytest.mark.parametrize(
    "pattern", ["", "box", "box:", "box:FI*", "box:*.UPLOADED", "Box:FILE", "box: FILE", "**", "box:.*"]
)
def test_a_pattern_that_could_match_nothing_is_refused(router: Router, pattern: str) -> None:
    with pytest.raises(PatternError, match="is not a pattern"):
        router.on(pattern)


def test_no_pattern_is_refused(router: Router) -> None:
    with pytest.raises(PatternError, match="needs a pattern"):
        router.on()


@pytest.mark.parametrize("attempts", [0, -1, 2.5, float("inf"), float("nan"), 10**20, True, "3", None])
def test_senseless_attempts_are_refused(router: Router, attempts: Any) -> None:
    with pytest.raises(HandlerError, match="a whole number from 1 to 100000"):
        router.on("*", attempts=attempts)


@pytest.mark.parametrize("queue", ["", "two words", "a\n", "x" * 101, 5, b"slow", True])
def test_a_senseless_queue_is_refused(router: Router, queue: Any) -> None:
    with pytest.raises(HandlerError, match="letters, digits, dots"):
        router.on("*", queue=queue)


@pytest.mark.parametrize("limit", [timedelta(0), timedelta(milliseconds=999), timedelta.max, 60, "60", True])
def test_a_senseless_time_limit_is_refused(router: Router, limit: Any) -> None:
    with pytest.raises(HandlerError, match="a timedelta from one second to 30 days"):
        router.on("*", time_limit=limit)


def copy(event: Event, to: str = "") -> None:
    """Copies."""


def move(event: Event, to: str = "") -> None: ...


def test_a_partial_has_the_name_of_what_it_calls(router: Router) -> None:
    router.on("*")(partial(partial(copy, to="secret"), to="a"))
    router.on("*")(partial(move, to="b"))
    assert [handler.name for handler in router.handlers()] == [f"{__name__}.copy", f"{__name__}.move"]
    assert (router.handlers()[0].module, router.handlers()[0].summary) == (__name__, "Copies.")


def test_two_partials_of_one_function_are_refused_until_each_has_a_name_of_its_own(router: Router) -> None:
    router.on("*")(partial(copy, to="a"))
    second = partial(copy, to="b")
    with pytest.raises(DuplicateHandlerError, match="give each partial a name of its own"):
        router.on("*")(second)
    second.__qualname__ = "copy_b"  # type: ignore[attr-defined]
    router.on("*")(second)
    assert [handler.name for handler in router.handlers()] == [f"{__name__}.copy", f"{__name__}.copy_b"]


def test_a_double_that_is_connected_while_a_worker_runs_is_left_alone(router: Router) -> None:
    first, second = (partial(copy, to=to) for to in "ab")
    router.on("*")(first)
    router.signal("*").connect(second)
    assert [handler.function for handler in router.handlers_for("box:ANY")] == [first]
    found = router.find(f"{__name__}.copy")
    assert found
    assert found.function is first
    with pytest.raises(DuplicateHandlerError):
        router.handlers()


def test_two_lambdas_of_one_module_are_refused(router: Router) -> None:
    router.on("*")(lambda event: None)
    with pytest.raises(DuplicateHandlerError, match=r"two handlers are named .*<lambda>"):
        router.on("*")(lambda event: 1)


def test_an_async_handler_is_refused(router: Router) -> None:
    async def later(event: Event) -> None: ...

    with pytest.raises(HandlerError, match="is async"):
        router.on("*")(later)


class Called:
    """An object that can be called, and whose body does not run when it is."""

    async def __call__(self, event: Event) -> None: ...


class CalledToProduce:
    def __call__(self, event: Event) -> Iterator[None]:
        yield


async def work(event: Event) -> None: ...


def produce(event: Event, _more: int = 0) -> Iterator[None]:
    yield


async def stream(event: Event) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("way", ["on", "connect"])
@pytest.mark.parametrize(
    ("function", "said"),
    [
        (work, "is async: a handler is a plain function, run in a thread. Call asyncio.run"),
        (partial(work), "is async"),
        (Called(), "is async"),
        (partial(Called()), "is async"),
        (produce, "has a yield, so it is a generator: calling it runs nothing. Write a plain function"),
        (partial(produce, _more=1), "has a yield"),
        (CalledToProduce(), "has a yield"),
        (CalledToProduce().__call__, "has a yield"),
        (stream, "has a yield"),
        (partial(partial(stream)), "has a yield"),
        ("a word", "cannot be called"),
    ],
)
def test_what_cannot_run_is_refused_when_it_is_connected(router: Router, way: str, function: Any, said: str) -> None:
    connect = router.on("*") if way == "on" else router.signal("*").connect
    with pytest.raises(HandlerError, match=said):
        connect(function)
    assert router.handlers() == []


def test_a_plain_connect_to_what_can_be_no_pattern_is_refused(router: Router) -> None:
    with pytest.raises(PatternError, match="is not a pattern"):
        router.signal("box:FI*").connect(plain)


def test_a_plain_connect_for_one_sender_is_refused(router: Router) -> None:
    with pytest.raises(HandlerError, match="for one sender"):
        router.signal("box:*").connect(plain, sender="box")


def test_a_plain_connect_of_what_nobody_else_holds_stays(router: Router) -> None:
    router.signal("box:*").connect(partial(plain))
    gc.collect()
    assert [handler.name for handler in router.handlers_for("box:ANY")] == [f"{__name__}.plain"]


def test_two_handlers_of_one_name_are_refused(router: Router) -> None:
    def make() -> None:
        @router.on("*")
        def index(event: Event) -> None: ...

    make()
    with pytest.raises(DuplicateHandlerError, match="two handlers are named"):
        make()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty package `drops` that can be imported, and is forgotten afterwards."""
    folder = tmp_path / "drops"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "drops"]:
        del sys.modules[name]


@pytest.fixture
def shared_router(monkeypatch: pytest.MonkeyPatch) -> Router:
    """A fresh router in the place of the one that `from receiver import on` gives."""
    fresh = Router()
    monkeypatch.setattr("receiver.on", fresh.on)
    monkeypatch.setattr(routing, "router", fresh)
    return fresh


LIVE = "from receiver import on\n\n@on('*')\ndef {name}(event):\n    '''Does {name}.'''\n"


def test_a_file_dropped_into_the_package_is_live(package: Path, shared_router: Router) -> None:
    (package / "search.py").write_text(LIVE.format(name="index"))
    assert shared_router.load(["drops"]) == []
    (handler,) = shared_router.handlers()
    assert (handler.name, handler.summary) == ("drops.search.index", "Does index.")


def test_a_file_that_begins_with_an_underscore_is_left_alone(package: Path, shared_router: Router) -> None:
    (package / "_draft.py").write_text("raise RuntimeError")
    assert shared_router.load(["drops"]) == []


@pytest.mark.parametrize(
    "text",
    [
        "import nothing_of_this_name",
        "def broken(:",
        "raise SystemExit(3)",
        "1 / 0",
        "raise KeyboardInterrupt",
        "raise GeneratorExit",
        "raise type('Own', (BaseException,), {})",
        "raise SyntaxError('odd', ('acme.py', 'x', object(), 5))",
    ],
)
def test_a_broken_module_is_shown_and_takes_no_other_down(package: Path, shared_router: Router, text: str) -> None:
    (package / "broken.py").write_text(text)
    (package / "search.py").write_text(LIVE.format(name="index"))
    (broken,) = shared_router.load(["drops"])
    assert broken.name == "drops.broken"
    assert "broken.py" in broken.traceback
    assert [handler.name for handler in shared_router.handlers()] == ["drops.search.index"]


def test_what_a_module_connected_before_it_broke_is_taken_back(package: Path, shared_router: Router) -> None:
    (package / "half.py").write_text(LIVE.format(name="index") + "\n1 / 0\n")
    shared_router.load(["drops"])
    assert shared_router.handlers() == []


HALF = "from receiver import on\n\n@on('*')\ndef index(event): ...\n\nimport drops.helper\n1 / 0\n"


def connected(router: Router) -> list[str]:
    return [handler.name for handler in router.handlers()]


@pytest.mark.parametrize(
    "how",
    [
        "on('*')(library.work)",
        "on('*')(partial(library.work))",
        "signal('*').connect(partial(library.work))",
        "on('*')(library.decorated(library.work))",
    ],
)
def test_what_is_connected_from_elsewhere_is_taken_back_with_the_module_that_broke(
    package: Path, shared_router: Router, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(routing, "signal", shared_router.signal)
    decorated = "def decorated(function):\n    def wrapper(event): return function(event)\n    return wrapper\n"
    (package / "_library.py").write_text(f"def work(event): ...\n{decorated}")
    imports = "from functools import partial\nfrom receiver import on\nfrom receiver.jobs.routing import signal\n"
    (package / "half.py").write_text(f"{imports}import drops._library as library\n{how}\n1 / 0\n")
    (broken,) = shared_router.load(["drops"])
    assert (broken.name, connected(shared_router)) == ("drops.half", [])


def test_what_a_module_connected_that_was_imported_whole_on_the_way_stays(package: Path, shared_router: Router) -> None:
    (package / "helper.py").write_text(LIVE.format(name="help"))
    (package / "half.py").write_text(HALF)
    shared_router.load(["drops"])
    assert connected(shared_router) == ["drops.helper.help"]


def test_a_module_that_another_one_tried_to_import_and_did_without_is_taken_back_and_shown(
    package: Path, shared_router: Router
) -> None:
    (package / "half.py").write_text(LIVE.format(name="index") + "\n1 / 0\n")
    trying = "try:\n    import drops.half\nexcept ZeroDivisionError:\n    pass\n"
    (package / "a_first.py").write_text(trying + LIVE.format(name="first"))
    (broken,) = shared_router.load(["drops"])
    assert (broken.name, connected(shared_router)) == ("drops.half", ["drops.a_first.first"])


def test_a_broken_package_shows_and_what_it_imported_whole_stays(package: Path, shared_router: Router) -> None:
    (package / "billing.py").write_text(LIVE.format(name="bill"))
    (package / "__init__.py").write_text("import drops.billing\nimport nothing_of_this_name\n")
    (broken,) = shared_router.load(["drops"])
    assert (broken.name, connected(shared_router)) == ("drops", ["drops.billing.bill"])
    assert shared_router.whole_packages() == set()


def test_a_module_that_is_mended_is_imported_by_the_next_load(package: Path, shared_router: Router) -> None:
    (package / "half.py").write_text(LIVE.format(name="index") + "\n1 / 0\n")
    shared_router.load(["drops"])
    (package / "half.py").write_text(LIVE.format(name="index") + "\n# mended\n")
    importlib.invalidate_caches()
    assert shared_router.load(["drops"]) == []
    assert connected(shared_router) == ["drops.half.index"]


def test_it_is_known_which_package_connected_a_handler(package: Path, shared_router: Router) -> None:
    @shared_router.on("*")
    def own(event: Event) -> None: ...

    (package / "search.py").write_text(
        "from receiver import on\nfrom tests.jobs.test_routing import plain\non('*')(plain)\n"
    )
    shared_router.load(["drops"])
    (name,) = [one for one in connected(shared_router) if one.endswith(".plain")]
    assert (shared_router.packages_of(name), shared_router.whole_packages()) == ({"drops"}, {"drops"})
    (name,) = [one for one in connected(shared_router) if one.endswith(".own")]
    assert shared_router.packages_of(name) == set()


def test_a_module_with_a_handler_that_cannot_run_is_broken(package: Path, shared_router: Router) -> None:
    (package / "later.py").write_text("from receiver import on\n\n@on('*')\nasync def later(event): ...\n")
    (broken,) = shared_router.load(["drops"])
    assert broken.error.startswith("receiver.errors.HandlerError: drops.later.later is async")


def test_a_package_that_is_not_there_is_shown(shared_router: Router) -> None:
    (broken,) = shared_router.load(["nowhere"])
    assert broken.error == "ModuleNotFoundError: No module named 'nowhere'"


def test_two_handlers_of_one_name_stop_the_start(package: Path, shared_router: Router) -> None:
    (package / "search.py").write_text(LIVE.format(name="index") + LIVE.format(name="index"))
    with pytest.raises(DuplicateHandlerError, match=r"search\.py"):
        shared_router.load(["drops"])
