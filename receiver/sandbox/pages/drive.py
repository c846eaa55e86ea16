"""The drive of the sandbox: its files and folders, their webhooks, what can be done, and what was delivered."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, current_app, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from receiver import humanize
from receiver.outbound.addresses import as_variables, is_usual
from receiver.registrations.rules import TRIGGERS, fits
from receiver.sandbox.actions import ACTIONS, Order
from receiver.sandbox.box_errors import SandboxRefusal, Wrong, bad_request
from receiver.sandbox.drive import ROOT, DriveItem
from receiver.sandbox.filestack_events import KINDS, Call
from receiver.sandbox.phrases import coming
from receiver.sandbox.registrations import Registration
from receiver.sandbox.rules import Key, is_id
from receiver.sandbox.state import World, world_of
from receiver.web.page import now, wants_part
from receiver.web.pages.question import Question, ask, is_confirmed, wire

drive = Blueprint("drive", __name__)

ITEMS_SHOWN = 500
DELIVERIES_SHOWN = 30
FILESTACK = "filestack"
_LONGEST_TEXT = 1000

# Actions on files only, actions with nothing but a button, and actions on what belongs to an item.
_FILES_ONLY = frozenset({"preview", "lock", "unlock", "comment", "task", "sign"})
_AT_ONCE = ("preview", "download", "lock", "unlock", "trash", "delete")
_HANGING = ("comment", "task", "share", "metadata", "collaborate", "sign")


@dataclass(frozen=True, slots=True)
class TreeRow:
    """A line of the tree."""

    item: DriveItem
    key: str
    depth: int
    webhooks: Sequence[Registration]


@dataclass(frozen=True, slots=True)
class Sent:
    """A delivery, or an event without a delivery so far."""

    mark: str
    at: datetime | None
    name: str
    status: str
    to: str
    address: str
    says: str
    next_at: datetime | None


def _world() -> World:
    return world_of(current_app)


@drive.get("/")
def page() -> str:
    """Show the drive and the item that the address names; htmx fetches the deliveries alone, every second."""
    if wants_part("sent"):
        return render_template("sandbox/_sent.html", key=request.args.get("item", ""), sent=list(_sent(_world())))
    return _page()


def _page(problem: str = "", *, at: str | None = None) -> str:
    world = _world()
    item = _selected(at if at is not None else request.args.get("item", ""))
    rows = list(_tree(world))
    at_filestack = (at or request.args.get("item")) == FILESTACK
    return render_template(
        "sandbox/drive.html",
        rows=rows[:ITEMS_SHOWN],
        hidden=len(rows) - ITEMS_SHOWN,
        trash=[TreeRow(one, _key(one), 0, ()) for one in world.drive.all() if one.state == "trashed"],
        is_empty=len(rows) == 1,
        item=item,
        key=FILESTACK if at_filestack else _key(item),
        path=world.drive.path(item),
        above=[(_key(one), one.name) for one in world.drive.above(item)],
        hearing=list(_hearing(world, item)),
        sent=list(_sent(world)),
        actions=ACTIONS,
        at_once=[name for name in _AT_ONCE if _is_for(name, item)],
        hanging=[name for name in _HANGING if _is_for(name, item)],
        triggers=sorted(one for one in TRIGGERS if _can_set_off(one, item)),
        folders=[row for row in rows if row.item.type == "folder" and row.item.key != item.key],
        kinds=KINDS,
        faults={name: value for name, value in asdict(world.faults()).items() if value},
        problem=problem,
        told=_told(),
        inbox=current_app.config["INBOX"],
        base=request.host_url.rstrip("/"),
        receiver=_receiver(),
        speed=world.clock.speed,
        time=world.clock.now(),
        filestack_to=world.plan.filestack_addresses,
    )


def _receiver() -> str:
    """Return the settings to write before a command so that it finds the installation; "" at its usual place."""
    base = current_app.config["INBOX"]
    return "" if base is None or is_usual(base) else as_variables(base)


def _key(item: DriveItem) -> str:
    return f"{item.type}:{item.id}"


def _selected(named: str) -> DriveItem:
    """Return the item that an address names, or the root if it does not exist. Looking makes nothing."""
    type_, _, id_ = named.partition(":")
    found = _world().drive.at((type_, id_)) if is_id(id_) else None
    return found if found is not None and found.state != "deleted" else _world().drive.root()


def _tree(world: World) -> Iterator[TreeRow]:
    """Yield every existing item, each below the folder that it is in."""
    inside: dict[str | None, list[DriveItem]] = defaultdict(list)
    for item in world.drive.all():
        if item.state == "active":
            inside[item.parent].append(item)
    webhooks: dict[Key, list[Registration]] = defaultdict(list)
    for one in world.registrations.all():
        webhooks[one.target].append(one)
    waiting = [(item, 0) for item in inside[None]]
    while waiting:
        item, depth = waiting.pop()
        yield TreeRow(item, _key(item), depth, webhooks[item.key])
        if item.type == "folder":
            waiting += [(child, depth + 1) for child in reversed(inside[item.id])]


def _hearing(world: World, item: DriveItem) -> Iterator[tuple[Registration, str]]:
    """Yield the webhooks that hear of an item, each with its place: on it, or on a folder above it."""
    watched = world.drive.watched(item)
    for one in world.registrations.all():
        if one.target in watched:
            where = world.drive.at(one.target)
            yield one, "" if one.target == item.key or where is None else world.drive.path(where)


def _is_for(action: str, item: DriveItem) -> bool:
    return item.key != ROOT and (item.type == "file" or action not in _FILES_ONLY)


def _can_set_off(trigger: str, item: DriveItem) -> bool:
    family = trigger.partition(".")[0]
    is_of_type = family not in ("FILE", "FOLDER") or family == item.type.upper()
    return is_of_type and trigger != "WEBHOOK.DELETED" and (fits(trigger, item.type) or trigger == "FILE.UPLOADED")


def _sent(world: World) -> Iterator[Sent]:
    """Yield what is to be sent for the first time, and then the deliveries, the newest first."""
    at = now()
    for event in reversed(world.courier.first_waiting(limit=DELIVERIES_SHOWN)):
        due = at + timedelta(seconds=event["next_in_seconds"] or 0)
        to = _addressee(event["source"], event["webhook_id"])
        yield Sent("none", None, event["name"], "", to, event["address"], "to be sent", due)
    for one in world.courier.log(limit=DELIVERIES_SHOWN):
        yield _delivery(one, at)


def _delivery(one: Mapping[str, Any], at: datetime) -> Sent:
    is_tried_again = one["state"] == "waiting" and one["next_in_seconds"] is not None
    return Sent(
        mark="done" if one["delivered"] else "waiting" if is_tried_again else "dead",
        at=datetime.fromisoformat(one["sent_at"]),
        name=one["name"],
        status=str(one["status"] or "no answer"),
        to=_addressee(one["source"], one["webhook"]),
        address=one["address"],
        says=coming(one),
        next_at=at + timedelta(seconds=one["next_in_seconds"]) if is_tried_again else None,
    )


def _addressee(source: str, webhook_id: str | None) -> str:
    return f"webhook {webhook_id}" if webhook_id else source


@drive.post("/do")
def act() -> Response | str | tuple[str, int]:
    """Do what a form asks for on an item, and show that item again, with the refusal above it if there is one."""
    named = _text("item")
    below = _text("name") if "name" in request.form else ""
    order = Order(
        action=_text("action"),
        item=f"{named}/{below}" if below else named,
        to=_text("to"),
        step=_text("step"),
        text=_text("text"),
    )
    if order.action == "delete" and not is_confirmed():
        return _ask(_about_deleting(_selected(named)))
    try:
        if "name" in request.form and not below:
            raise bad_request(Wrong("name", "Give it a name."))
        happenings, events = _world().act(order, faults=_world().faults())
    except SandboxRefusal as refusal:
        return _refused(refusal, named)
    made = [one.item for one in happenings if one.trigger in ("FILE.UPLOADED", "FOLDER.CREATED")]
    return _back(_key(made[-1]) if below and made else named, [one.trigger for one in happenings], len(events))


def _about_deleting(item: DriveItem) -> Question:
    below = len(list(_below(item)))
    its = f" and the {humanize.count(below, 'thing')} in it" if below else ""
    return Question(
        asks=Markup("Delete the {} {}{} for good?").format(item.type, wire(item.name), its),
        says=["The trash would keep it: this does not."] if item.state == "active" else (),
        yes="Delete for good",
        back=_there(_key(item)),
        is_final=True,
    )


def _below(item: DriveItem) -> Iterator[DriveItem]:
    waiting = [item]
    while waiting:
        one = waiting.pop()
        if one.type == "folder":
            children = _world().drive.children(one)
            yield from children
            waiting += children


def _ask(question: Question) -> Response:
    world = _world()
    facts = {"inbox": current_app.config["INBOX"], "speed": world.clock.speed, "time": world.clock.now()}
    return ask(question, "sandbox/question.html", **facts)


def _there(at: str) -> str:
    return url_for("drive.page", item=at)


@drive.post("/filestack")
def call() -> Response | str | tuple[str, int]:
    """Let something happen at Filestack."""
    asked = Call(action=_text("action"), way=_text("way"), filename=_text("filename"), client=_text("client"))
    try:
        names, events = _world().call(asked, faults=_world().faults())
    except SandboxRefusal as refusal:
        return _refused(refusal, FILESTACK)
    return _back(FILESTACK, names, len(events))


@drive.post("/give-up/<int:webhook_id>")
def give_up(webhook_id: int) -> Response:
    """Remove a webhook as Box does after a long silence."""
    webhook = _world().registrations.find(webhook_id)
    if webhook is not None and not is_confirmed():
        asks = Markup("Give up the webhook {} on {}?").format(wire(webhook_id), wire(":".join(webhook.target)))
        says = [Markup("Box removes it then, and {} gets WEBHOOK.DELETED.").format(wire(webhook.address))]
        return _ask(Question(asks=asks, says=says, yes="Give it up", back=_there(_text("item")), is_final=True))
    events = _world().courier.give_up(webhook_id)
    return _back(_text("item"), ["WEBHOOK.DELETED"], len(events))


def _text(name: str) -> str:
    given = request.form.get(name, "").strip()
    if len(given) > _LONGEST_TEXT or not given.isprintable():
        raise bad_request(Wrong(name, f"{name} is too long, or contains invisible characters."))
    return given


def _refused(refusal: SandboxRefusal, at: str) -> str | tuple[str, int]:
    shown = _page(refusal.sentence(), at=at)
    # htmx swaps in only successful responses (htmx.org/docs/#response-handling).
    return shown if "HX-Request" in request.headers else (shown, refusal.status)


def _back(at: str, names: Sequence[str], count: int) -> Response:
    did = ",".join(dict.fromkeys(names))
    return redirect(url_for("drive.page", item=at, did=did, sent=count), 303)


def _told() -> tuple[list[str], int] | None:
    """Return what the form that led here set off, and how many events are on their way because of it."""
    names = request.args.get("did", "").split(",")
    count = request.args.get("sent", "")
    known = [name for name in names if name in TRIGGERS or name in {kind.name for kind in KINDS.values()}]
    return (known, int(count)) if known and is_id(count) else None
