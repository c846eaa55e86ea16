"""Which handlers want an event: blinker signals named by pattern, `on` to connect, and the loading of modules."""

import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from types import FrameType
from typing import Any, TypeVar

from blinker import ANY, NamedSignal, Namespace

from receiver.errors import DuplicateHandlerError, HandlerError, PatternError
from receiver.events import Event
from receiver.jobs.retry import DEFAULT_ATTEMPTS, Policy
from receiver.runtime import tracebacks

HandlerFunction = Callable[[Event], object]
F = TypeVar("F", bound=HandlerFunction)

MOST_ATTEMPTS = 100_000
_SHORTEST, _LONGEST = timedelta(seconds=1), timedelta(days=30)
_QUEUE = re.compile(r"[A-Za-z0-9._-]{1,100}")
_PATTERN = re.compile(r"\*|[a-z][a-z0-9_]*:(\*|[^\s*:]+|[^\s*:]+\.\*)")


@dataclass(frozen=True, slots=True)
class Handler:
    """A function that wants the events of some patterns, under the name that its jobs carry."""

    name: str
    function: HandlerFunction
    patterns: tuple[str, ...]
    policy: Policy
    queue: str | None = None
    time_limit: timedelta | None = None

    @property
    def module(self) -> str:
        return str(getattr(_unwrapped(self.function), "__module__", None) or "")

    @property
    def summary(self) -> str:
        return (inspect.getdoc(_unwrapped(self.function)) or "").partition("\n")[0]


@dataclass(frozen=True, slots=True)
class BrokenModule:
    """A handler module that does not import, with the most telling line and the whole traceback."""

    name: str
    error: str
    traceback: str


def ancestry(event_type: str) -> list[str]:
    """Return the names of the signals that an event of this type reaches, the narrowest first.

    `box:FILE.UPLOADED` reaches `box:FILE.UPLOADED`, `box:FILE.*`, `box:*` and `*`.
    """
    source, _, name = event_type.partition(":")
    words = name.split(".")
    middle = [f"{source}:{'.'.join(words[:count])}.*" for count in range(len(words) - 1, 0, -1)]
    return [event_type, *middle, f"{source}:*", "*"]


def reached(event_type: str, raw_name: str = "") -> list[str]:
    """Return the names of the signals that an event reaches, by its type and by the provider's own name.

    A handler may ask for `filestack:fp.converse` as well as for the type `filestack:fp.conversion`.
    """
    names = ancestry(event_type)
    raw_type = f"{event_type.partition(':')[0]}:{raw_name}"
    return list(dict.fromkeys([*names, *ancestry(raw_type)])) if raw_name and raw_type != event_type else names


def matches(pattern: str, event_type: str) -> bool:
    return pattern in ancestry(event_type)


class HandlerSignal(NamedSignal):
    """The signal of a pattern. Its receivers are handlers: each must be callable as one, and is held strongly."""

    def __init__(self, name: str, doc: str | None, connecting: Callable[[HandlerFunction, str], None]) -> None:
        super().__init__(name, doc)
        self._connecting = connecting

    def connect(self, receiver: Any, sender: Any = ANY, weak: bool = False) -> Any:
        if sender is not ANY:
            raise HandlerError(
                f"{name_of(receiver)} is connected for one sender: leave it out, and it gets every event"
            )
        _check_pattern(self.name)
        check_that_it_runs(receiver)
        self._connecting(receiver, self.name)
        # By default blinker holds receivers weakly (blinker.readthedocs.io, `Signal.connect`): it would silently forget
        # a function that nothing else refers to, such as a partial or a lambda.
        return super().connect(receiver, weak=False)


class HandlerNamespace(Namespace):
    """The signals by their patterns; `connecting` is called with each function that is connected."""

    def __init__(self, connecting: Callable[[HandlerFunction, str], None]) -> None:
        super().__init__()
        self._connecting = connecting

    def signal(self, name: str, doc: str | None = None) -> NamedSignal:
        if name not in self:
            self[name] = HandlerSignal(name, doc, self._connecting)
        return self[name]


@dataclass(frozen=True, slots=True, eq=False)
class _Connection:
    """A function under a pattern, and the namespace of the module that was being imported when it was connected."""

    name: str
    function: HandlerFunction
    pattern: str
    importing: Mapping[str, Any] | None

    @property
    def is_half(self) -> bool:
        """Return whether the import that made it failed: Python has dropped the module, or made another."""
        if self.importing is None:
            return False
        name = self.importing.get("__name__")
        if name not in sys.modules:
            return True
        spec = getattr(sys.modules[name], "__spec__", None)
        return spec is not None and spec is not self.importing["__spec__"]


