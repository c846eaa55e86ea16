"""`/live`: what came since, and what changed about the newest hundred, for inboxes that stay open."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple, get_args

import sqlalchemy as sa
from flask import Blueprint, Response, abort, request

from receiver.observe import queries
from receiver.service import engine
from receiver.storage import search
from receiver.storage.search import Filters
from receiver.storage.tables import events
from receiver.web import sse as streams
from receiver.web.page import now
from receiver.web.pages import filters as page_filters
from receiver.web.pages import inbox, list_rows
from receiver.web.pages.filters import Kind
from receiver.web.sse import MOST_AT_ONCE, Message

live = Blueprint("live", __name__)

MOST_WATCHED = 100
LATE_PLACES = 100  # transactions may commit in another order than that of their places (PostgreSQL)
FAR_BACK = 5_000  # who was away for longer is told to look at the list anew
MOST_COUNTED = 100_000
SNAPSHOT_PATIENCE = timedelta(milliseconds=100)


@live.get("/live")
def follow() -> Response:
    """Send what came and what changed.

    `came` is a new line and `changed` one as it is now; `more` says how many came where that is too many to send, and
    `counts` how many there are, and how many were rejected and quarantined.
    """
    kind: Kind = next((one for one in get_args(Kind) if one == request.args.get("kind")), "events")
    asked = page_filters.read(request.args, kind, now())
    if asked.is_unclear:
        abort(400, " ".join(f"{name.capitalize()}: {problem}" for name, problem in asked.problems.items()))
    after, source = streams.cursor(), engine()
    if kind == "events":
        key = (kind, asked.query)
        return streams.follow(key, lambda: Newcomers(source, asked.filters, asked.query), after)
    return streams.follow((kind,), lambda: Refusals(kind), after)


class Tallies:
    """How many events there are, and deliveries that were rejected and quarantined, said when it changes."""

    def __init__(self) -> None:
        self._places: tuple[int, ...] | None = None

    def all(self) -> list[Message]:
        refused = {kind: inbox.count(kind) for kind in ("rejected", "quarantine")}
        counts = {"events": inbox.total(inbox.newest("events"))} | refused
        return [Message("counts", json.dumps(counts))]

    def changed(self) -> list[Message]:
        places = tuple(inbox.newest(kind) for kind in get_args(Kind))
        before, self._places = self._places, places
        return self.all() if before not in (None, places) else []


class Refusals:
    """Watches the rejected or the quarantined: how many more there are, for a list that then looks for itself."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._newest = inbox.newest(kind)
        self._tallies = Tallies()

    def catch_up(self, after: int) -> Sequence[Message]:
        return [*self._tallies.all(), *self._more(after, inbox.newest(self._kind))]

    def look(self) -> Sequence[Message]:
        before, self._newest = self._newest, inbox.newest(self._kind)
        return [*self._tallies.changed(), *self._more(before, self._newest)]

    def _more(self, after: int, newest: int) -> list[Message]:
        return [Message("more", str(newest - after), newest)] if newest > after else []


class Drawn(NamedTuple):
    """A line, and how it was drawn: once, for whoever watches."""

    line: list_rows.Line
    html: str


class Newcomers:
    """Watches the events of some filters: the new ones, and how the newest hundred stand.

    Whatever a page is told of lies below `_newest` or comes with a later look: so nothing is left out between the two.
    """

    def __init__(self, source: sa.Engine, filters: Filters, query: str) -> None:
        self._engine = source
        self._filters = filters
        self._query = query
        self._tallies = Tallies()
        self._newest = queries.newest_seq(source)
        # One that came since is not known yet: it is the first that the next look finds.
        self._known = {place for place in self._places() if place <= self._newest}
        self._shown: dict[str, Drawn] = {}
        self._is_behind = True

    def catch_up(self, after: int) -> Sequence[Message]:
        return [*self._tallies.all(), *self._catch_up(min(after, self._newest))]

    def _catch_up(self, after: int) -> list[Message]:
        if self._newest - after > FAR_BACK:
            return [Message("more", "", self._newest)]
        count = queries.count_between(self._engine, after, self._newest, self._filters, limit=MOST_COUNTED)
        if count > MOST_AT_ONCE:
            return [Message("more", str(count), self._newest)]
        if self._is_behind:
            self._read_anew()
        return [
            Message("came", html, line.place) if line.place > after else Message("changed", html)
            for line, html in self._shown.values()
        ]

    def look(self) -> Sequence[Message]:
        return [*self._tallies.changed(), *self._came(), *self._changed()]

    def _came(self) -> list[Message]:
        places = self._places()
        fresh = [place for place in places if place not in self._known]
        if not fresh:
            return []
        before, last = fresh[0] - 1, places[-1]
        known = [place for place in self._known if place > before]
        found = queries.events_after(self._engine, before, self._filters, known=known, limit=MOST_AT_ONCE + 1)
        self._newest = max(self._newest, last)
        self._known = {place for place in places if place > self._newest - LATE_PLACES}
        if len(found) > MOST_AT_ONCE:
            count = queries.count_between(self._engine, before, last, self._filters, limit=MOST_COUNTED)
            self._is_behind = True
            return [Message("more", str(count), self._newest)]
        # What came between the two questions comes with the next look.
        lines = [list_rows.line(place, item) for place, item in found if place <= last]
        return [Message("came", drawn.html, drawn.line.place) for drawn in self._show(lines)]

    def _places(self) -> Sequence[int]:
        """Give the places from a little below the newest on, whether or not the filters let their events through."""
        return queries.places_after(self._engine, max(0, self._newest - LATE_PLACES), limit=MOST_COUNTED)

    def _changed(self) -> list[Message]:
        """Give the lines that stand otherwise than when they were drawn last."""
        places = [drawn.line.place for drawn in self._shown.values()]
        standing = queries.standing(self._engine, places) if places else {}
        stand = [
            replace(drawn.line, **list_rows.changeable(standing[event_id]))
            for event_id, drawn in self._shown.items()
            if event_id in standing
        ]
        changed = [line for line in stand if line.stamp != self._shown[line.id].line.stamp]
        return [Message("changed", drawn.html) for drawn in self._show(changed)]

    def _read_anew(self) -> None:
        """Read the newest lines, as far as that is quickly done."""
        found = search.find(
            self._engine,
            events,
            self._filters,
            limit=MOST_WATCHED,
            cursor=str(self._newest + 1),
            floor=max(0, self._newest - FAR_BACK),
            patience=SNAPSHOT_PATIENCE,
        )
        self._show([list_rows.line(place, item) for place, item in queries.placed(self._engine, found.rows)])
        self._is_behind = False

    def _show(self, lines: Sequence[list_rows.Line]) -> list[Drawn]:
        """Draw lines, and keep watching the newest of all."""
        drawn = [Drawn(line, list_rows.draw(line, self._query)) for line in lines]
        both = self._shown | {one.line.id: one for one in drawn}
        newest = sorted(both.values(), key=lambda one: one.line.place)[-MOST_WATCHED:]
        self._shown = {one.line.id: one for one in newest}
        return drawn
