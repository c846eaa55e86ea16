"""Which handlers want an event: blinker signals named by pattern, `on` to connect, and the loading of modules."""

import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from blinker import ANY, Namespace

from receiver import tracebacks
from receiver.errors import DuplicateHandlerError, HandlerError, PatternError
from receiver.events import Event
from receiver.retry import DEFAULT_ATTEMPTS, Policy

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
        return module_of(self.function)

    @property
    def summary(self) -> str:
        return (inspect.getdoc(_innermost(self.function)) or "").partition("\n")[0]


@dataclass(frozen=True, slots=True)
class BrokenModule:
    """A handler module that does not import, with the line to read first and the whole traceback."""

    name: str
    error: str
    traceback: str


def ancestry(event_type: str) -> list[str]:
    """Give the names of the signals that an event of this type reaches, the narrowest first.

    `box:FILE.UPLOADED` reaches `box:FILE.UPLOADED`, `box:FILE.*`, `box:*` and `*`.
    """
    source, _, name = event_type.partition(":")
    words = name.split(".")
    middle = [f"{source}:{'.'.join(words[:count])}.*" for count in range(len(words) - 1, 0, -1)]
    return [event_type, *middle, f"{source}:*", "*"]


def matches(pattern: str, event_type: str) -> bool:
    return pattern in ancestry(event_type)


class Router:
    """The blinker namespace that handlers hang in, and what we know of each of them."""

    def __init__(self) -> None:
        self.namespace = Namespace()
        self.signal = self.namespace.signal
        self.modules: set[str] = set()
        self.broken: dict[str, BrokenModule] = {}
        self._connected: dict[str, Handler] = {}

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
            if not isinstance(pattern, str) or not _PATTERN.fullmatch(pattern):
                raise PatternError(f"{pattern!r} is no pattern: write source:NAME, source:FAMILY.*, source:* or *")
        _require_sense(attempts, queue, time_limit)

        def connect(function: F) -> F:
            if inspect.iscoroutinefunction(function):
                raise HandlerError(f"{name_of(function)} is async: a handler is a plain function, run in a thread")
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
        """Give the handlers that want an event, each once, sorted by name.

        `raw_name` is the provider's own name: a handler may ask for `filestack:fp.converse` as well as for the
        type `filestack:fp.conversion`.
        """
        source = event_type.partition(":")[0]
        names = ancestry(event_type)
        raw_type = f"{source}:{raw_name}"
        if raw_name and raw_type != event_type:
            names = list(dict.fromkeys([*names, *ancestry(raw_type)]))
        wanted: dict[str, Handler] = {}
        for name in names:
            signal = self.namespace.get(name)
            if signal is not None:
                for function in signal.receivers_for(ANY):
                    self._add(wanted, function, name, refuse=False)
        return [wanted[name] for name in sorted(wanted)]

    def handlers(self) -> list[Handler]:
        """Give every connected handler, sorted by name; two functions of one name are refused."""
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
        """Import every module of these packages, so that their handlers connect; give those that do not import.

        A module whose name begins with an underscore is left alone. A broken module takes no other down, and what
        it had connected before it broke is taken back.
        """
        for package in packages:
            self._import(package)
            paths = getattr(sys.modules.get(package), "__path__", [])
            for module in sorted(pkgutil.iter_modules(paths), key=lambda found: found.name):
                if not module.name.startswith("_"):
                    self._import(f"{package}.{module.name}")
        self.handlers()
        return list(self.broken.values())

    def _import(self, name: str) -> None:
        try:
            importlib.import_module(name)
        except DuplicateHandlerError:
            raise
        except BaseException as error:  # noqa: BLE001 - a module may break in any way, and takes no other down
            self._take_back(name)
            self.broken[name] = BrokenModule(name, tracebacks.summary_of(error), tracebacks.text_of(error))
        else:
            self.modules.add(name)
            self.broken.pop(name, None)

    def _take_back(self, module: str) -> None:
        for handler in [one for one in self._connected.values() if one.module == module]:
            del self._connected[handler.name]
            for pattern in handler.patterns:
                self.signal(pattern).disconnect(handler.function)

    def _add(self, wanted: dict[str, Handler], function: Any, pattern: str, *, refuse: bool) -> None:
        name = name_of(function)
        known = wanted.get(name) or self._connected.get(name)
        if known is None:
            known = Handler(name, function, (pattern,), Policy())
        # A double is refused at start. One that is connected while a worker runs must not end it: the first one stays.
        if not refuse and known.function != function:
            return
        _refuse_double(known.function, function)
        if pattern not in known.patterns:
            known = replace(known, patterns=(*known.patterns, pattern))
        wanted[name] = known


def _require_sense(attempts: object, queue: object, time_limit: object) -> None:
    """Raise HandlerError for arguments of `on` that no worker could heed, with what would be right."""
    if type(attempts) is not int or not 1 <= attempts <= MOST_ATTEMPTS:
        raise HandlerError(f"attempts={attempts!r}: a handler takes a whole number of them, from 1 to {MOST_ATTEMPTS}")
    if queue is not None and not (isinstance(queue, str) and _QUEUE.fullmatch(queue)):
        raise HandlerError(f"queue={queue!r}: write letters, digits, dots, - and _, 100 at the most")
    if time_limit is not None and not (isinstance(time_limit, timedelta) and _SHORTEST <= time_limit <= _LONGEST):
        raise HandlerError(f"time_limit={time_limit!r}: a timedelta from one second to {_LONGEST.days} days")


def _refuse_double(one: HandlerFunction, other: HandlerFunction) -> None:
    if one is not other and one != other:
        mend = "rename one of them"
        if isinstance(other, partial):
            mend = 'give each partial a name of its own, as in copy_a.__qualname__ = "copy_a"'
        raise DuplicateHandlerError(
            f"two handlers are named {name_of(one)} ({_place(one)} and {_place(other)}): {mend}"
        )


def _place(function: HandlerFunction) -> str:
    code = getattr(_innermost(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


def name_of(function: HandlerFunction) -> str:
    """Give the name that the jobs of this function carry: `module.function`.

    A `partial` has the name of what it calls, unless it was given a `__qualname__`. What it binds stays out of it: that
    may be a secret.
    """
    named = function if "__qualname__" in getattr(function, "__dict__", ()) else _innermost(function)
    qualified = getattr(named, "__qualname__", None) or type(named).__qualname__
    return f"{module_of(function)}.{qualified}"


def module_of(function: HandlerFunction) -> str:
    """Give the module that a function is of: of a `partial`, that of what it calls."""
    return str(_innermost(function).__module__)


def _innermost(function: Any) -> Any:
    while isinstance(function, partial):
        function = function.func
    return function


router = Router()
on = router.on
signal = router.signal