class Router:
    """The blinker namespace that handlers are connected to, and what is known about each of them.

    `packages` has the packages that were loaded, each with the names of its modules, broken ones included.
    """

    def __init__(self) -> None:
        self.namespace = HandlerNamespace(self._note)
        self.signal = self.namespace.signal
        self.modules: set[str] = set()
        self.broken: dict[str, BrokenModule] = {}
        self.packages: dict[str, set[str]] = {}
        self._connected: dict[str, Handler] = {}
        self._connections: list[_Connection] = []
        self._loading: str | None = None
        self._packages_of: dict[str, set[str]] = {}

    def on(
        self,
        *patterns: str,
        attempts: int = DEFAULT_ATTEMPTS,
        queue: str | None = None,
        time_limit: timedelta | None = None,
    ) -> Callable[[F], F]:
        """Connect the function below to the events of these patterns, and give each event `attempts` runs at most.

        A pattern is a type (`box:FILE.UPLOADED`), a family (`box:FILE.*`), a source (`box:*`) or everything (`*`).
        `queue` and `time_limit` are for Celery: a queue of its own, and how long a run may take before it is ended.

            @on("box:FILE.UPLOADED", attempts=8)
            def index_file(event: Event) -> None:
                \"\"\"Put the file into the search index; safe to run twice.\"\"\"
        """
        if not patterns:
            raise PatternError('on() needs a pattern, for example on("box:FILE.UPLOADED") or on("*")')
        for pattern in patterns:
            _check_pattern(pattern)
        _require_sense(attempts, queue, time_limit)

        def connect(function: F) -> F:
            check_that_it_runs(function)
            self._take_back_halves()
            known = self._connected.get(name_of(function))
            handler = Handler(name_of(function), function, patterns, Policy(attempts=attempts), queue, time_limit)
            if known is not None:
                _refuse_double(known.function, function)
                handler = replace(handler, patterns=(*known.patterns, *patterns))
            self._connected[handler.name] = handler
            for pattern in patterns:
                self.signal(pattern).connect(function, weak=False)
            return function

        return connect

    def handlers_for(self, event_type: str, raw_name: str = "") -> list[Handler]:
        """Return the handlers of this process that want an event, each once, sorted by name."""
        wanted: dict[str, Handler] = {}
        for name in reached(event_type, raw_name):
            signal = self.namespace.get(name)
            if signal is not None:
                for function in signal.receivers_for(ANY):
                    self._add(wanted, function, name, refuse=False)
        return [wanted[name] for name in sorted(wanted)]

    def handlers(self) -> list[Handler]:
        """Return every connected handler, sorted by name; DuplicateHandlerError if two functions share a name."""
        everyone = self._connected_now(refuse=True)
        return [everyone[name] for name in sorted(everyone)]

    def _connected_now(self, *, refuse: bool) -> dict[str, Handler]:
        everyone: dict[str, Handler] = {}
        for pattern, signal in list(self.namespace.items()):
            for function in signal.receivers_for(ANY):
                self._add(everyone, function, pattern, refuse=refuse)
        return everyone

    def find(self, name: str) -> Handler | None:
        return self._connected.get(name) or self._connected_now(refuse=False).get(name)

    def load(self, packages: Iterable[str]) -> list[BrokenModule]:
        """Import every module of these packages, so that their handlers connect; return those that do not import.

        A module whose name begins with an underscore is skipped. A broken module does not stop the others, and what it
        had connected before it broke is disconnected.
        """
        for package in packages:
            self._loading = package
            self.packages[package] = set()
            try:
                self._import(package)
                paths = getattr(sys.modules.get(package), "__path__", [])
                for module in sorted(pkgutil.iter_modules(paths), key=lambda found: found.name):
                    if not module.name.startswith("_"):
                        self._import(f"{package}.{module.name}")
            finally:
                self._loading = None
        self.handlers()
        return list(self.broken.values())

    def whole_packages(self) -> set[str]:
        """Return the packages of which every module was imported: all their handlers are known."""
        return {name for name, modules in self.packages.items() if modules.isdisjoint(self.broken)}

    def packages_of(self, name: str) -> set[str]:
        """Return the packages whose loading connected the handler, or met the broken module, of this name.

        Empty if that is unknown: it was connected before or after packages were loaded.
        """
        if name in self.broken:
            return {package for package, modules in self.packages.items() if name in modules}
        return self._packages_of.get(name, set())

    def _import(self, name: str) -> None:
        self.packages[self._loading or name].add(name)
        try:
            importlib.import_module(name)
        except DuplicateHandlerError:
            raise
        except BaseException as error:  # noqa: BLE001 - a module may break in any way, and must not stop the others
            self.broken[name] = BrokenModule(name, tracebacks.summary_of(error), tracebacks.text_of(error))
        else:
            self.modules.add(name)
            self.broken.pop(name, None)
        self._take_back_halves()

    def _note(self, function: HandlerFunction, pattern: str) -> None:
        """Record in which import, and while which package was loaded, a function is connected."""
        name = name_of(function)
        self._connections.append(_Connection(name, function, pattern, _importing()))
        if self._loading is not None:
            self._packages_of.setdefault(name, set()).add(self._loading)

    def _take_back_halves(self) -> None:
        """Disconnect what modules connected that broke afterwards, also if something else imported them.

        What a module connected that was itself imported whole stays: it is not imported a second time.
        """
        halves = [one for one in self._connections if one.is_half]
        if not halves:
            return
        self._connections = [one for one in self._connections if one not in halves]
        for half in halves:
            kept = [one.pattern for one in self._connections if one.function == half.function]
            if half.pattern not in kept:
                self.signal(half.pattern).disconnect(half.function)
            if kept:
                self._connected[half.name] = replace(self._connected[half.name], patterns=tuple(dict.fromkeys(kept)))
            else:
                self._connected.pop(half.name, None)
                self._packages_of.pop(half.name, None)

    def _add(self, wanted: dict[str, Handler], function: Any, pattern: str, *, refuse: bool) -> None:
        name = name_of(function)
        known = wanted.get(name) or self._connected.get(name)
        if known is None:
            known = Handler(name, function, (pattern,), Policy())
        # Two handlers of one name are refused at start. One that is connected while a worker runs must not end the
        # worker: the first stays.
        if not refuse and known.function != function:
            return
        _refuse_double(known.function, function)
        if pattern not in known.patterns:
            known = replace(known, patterns=(*known.patterns, pattern))
        wanted[name] = known


