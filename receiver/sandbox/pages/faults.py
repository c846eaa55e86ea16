"""What goes wrong in the sandbox on request: with what it sends, with its API, with its users; and its clock."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta

from flask import Blueprint, current_app, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from receiver import humanize
from receiver.sandbox.faults import SLOTS, Faults
from receiver.sandbox.state import World, world_of
from receiver.web.pages.question import Question, ask, is_confirmed, wire

faults = Blueprint("faults", __name__)

SKIPS: Mapping[str, timedelta] = {
    "15 minutes": timedelta(minutes=15),
    "2 hours": timedelta(hours=2),
    "a day": timedelta(days=1),
    "15 days": timedelta(days=15),
    "16 days": timedelta(days=16),
}
REFUSALS = {429: "too many calls", 403: "forbidden", 401: "unauthorized", 404: "not found", 503: "unavailable"}
_MOST = 100
_LONGEST_DELAY = 30 * 24 * 3600
_LONGEST_WAIT = 3600


def _world() -> World:
    return world_of(current_app)


@faults.get("/faults")
def page() -> str:
    world = _world()
    standing = world.faults()
    return render_template(
        "sandbox/faults.html",
        standing=standing,
        is_any=standing != Faults(),
        slots=SLOTS["box"],
        skips=SKIPS,
        refusals=REFUSALS,
        planned=world.store.noted("planned refusals", []),
        users=world.sessions.users(),
        webhooks=[one.user for one in world.registrations.all()],
        speed=world.clock.speed,
        time=world.clock.now(),
        inbox=current_app.config["INBOX"],
    )


@faults.post("/faults")
def stand() -> Response:
    """Spoil everything that is sent from now on as the form says; an empty form ends it."""
    form = request.form
    rotating = form.get("rotating", "")
    switches = {name: name in form for name, value in asdict(Faults()).items() if value is False}
    wish = Faults(
        duplicates=_number("duplicates", _MOST),
        lost_answers=_number("lost_answers", _MOST),
        delay=_number("delay", _LONGEST_DELAY),
        rotating=rotating if rotating in SLOTS["box"] else "",
        **switches,
    )
    _world().set_faults(Faults() if "none" in form else wish)
    return _back("spoiling")


@faults.post("/clock")
def skip() -> Response:
    """Move the sandbox's clock ahead; what becomes due is sent at once."""
    name = request.form.get("skip", "")
    span = SKIPS.get(name)
    if span is not None and not is_confirmed():
        says = ["Retries, sessions and clean-ups become due by it, and it cannot be set back."]
        return _ask(
            Question(
                asks=f"Move the clock of the sandbox {name} ahead?", says=says, yes=f"Skip {name}", back=_there("clock")
            )
        )
    if span is not None:
        _world().clock.skip(span)
        _world().courier.bell.set()
    return _back("clock")


@faults.post("/refusals")
def plan_refusal() -> Response:
    """Respond to the next calls of Box's API with an error, or stop doing so."""
    status = _number("status", 599)
    if "none" in request.form:
        _world().store.note("planned refusals", [])
    elif status in REFUSALS:
        wait = _number("retry_after", _LONGEST_WAIT)
        times = max(_number("times", _MOST), 1)
        _world().plan_refusal(status=status, times=times, after=0, retry_after=wait or None)
    return _back("api")


@faults.post("/users")
def end_session() -> Response:
    """End the session of a user, or revoke all of its tokens."""
    name, world = request.form.get("name", ""), _world()
    if name in {one["name"] for one in world.sessions.users()}:
        if not is_confirmed():
            return _ask(_about_ending(name, sum(one.user == name for one in world.registrations.all())))
        if "revoke" in request.form:
            world.revoke(name)
        else:
            world.expire(name)
    return _back("users")


def _about_ending(name: str, count: int) -> Question:
    webhooks = humanize.count(count, "webhook")
    if "revoke" in request.form:
        asks, yes = Markup("Revoke the tokens of {}, and remove its {}?").format(wire(name), webhooks), "Revoke"
        says = "Box sends WEBHOOK.DELETED for each."
    else:
        asks, yes = Markup("End the session of {}, with {}?").format(wire(name), webhooks), "End the session"
        says = "Its webhooks send only NO_ACTIVE_SESSION from then on."
    return Question(asks=asks, says=[says] if count else (), yes=yes, back=_there("users"), is_final=True)


def _ask(question: Question) -> Response:
    world = _world()
    facts = {"inbox": current_app.config["INBOX"], "speed": world.clock.speed, "time": world.clock.now()}
    return ask(question, "sandbox/question.html", **facts)


def _number(name: str, most: int) -> int:
    """Return a whole number of the form, or 0 for anything else."""
    given = request.form.get(name, "")
    return min(int(given), most) if given.isascii() and given.isdecimal() and len(given) < 10 else 0


def _there(part: str) -> str:
    return url_for("faults.page", _anchor=part)


def _back(part: str) -> Response:
    return redirect(_there(part), 303)
