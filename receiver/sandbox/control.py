"""The sandbox's own API, below /sandbox: act on the drive, plan faults, move the clock, read the log."""

import json
from datetime import timedelta
from typing import Any, ClassVar

from flask import Blueprint, Response, current_app, jsonify, request
from marshmallow import Schema, ValidationError, fields, validate

from receiver.errors import UnreadableError
from receiver.sandbox.actions import Order
from receiver.sandbox.box_errors import SandboxRefusal, Wrong, bad_request, not_found
from receiver.sandbox.clock import LONGEST_SKIP
from receiver.sandbox.faults import SLOTS, Faults
from receiver.sandbox.filestack_events import Call
from receiver.sandbox.rules import check_address, is_id
from receiver.sandbox.schedules import FILESTACK_SCHEDULES
from receiver.sandbox.state import World, item_view, world_of
from receiver.sources.wire import read_object

control = Blueprint("control", __name__, url_prefix="/sandbox")

MOST_IN_A_LIST = 1000
_MOST_AT_ONCE = 10_000
_LONGEST_TEXT = 1000
_LONGEST_DELAY = 30 * 24 * 3600


def _text(**more: Any) -> fields.String:
    return fields.String(validate=[validate.Length(max=_LONGEST_TEXT), _shows], **more)


def _shows(text: str) -> None:
    if not text.isprintable():
        raise ValidationError("Must not contain invisible characters.")


def _whole(low: int, high: int) -> fields.Integer:
    return fields.Integer(strict=True, validate=validate.Range(low, high))


class _Faults(Schema):
    duplicates = _whole(0, 100)
    lost_answers = _whole(0, 100)
    reorder = fields.Boolean()
    delay = fields.Float(validate=validate.Range(0, _LONGEST_DELAY))
    wrong_key = fields.Boolean()
    rotating = fields.String(validate=validate.OneOf([*SLOTS["box"], ""]))
    reserialise = fields.Boolean()
    same_signature = fields.Boolean()


class _Asked(Schema):
    """The fields of an action at either source."""

    action = _text(required=True)
    count = _whole(1, _MOST_AT_ONCE)
    faults = fields.Nested(_Faults)


class _Action(_Asked):
    item = _text(required=True)
    to = _text()
    step = _text()
    text = _text()
    by = _text()
    size = _whole(0, 10**12)


class _Call(_Asked):
    way = _text()
    filename = _text()
    client = _text()
    to = fields.List(_text(), validate=validate.Length(max=100))
    schedule = fields.String(validate=validate.OneOf(FILESTACK_SCHEDULES))


class _Refusals(Schema):
    ORDINARY: ClassVar = (400, 401, 403, 404, 409, 429, 500, 502, 503)

    status = fields.Integer(strict=True, required=True, validate=validate.OneOf(ORDINARY))
    times = _whole(1, _MOST_AT_ONCE)
    after = _whole(0, _MOST_AT_ONCE)
    retry_after = fields.Float(validate=validate.Range(0, 3600))


class _Skip(Schema):
    seconds = fields.Float(required=True, validate=validate.Range(0, LONGEST_SKIP.total_seconds()))


class _Token(Schema):
    name = _text(required=True)
    token = _text(required=True)
    developer = fields.Boolean()
    scope = fields.Boolean()


class _User(Schema):
    name = _text(required=True)


def _world() -> World:
    return world_of(current_app)


def _read(schema: Schema) -> dict[str, Any]:
    # A browser sends this type to another site only after a preflight request (fetch.spec.whatwg.org, "CORS-safelisted
    # request-header").
    if request.mimetype != "application/json":
        raise bad_request(Wrong("Content-Type", "A body has to be application/json."))
    try:
        read: dict[str, Any] = schema.load(read_object(request.get_data()))
    except UnreadableError as error:
        raise bad_request(*(Wrong(name, " ".join(about)) for name, about in error.errors.items())) from None
    except ValidationError as error:
        raise bad_request(
            *(Wrong(name, f"{name}: {_words(about)}") for name, about in error.messages_dict.items())
        ) from None
    return read


def _words(about: object) -> str:
    return " ".join(map(str, about)) if isinstance(about, list) else json.dumps(about)


def _faults(asked: dict[str, Any]) -> Faults:
    return _world().faults().with_more(asked.pop("faults", {}))


@control.get("/")
def index() -> Response:
    """Return what this API offers."""
    rules = sorted({rule.rule for rule in current_app.url_map.iter_rules() if rule.endpoint.startswith("control.")})
    return jsonify({"signalbox": "sandbox", "addresses": rules})