def _require_sense(attempts: object, queue: object, time_limit: object) -> None:
    """Raise HandlerError, with the valid values, for arguments of `on` that no worker could follow."""
    if type(attempts) is not int or not 1 <= attempts <= MOST_ATTEMPTS:
        raise HandlerError(f"attempts={attempts!r}: write a whole number from 1 to {MOST_ATTEMPTS}")
    if queue is not None and not (isinstance(queue, str) and _QUEUE.fullmatch(queue)):
        raise HandlerError(f"queue={queue!r}: write letters, digits, dots, - and _, 100 at most")
    if time_limit is not None and not (isinstance(time_limit, timedelta) and _SHORTEST <= time_limit <= _LONGEST):
        raise HandlerError(f"time_limit={time_limit!r}: write a timedelta from one second to {_LONGEST.days} days")


def check_that_it_runs(function: Any) -> None:
    """Raise HandlerError, with what to write instead, for a function that a call would not run."""
    if not callable(function):
        raise HandlerError(f"{function!r} cannot be called: a handler is a function that takes an event")
    inner = _unwrapped(function)
    # Python looks up `__call__` on the class of an object, not on the object.
    for one in (inner, getattr(type(inner), "__call__", None)):  # noqa: B004 - what the call is, not whether there is one
        if inspect.iscoroutinefunction(one):
            advice = "a handler is a plain function, run in a thread. Call asyncio.run(…) in one"
            raise HandlerError(f"{name_of(function)} is async: {advice}")
        if inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one):
            advice = "calling it runs nothing. Write a plain function that returns when it is done"
            raise HandlerError(f"{name_of(function)} has a yield, so it is a generator: {advice}")


def unfinished(result: object) -> str | None:
    """Return what is wrong with a result that still has to be awaited or iterated; None if the work is done.

    A coroutine or generator is closed: nothing will ever run it.
    """
    if inspect.iscoroutine(result) or inspect.isgenerator(result):
        result.close()
    elif not (inspect.isasyncgen(result) or inspect.isawaitable(result)):
        return None
    kind = type(result).__name__
    return f"the handler returned an object of {kind}, which nobody runs: its work is not done. Run it in the handler"


def _check_pattern(pattern: object) -> None:
    if not isinstance(pattern, str) or not _PATTERN.fullmatch(pattern):
        raise PatternError(f"{pattern!r} is not a pattern: write source:NAME, source:FAMILY.*, source:* or *")


def _importing() -> Mapping[str, Any] | None:
    """Return the namespace of the innermost module that this thread is importing, or None."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__spec__") is not None:
            return frame.f_globals
        frame = frame.f_back
    return None


def _unwrapped(function: Any) -> Any:
    while isinstance(function, partial):
        function = function.func
    return function


def _refuse_double(one: HandlerFunction, other: HandlerFunction) -> None:
    if one is not other and one != other:
        advice = "rename one of them"
        if isinstance(other, partial):
            advice = 'give each partial a name of its own, as in copy_a.__qualname__ = "copy_a"'
        raise DuplicateHandlerError(
            f"two handlers are named {name_of(one)} ({_place(one)} and {_place(other)}): {advice}"
        )


def _place(function: HandlerFunction) -> str:
    code = getattr(_unwrapped(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


def name_of(function: HandlerFunction) -> str:
    """Return the name that the jobs of this function carry: `module.function`.

    A `partial` has the name of the function it calls, unless it was given a `__qualname__`. The arguments it binds are
    not part of the name: they may be secret.
    """
    inner = _unwrapped(function)
    named = function if "__qualname__" in getattr(function, "__dict__", ()) else inner
    qualified = getattr(named, "__qualname__", None) or type(named).__qualname__
    return f"{getattr(inner, '__module__', None)}.{qualified}"


router = Router()
on = router.on
signal = router.signal
