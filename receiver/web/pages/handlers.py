"""Handlers: what wants which events and how it fares; pause, resume, dead letters."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import accumulate, pairwise
from math import floor
from operator import attrgetter
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from receiver import humanize
from receiver.errors import PatternError
from receiver.jobs import dead_letters, registry
from receiver.jobs import store as jobs
from receiver.jobs.dead_letters import Count, Newest, Picked, Which
from receiver.observe import metrics, queries
from receiver.observe.documents import Document
from receiver.observe.metrics import HandlerStats
from receiver.observe.records import JobRecord
from receiver.runtime.reasons import line_of
from receiver.service import engine
from receiver.web.page import moment, now
from receiver.web.pages import filters
from receiver.web.pages.question import Question, ask, is_confirmed, wire

WINDOWS = {"1h": "the last hour", "24h": "the last 24 hours"}
FILTERS = ("type", "since", "until")
LETTERS_SHOWN = 50
_NO_ID = 2**63
_NONE = Newest([], None)
_NOBODY = Picked((), is_whole=True)

handlers = Blueprint("handlers", __name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """A handler as the page shows it: what it is, its jobs by state, and how its attempts went lately, if any did."""

    name: str
    item: Mapping[str, Any]
    counts: Mapping[str, Count]
    lately: HandlerStats | None

    @property
    def is_failing(self) -> bool:
        return self.counts["dead"].number > 0 or self.success < 1

    @property
    def is_away(self) -> bool:
        """Say whether no worker that runs has loaded it, although some run or are known to have."""
        return not self.item["workers"]

    @property
    def success(self) -> float:
        return self.lately["success_rate"] if self.lately else 1.0

    @property
    def percent(self) -> str:
        """The share of attempts that were done; 100 % is said of all of them only."""
        return f"{floor(self.success * 1000) / 10:g} %"

    @property
    def took(self) -> tuple[str | None, str | None]:
        """How long half of the attempts took at most, and how long 99 of 100 did."""
        return (_length(self.lately["p50_ms"]), _length(self.lately["p99_ms"])) if self.lately else (None, None)

    @property
    def rank(self) -> tuple[bool, float, int, str]:
        """Failing ones first, the worst of them before the others."""
        return not self.is_failing, self.success, -self.counts["dead"].number, self.name

    @property
    def sign(self) -> tuple[str, str]:
        """Give the mark that it is shown with, and what that says."""
        if self.item["paused_at"]:
            return "waiting", "paused"
        if self.is_away:
            return ("dead" if self.counts["waiting"].number else "none"), "no running worker has loaded it"
        if self.is_failing:
            return "dead", "failing"
        return ("done", "all well") if self.lately else ("none", "nothing to do lately")


@handlers.get("/handlers")
def every() -> str:
    window = _window()
    known = registry.list_handlers(engine())
    workers = registry.list_workers(engine(), now())
    standing = _standing([item for item in known if not item["trouble"]], window)
    return render_template(
        "handlers.html",
        broken=[item for item in known if item["trouble"]],
        standing=sorted(standing, key=attrgetter("rank")),
        workers=workers,
        windows=WINDOWS,
        window=window,
    )


@handlers.get("/handlers/<name>")
def one(name: str) -> str:
    window = _window()
    item = registry.show_handler(engine(), name)
    (standing,) = _standing([item], window)
    given = {field: request.args.get(field, "").strip() for field in FILTERS}
    which, problems = _which(name, given)
    before = request.args.get("before", "")
    place = int(before) if _is_number(before) else None
    found = _NONE if problems else dead_letters.newest(engine(), name, which, limit=LETTERS_SHOWN, before=place)
    return render_template(
        "handler.html",
        one=standing,
        windows=WINDOWS,
        window=window,
        given=given,
        problems=problems,
        count=Count(0, is_whole=True) if problems else dead_letters.count(engine(), which),
        letters=[_letter(job) for job in queries.pick_jobs(engine(), found.ids)],
        older=_address(name, given, before=found.next) if found.next else None,
        failures=[one | {"line": line_of(one["error"])} for one in registry.list_failures(engine(), name)],
        told=_told(),
    )


@handlers.post("/handlers/<name>/pause")
def pause(name: str) -> Response:
    registry.show_handler(engine(), name)
    jobs.pause_handler(engine(), name, now())
    return _back(name)


@handlers.post("/handlers/<name>/resume")
def resume(name: str) -> Response:
    registry.show_handler(engine(), name)
    return _back(name, resumed=jobs.resume_handler(engine(), name, now()))


@handlers.post("/handlers/<name>/replay")
def replay(name: str) -> Response:
    """Run the dead letters again that the question was about; filters that make no sense are about nothing."""
    item = registry.show_handler(engine(), name)
    given = {field: request.form.get(field, "").strip() for field in FILTERS}
    if is_confirmed():
        again = dead_letters.replay_picked(engine(), _unpacked(request.form.get("ids", "")), now=now())
        return redirect(_address(name, given, replayed=str(again)), 303)
    which, problems = _which(name, given)
    picked = _NOBODY if problems else dead_letters.pick(engine(), which)
    if not picked.ids:
        return redirect(_address(name, given, **({} if problems else {"replayed": "0"})), 303)
    return ask(_about_replaying(item, picked, which, back=_address(name, given)))


def _about_replaying(item: Document, picked: Picked, which: Which, *, back: str) -> Question:
    number = f"{len(picked.ids):,} dead job{'' if len(picked.ids) == 1 else 's'}"
    since = Markup("received since {}").format(moment(which.since)) if which.since else ""
    until = Markup("received before {}").format(moment(which.until)) if which.until else ""
    narrowed = [
        part for part in (Markup("of type {}").format(wire(which.type)) if which.type else "", since, until) if part
    ]
    says = [
        Markup("Those {}.").format(Markup(", ").join(narrowed)) if narrowed else "",
        "" if picked.is_whole else "There are more: these are the oldest of them. Replay the others after these.",
        "It is paused: they wait until it is resumed." if item["paused_at"] else "",
    ]
    return Question(
        asks=Markup("Replay {} to {}?").format(number, wire(item["name"])),
        says=[sentence for sentence in says if sentence],
        yes=f"Replay {number}",
        back=back,
        fixed={"ids": _packed(picked.ids)},
    )


def _packed(ids: Sequence[int]) -> str:
    """Write ids for a form, each as how much more it is than the one before: ten thousand take 20 kB, not 80."""
    return " ".join(str(id - before) for before, id in pairwise([0, *ids]))


def _unpacked(text: str) -> list[int]:
    steps = text.split()[: dead_letters.COUNTED]
    ids = accumulate(map(int, steps)) if all(map(_is_number, steps)) else ()
    return [id for id in ids if id < _NO_ID]


def _length(milliseconds: float | None) -> str | None:
    if milliseconds is None:
        return None
    return humanize.span(timedelta(milliseconds=milliseconds)) if milliseconds >= 1 else "< 1 ms"


def _window() -> str:
    given = request.args.get("window", "")
    return given if given in WINDOWS else "1h"


def _standing(items: list[Document], window: str) -> list[Standing]:
    lately = {one["handler"]: one for one in metrics.read_handlers(engine(), **metrics.window(window, now()))}
    counts = registry.job_counts(engine(), [item["name"] for item in items])
    return [Standing(item["name"], item, counts[item["name"]], lately.get(item["name"])) for item in items]


def _which(name: str, given: Mapping[str, str]) -> tuple[Which, dict[str, str]]:
    """Read filters; those that make no sense are left out, and explained by name."""
    read: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for field in ("since", "until"):
        try:
            if given[field]:
                read[field] = filters.read_time(given[field], now())
        except filters.Unclear as unclear:
            problems[field] = str(unclear)
    problems |= filters.upside_down(read)
    try:
        return Which(handler=name, type=given["type"] or None, **read), problems
    except PatternError as error:
        return Which(handler=name, **read), problems | {"type": f"{error}."}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19


def _address(name: str, given: Mapping[str, str], **more: object) -> str:
    query = {key: value for key, value in {**given, **more}.items() if value}
    return url_for("handlers.one", name=name) + (f"?{urlencode(query)}" if query else "")


def _letter(job: JobRecord) -> Document:
    last = job.last_attempt
    died_at, error = (last.finished_at, last.error) if last else (None, None)
    return {**asdict(job), "died_at": died_at, "line": line_of(error)}


def _back(name: str, **done: int) -> Response:
    """Go back to where the button was: the list, or this handler's page with what was done."""
    if request.form.get("from") == "list":
        return redirect(url_for("handlers.every"), 303)
    return redirect(_address(name, {}, **{key: str(value) for key, value in done.items()}), 303)


def _told() -> str | None:
    """Say what the button that led here did."""
    for key, text in (("replayed", "dead job"), ("resumed", "waiting job")):
        given = request.args.get(key, "")
        if _is_number(given):
            ran = humanize.count(int(given), text)
            return f"{ran} {'runs' if int(given) == 1 else 'run'} again." if int(given) else "Nothing was to run again."
    return None