@control.get("/state")
def show_state() -> Response:
    return jsonify(_world().state())


@control.get("/items")
def list_items() -> Response:
    drive = _world().drive
    return jsonify({"items": [item_view(drive, item) for item in drive.all()], "next": None})


@control.get("/deliveries")
def list_deliveries() -> Response:
    """Return the log of every delivery, the newest first; `before` takes the `next` of the previous page.

    `events` limits it to those of some events: 4,5,6.
    """
    limit = min(request.args.get("limit", 100, type=int), MOST_IN_A_LIST)
    before = request.args.get("before", "")
    last = int(before) if is_id(before) else None
    items = _world().courier.log(limit=max(limit, 1), before=last, events=_ids("events"))
    return jsonify({"items": items, "next": items[-1]["id"] if len(items) == limit else None})


@control.get("/events")
def list_events() -> Response:
    return jsonify({"items": _world().courier.events(_ids("ids")), "next": None})


def _ids(name: str) -> list[int]:
    return [int(text) for text in request.args.get(name, "").split(",") if is_id(text)][:MOST_IN_A_LIST]


@control.post("/actions")
def act() -> Response:
    """Do something on the drive, and send what Box would send about it."""
    asked = _read(_Action())
    faults, count, by = _faults(asked), asked.pop("count", 1), asked.pop("by", "")
    happenings, ids = _world().act(Order(**asked), faults=faults, by=by, count=count)
    drive = _world().drive
    set_off = [
        {"trigger": one.trigger, "item": {"type": one.item.type, "id": one.item.id, "path": drive.path(one.item)}}
        for one in happenings
    ]
    return jsonify({"set_off": set_off, "events": _events(ids)})


def _events(ids: list[int]) -> list[dict[str, Any]]:
    return _world().courier.events(ids) if ids else []


@control.post("/filestack")
def call() -> Response:
    """Let something happen at Filestack, and send what it would send."""
    asked = _read(_Call())
    faults, count = _faults(asked), asked.pop("count", 1)
    to, schedule = asked.pop("to", []), asked.pop("schedule", "")
    wrong = [problem for address in to for problem in check_address(address, any_address=True)]
    if wrong:
        raise bad_request(*wrong)
    names, ids = _world().call(Call(**asked), faults=faults, to=to, schedule=schedule, count=count)
    return jsonify({"set_off": names, "events": _events(ids)})


@control.put("/faults")
def set_faults() -> Response:
    """Set what goes wrong with every event from now on; an empty object ends it."""
    _world().set_faults(Faults().with_more(_read(_Faults())))
    return show_state()


@control.post("/refusals")
def plan_refusal() -> Response:
    asked = {"times": 1, "after": 0, "retry_after": None} | _read(_Refusals())
    _world().plan_refusal(**asked)
    return show_state()


@control.delete("/refusals")
def forget_refusals() -> Response:
    _world().store.note("planned refusals", [])
    return show_state()


@control.post("/clock")
def skip() -> Response:
    """Move the sandbox's clock ahead; what becomes due is sent at once."""
    try:
        _world().clock.skip(timedelta(seconds=_read(_Skip())["seconds"]))
        now = _world().clock.now()
    except OverflowError:
        raise bad_request(Wrong("seconds", "That is after the end of the calendar.")) from None
    _world().courier.bell.set()
    return jsonify({"now": now.isoformat(timespec="milliseconds")})


@control.post("/tokens")
def list_token() -> tuple[Response, int]:
    asked = _read(_Token())
    _world().sessions.list_token(
        asked["name"],
        asked["token"],
        is_developers=asked.get("developer", False),
        has_scope=asked.get("scope", True),
    )
    return jsonify({"items": _world().sessions.users(), "next": None}), 201


@control.post("/tokens/expire")
def expire() -> Response:
    return jsonify({"webhooks": _world().expire(_read(_User())["name"])})


@control.post("/tokens/revoke")
def revoke() -> Response:
    return jsonify({"events": _events(_world().revoke(_read(_User())["name"]))})


@control.post("/webhooks/<webhook_id>/give-up")
def give_up(webhook_id: str) -> Response:
    """Remove a webhook as Box does after a long silence."""
    if not is_id(webhook_id) or _world().registrations.find(int(webhook_id)) is None:
        raise not_found(f"There is no webhook {webhook_id}.")
    return jsonify({"events": _events(_world().courier.give_up(int(webhook_id)))})


def explain(refusal: SandboxRefusal) -> dict[str, Any]:
    """Return an error of the control API: one sentence to show, and what it is about."""
    return {"error": refusal.sentence(), "fields": {one.name: one.message for one in refusal.wrong}}
