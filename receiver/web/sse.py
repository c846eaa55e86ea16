"""Server-sent events: pages that watch the same thing share one look at the database and what is rendered of it.

    @live.get("/bins/<name>/live")
    def follow(name: str) -> Response:
        after = live.cursor()  # Last-Event-ID of a page that comes back, else ?after=

        def look(after: int) -> live.Look:
            rows = bins.captures_after(engine(), name, after, limit=live.MOST_AT_ONCE)
            messages = [live.Message("came", render_template("_capture.html", capture=row), row.seq) for row in rows]
            return live.Look(messages, newest=rows[-1].seq if rows else after)

        return live.stream(("bin", name), look, after)

The page gets `came` with the rendered row as its data and the place as its id, and asks for what came after that id
when it comes back.
"""

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol

from flask import Flask, Response, abort, request

from receiver import service
from receiver.errors import NotFoundError, StoreError
from receiver.web.auth import permit

TICK_SECONDS = 0.3
HEARTBEAT_SECONDS = 15.0
RETRY_MILLISECONDS = 500
MOST_STREAMS = 200
MOST_AT_ONCE = 50
MOST_UNREAD = 100
# Looking takes a tenth of the process's time at the most, however many different things are watched.
REST_PER_LOOK = 9
# A look that waited behind deliveries took long and cost little: pages hear of a burst while it lasts.
LONGEST_REST_SECONDS = 1.0


class Message(NamedTuple):
    """One server-sent event; `place` is the cursor to come back with, None where it moves no cursor."""

    event: str
    data: str
    place: int | None = None


class Look(NamedTuple):
    """What one look found: messages, oldest first, and the place after which the next look begins."""

    messages: Sequence[Message]
    newest: int


class Watch(Protocol):
    """Something that pages watch, with a memory of its own; called from one thread, in an application context."""

    def catch_up(self, after: int) -> Sequence[Message]:
        """Give a page that just came what it lacks: all that came after this place."""

    def look(self) -> Sequence[Message]:
        """Give all pages what came or changed since the last look; the first one begins with now."""


def cursor() -> int:
    """Give the place after which a page wants to hear: `Last-Event-ID` where it comes back, else `?after=`."""
    given = request.headers.get("Last-Event-ID") or request.args.get("after", "")
    return int(given) if given.isascii() and given.isdecimal() and len(given) <= 18 else 0


def stream(key: Hashable, look: Callable[[int], Look], after: int) -> Response:
    """Answer with a stream of what comes after a place.

    `look` gives what came after a place, MOST_AT_ONCE messages or so at the most. Streams of the same key share one
    look each TICK, that of the first. It runs in an application context, but in no request.
    """
    return follow(key, lambda: _Newer(look, after), after)


def follow(key: Hashable, begin: Callable[[], Watch], after: int) -> Response:
    """Answer with a stream of a watch that has a memory; `begin` makes it, for the first stream of this key."""
    hub = service.current().part(Hub)
    if hub.count() >= MOST_STREAMS:
        abort(503, f"{MOST_STREAMS} pages watch already. This one stays as it is until it is loaded again.")
    response = Response(hub.listen(key, begin, after, permit()), mimetype="text/event-stream")
    response.headers["X-Accel-Buffering"] = "no"  # nginx would keep what is small until more comes
    return response


class _Newer:
    """A watch whose memory is the newest place."""

    def __init__(self, look: Callable[[int], Look], after: int) -> None:
        self._look = look
        self._newest = after

    def catch_up(self, after: int) -> Sequence[Message]:
        return self._look(after).messages

    def look(self) -> Sequence[Message]:
        found = self._look(self._newest)
        self._newest = max(self._newest, found.newest)
        return found.messages


