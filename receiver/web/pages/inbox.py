"""The inbox: one line an event, live, filtered by the address; rejected and quarantined beside it."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, render_template, request
from markupsafe import Markup

from receiver import humanize, service
from receiver.observe import queries
from receiver.service import engine
from receiver.sources import PROFILES, SOURCES, samples
from receiver.sources.accounts import Gate
from receiver.storage import db, search
from receiver.storage.tables import is_dead, jobs
from receiver.web.page import now, wants_part
from receiver.web.pages import filters, list_rows
from receiver.web.pages.filters import Asked
from receiver.web.pages.filters import Kind as Kind  # noqa: PLC0414 - who calls `render` says of which kind

inbox = Blueprint("inbox", __name__)

MOST_COUNTED = 99
QUICKLY_COUNTED = 1000
NAMES: Mapping[Kind, str] = {"events": "Events", "rejected": "Rejected", "quarantine": "Quarantined"}
_NOTHING = search.Found((), None)


@inbox.get("/")
def events() -> str:
    return _page("events")


@inbox.get("/rejected")
def rejected() -> str:
    return _page("rejected")


@inbox.get("/quarantine")
def quarantine() -> str:
    return _page("quarantine")


def _page(kind: Kind) -> str:
    if wants_part("older"):
        return render_template("_list.html", **_list(filters.read(request.args, kind, now()), goes_on=True))
    hints = Markup(render_template("_hints.html", **_hints()))  # noqa: S704 - a template escapes what it is given
    return render(None, hints, kind, NAMES[kind])


def render(selected: str | None, detail: Markup, kind: Kind, title: str) -> str:
    """Give the whole page: the list of this kind on the left, narrowed as the address asks, `detail` on the right.

    `selected` is the id of what `detail` shows: its row is marked.
    """
    asked = filters.read(request.args, kind, now())
    # Back and forward ask for the whole page and take its right half: nothing is searched for that.
    shown = {} if "HX-History-Restore-Request" in request.headers else _list(asked)
    return render_template(
        "inbox.html",
        selected=selected,
        detail=detail,
        title=title,
        tabs=[(tab, NAMES[tab], asked.of(tab).address(), _count(tab)) for tab in NAMES],
        sources=list(SOURCES),
        types=_types(asked.given.get("source")),
        states=search,
        spans=filters.SPANS,
        **{"asked": asked, "kind": kind} | shown,
    )


def count(kind: Kind) -> str:
    """Say how many there are of a kind, `99+` for more."""
    table = filters.TABLES[kind]
    return _bounded(sa.select(table.c.seq))


def _count(kind: Kind) -> str:
    return "" if kind == "events" else count(kind)


def _bounded(wanted: sa.Select[Any]) -> str:
    with db.reading(engine()) as connection:
        counted = sa.select(sa.func.count()).select_from(wanted.limit(MOST_COUNTED + 1).subquery())
        number: int = connection.execute(counted).scalar_one()
    return f"{MOST_COUNTED}+" if number > MOST_COUNTED else str(number)


def _list(asked: Asked, *, goes_on: bool = False) -> dict[str, Any]:
    """Give what `_list.html` draws: the lines, the way to older ones, and where a search stopped, how far it got."""
    table = filters.TABLES[asked.kind]
    after = newest(asked.kind)
    found = _NOTHING if asked.is_unclear else _find(asked)
    # Links in a list that begins further down lead to a page with the same list.
    query = asked.address(cursor=None if goes_on else asked.cursor).removeprefix(filters.ROOTS[asked.kind])
    return {
        "asked": asked,
        "kind": asked.kind,
        "query": query,
        "lines": _lines(asked.kind, found.rows),
        "older": asked.address(cursor=found.next) if found.next else None,
        "searched": _searched(found, table),
        "goes_on": goes_on,
        "after": after,
        "live": None if asked.cursor or asked.is_unclear else _live_address(asked),
    }


def _find(asked: Asked) -> search.Found:
    table = filters.TABLES[asked.kind]
    return search.find(engine(), table, asked.filters, limit=queries.LIMIT, cursor=asked.cursor)


def newest(kind: Kind) -> int:
    """Give the highest place of a kind; 0 before the first."""
    with db.reading(engine()) as connection:
        return connection.execute(sa.select(sa.func.max(filters.TABLES[kind].c.seq))).scalar() or 0


def _lines(kind: Kind, found: Any) -> list[Any]:
    if kind == "events":
        return [list_rows.line(place, item) for place, item in queries.placed(engine(), found)]
    if kind == "rejected":
        return [list_rows.rejected(one) for one in found]
    return [list_rows.quarantined(one) for one in found]


def _searched(found: search.Found, table: sa.Table) -> dict[str, Any] | None:
    if found.searched_to is None or found.next is None:
        return None
    above, total = search.progress(engine(), table, found.next)
    return {"to": found.searched_to, "above": above, "total": total}


def _live_address(asked: Asked) -> str:
    kind = "" if asked.kind == "events" else asked.kind
    return "/live" + asked.of(asked.kind).address(kind=kind).removeprefix(filters.ROOTS[asked.kind])


def _types(source: str | None) -> list[str]:
    """Give the types that a filter may be meant to name."""
    wanted = [source] if source and source in SOURCES else list(SOURCES)
    return [f"{one}:*" for one in wanted] + [f"{one}:{name}" for one in wanted for name in samples.names(one)]


def _hints() -> dict[str, Any]:
    """Give what the right half shows while nothing is selected: where to deliver to, and how things stand."""
    gates = service.current().gates
    newest_place = newest("events")
    return {
        "gates": [
            (name, f"{request.host_url}hooks/{name}", bool(gate.keys), " or ".join(gate.settings))
            for name, gate in gates.items()
        ],
        "is_empty": newest_place == 0,
        "example": example(gates),
        "total": total(newest_place),
        "unsettled": [(state, count) for state in ("dead", "running", "waiting") if (count := _jobs(state)) != "0"],
    }


def example(gates: Mapping[str, Gate]) -> str:
    """Return a source and a name to try: of the first source that is on, or else of the first."""
    name = next((one for one, gate in gates.items() if gate.keys), next(iter(gates)))
    return f"{name} {PROFILES[name].example}"


def total(newest_place: int) -> str:
    """Say how many events there are: to the last one as long as that is quickly counted."""
    span = search.progress(engine(), filters.TABLES["events"], "0")[1]
    if span > QUICKLY_COUNTED:
        return f"About {span:,} events"
    limit = QUICKLY_COUNTED
    return humanize.count(queries.count_between(engine(), 0, newest_place, search.NO_FILTERS, limit=limit), "event")


def _jobs(state: str) -> str:
    is_so = is_dead if state == "dead" else sa.and_(jobs.c.state == state, jobs.c.due_at.is_not(None))
    return _bounded(sa.select(jobs.c.id).where(is_so))