class Listener:
    """One open stream: what it has still to send."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.unread: SimpleQueue[str | None] = SimpleQueue()
        self.joined = False

    def tell(self, text: str) -> None:
        if text:
            # Who does not read is let go, and comes back with its cursor when it reads again.
            self.unread.put(text if self.unread.qsize() < MOST_UNREAD else None)

    def end(self) -> None:
        self.unread.put(None)


class Channel:
    """Everybody who watches the same thing."""

    def __init__(self, begin: Callable[[], Watch]) -> None:
        self._begin = begin
        self._watch: Watch | None = None
        self.listeners: list[Listener] = []

    def serve(self) -> None:
        """Tell those who just came what they lack, and then everybody what is new."""
        watch = self._watch = self._watch or self._begin()
        listeners = list(self.listeners)
        caught = {}
        for listener in listeners:
            if not listener.joined:
                caught[listener] = _catch_up(watch, listener)
                time.sleep(0)  # many may come at once, after a restart
        found = watch.look()
        told = _written(found)
        for listener in listeners:
            known = caught.get(listener)
            listener.tell(_written(one for one in found if (one.event, one.place) not in known) if known else told)


def _catch_up(watch: Watch, listener: Listener) -> set[tuple[str, int | None]]:
    found = watch.catch_up(listener.after)
    listener.joined = True
    listener.tell(_written(found))
    return {(message.event, message.place) for message in found if message.place is not None}


class Hub:
    """All streams of a process. One thread looks for all of them, and only while there are any."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._channels: dict[Hashable, Channel] = {}
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None
        self.failures = 0

    def count(self) -> int:
        with self._changing:
            return sum(len(channel.listeners) for channel in self._channels.values())

    def listen(
        self, key: Hashable, begin: Callable[[], Watch], after: int, may_watch: Callable[[], bool]
    ) -> Iterator[str]:
        """Give the lines of one stream until somebody closes it, lets it go, or may not watch any more."""
        # Joined at the first line and not before: a generator that never began is never told that it ended.
        listener = Listener(after)
        self._join(key, begin, listener)
        try:
            yield f"retry: {RETRY_MILLISECONDS}\n\n"
            looked_at = time.monotonic()
            while (text := self._next(listener)) is not None:
                if time.monotonic() - looked_at >= HEARTBEAT_SECONDS:
                    looked_at = time.monotonic()
                    if not _may(may_watch):
                        return
                yield text
        finally:
            self._leave(key, listener)

    def _next(self, listener: Listener) -> str | None:
        try:
            return listener.unread.get(timeout=HEARTBEAT_SECONDS)
        except Empty:
            return ": still here\n\n"

    def _join(self, key: Hashable, begin: Callable[[], Watch], listener: Listener) -> None:
        with self._changing:
            if key not in self._channels:
                self._channels[key] = Channel(begin)
            self._channels[key].listeners.append(listener)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="live", daemon=True)
                self._thread.start()

    def _leave(self, key: Hashable, listener: Listener) -> None:
        with self._changing:
            channel = self._channels.get(key)
            if channel is not None and listener in channel.listeners:
                channel.listeners.remove(listener)
                if not channel.listeners:
                    del self._channels[key]

    def _run(self) -> None:
        try:
            with self._app.app_context():
                while channels := self._watched():
                    began = time.monotonic()
                    for channel in channels:
                        self._serve(channel)
                        time.sleep(0)
                    rest = REST_PER_LOOK * (time.monotonic() - began)
                    time.sleep(min(max(TICK_SECONDS, rest), LONGEST_REST_SECONDS))
        finally:
            self._end_all()

    def _serve(self, channel: Channel) -> None:
        try:
            channel.serve()
        except (StoreError, NotFoundError):
            # The database is away, or what is watched: what came meanwhile is found at a later look.
            self.failures += 1

    def _watched(self) -> list[Channel]:
        """Give what is watched; nothing, where nobody is left or this process was told to end."""
        with self._changing:
            channels = [] if self._is_ending() else list(self._channels.values())
            if not channels:
                self._thread = None
            return channels

    def _is_ending(self) -> bool:
        # config/gunicorn.py puts it there: open streams would hold up a restart for as long as it allows.
        return service.of(self._app).ending()

    def _end_all(self) -> None:
        with self._changing:
            if self._thread is threading.current_thread():
                self._thread = None
            if self._thread is None:
                for channel in self._channels.values():
                    for listener in channel.listeners:
                        listener.end()
                self._channels.clear()


def _may(watch: Callable[[], bool]) -> bool:
    try:
        return watch()
    except StoreError:  # nobody is told anything meanwhile
        return True


def _written(messages: Iterable[Message]) -> str:
    return "".join(_lines(message) for message in messages)


def _lines(message: Message) -> str:
    place = "" if message.place is None else f"id: {message.place}\n"
    # A line break of any kind would end the field: "data:" stands before each line.
    data = "".join(f"data: {line}\n" for line in message.data.splitlines() or [""])
    return f"{place}event: {message.event}\n{data}\n"
