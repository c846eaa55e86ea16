"""Box's Webhooks API as the sandbox implements it: the five operations below /2.0, and the token endpoint."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, request
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from receiver.errors import UnreadableError
from receiver.sandbox.box_errors import SandboxRefusal, Wrong, bad_request
from receiver.sandbox.rules import Key
from receiver.sandbox.sessions import Session, unauthorized
from receiver.sandbox.state import World, world_of
from receiver.sources.wire import read_object

box_api = Blueprint("box_api", __name__)

# https://developer.box.com/reference/get-webhooks/ (as of 2026) has 1000 as the most; its SDKs document 100 as the
# default.
MOST_ON_A_PAGE = 1000
USUAL_ON_A_PAGE = 100
_WHOLE = re.compile(r"-?[0-9]{1,19}")
_TOKEN_LASTS_SECONDS = 3600


class _Target(Schema):
    class Meta:
        unknown = EXCLUDE

    id = fields.String()
    type = fields.String(validate=validate.OneOf(["file", "folder"]))


class _Change(Schema):
    class Meta:
        unknown = EXCLUDE

    target = fields.Nested(_Target)
    address = fields.String()
    triggers = fields.List(fields.String())


class _Creation(_Change):
    target = fields.Nested(_Target, required=True)
    address = fields.String(required=True)
    triggers = fields.List(fields.String(), required=True)


@box_api.post("/2.0/webhooks")
def create_webhook() -> tuple[Response, int]:
    session = _caller()
    asked = _read(_Creation())
    target = _target(asked["target"])
    made = _world().registrations.create(session, target, asked["address"], asked["triggers"])
    return jsonify(made.full()), 201


@box_api.get("/2.0/webhooks")
def list_webhooks() -> Response:
    session = _caller()
    limit, after = _limit(), _after()
    found = _world().registrations.page(session, limit=limit + 1, after=after)
    entries = found[:limit]
    page: dict[str, Any] = {"limit": limit, "entries": [one.mini() for one in entries]}
    if len(found) > limit:
        page["next_marker"] = _marker(entries[-1].id)
    elif (end := _world().last_page) != "absent":
        page["next_marker"] = None if end == "null" else ""
    return jsonify(page)


@box_api.get("/2.0/webhooks/<webhook_id>")
def get_webhook(webhook_id: str) -> Response:
    return jsonify(_world().registrations.get(_caller(), webhook_id).full())


@box_api.put("/2.0/webhooks/<webhook_id>")
def update_webhook(webhook_id: str) -> Response:
    session = _caller()
    old = _world().registrations.get(session, webhook_id)
    changes = _read(_Change())
    if "target" in changes:
        type_, id_ = old.target
        changes["target"] = _target({"type": type_, "id": id_} | changes["target"])
    return jsonify(_world().registrations.update(session, webhook_id, **changes).full())


@box_api.delete("/2.0/webhooks/<webhook_id>")
def delete_webhook(webhook_id: str) -> tuple[str, int]:
    _world().registrations.delete(_caller(), webhook_id)
    return "", 204


def _world() -> World:
    return world_of(current_app)


def _caller() -> Session:
    """Return whose request this is; refuse what the API refuses before it reads the request itself."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise unauthorized("Say who you are: Authorization: Bearer TOKEN.")
    session = _world().sessions.recognise(token.strip())
    _world().refuse_if_planned()
    if not session.has_scope:
        why = "The application may not manage webhooks: tick that scope in the developer console."
        raise SandboxRefusal(
            403,
            "Forbidden",
            code="insufficient_scope",
            wrong=[Wrong("scope", why, reason="insufficient_scope")],
            headers={"WWW-Authenticate": 'Bearer realm="Service", error="insufficient_scope"'},
        )
    return session


def _read(schema: Schema) -> dict[str, Any]:
    if request.mimetype != "application/json":
        raise bad_request(Wrong("Content-Type", "A body has to be application/json."))
    try:
        asked = read_object(request.get_data())
        read: dict[str, Any] = schema.load(asked)
    except UnreadableError as error:
        raise bad_request(*_wrongs(error.errors)) from None
    except ValidationError as error:
        raise bad_request(*_wrongs(error.messages_dict)) from None
    return read


def _wrongs(messages: Mapping[str, Any]) -> list[Wrong]:
    return [
        Wrong(name, " ".join(about) if isinstance(about, list) else json.dumps(about))
        for name, about in messages.items()
    ]


def _target(asked: Mapping[str, str]) -> Key:
    missing = [name for name in ("id", "type") if name not in asked]
    if missing:
        raise bad_request(*(Wrong(f"target.{name}", "Missing data for required field.") for name in missing))
    return asked["type"], asked["id"]


def _once(name: str) -> str | None:
    values = request.args.getlist(name)
    if len(values) > 1:
        raise bad_request(Wrong(name, "Send it once."))
    return values[0] if values else None


def _limit() -> int:
    text = _once("limit")
    if text is None:
        return USUAL_ON_A_PAGE
    if not _WHOLE.fullmatch(text) or not -(2**63) <= int(text) <= MOST_ON_A_PAGE:
        raise bad_request(Wrong("limit", f"It must be a whole number, {MOST_ON_A_PAGE} at most."))
    # Box documents no minimum; an empty value counts as missing.
    return int(text) if int(text) > 0 else USUAL_ON_A_PAGE


def _marker(webhook_id: int) -> str:
    return base64.urlsafe_b64encode(f"after {webhook_id}".encode()).decode().rstrip("=")


def _after() -> int:
    text = _once("marker")
    if not text:
        return 0
    try:
        found = re.fullmatch(rb"after ([0-9]{1,18})", base64.b64decode(_padded(text), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        found = None
    if found is None:
        raise bad_request(Wrong("marker", "It must be the next_marker of a previous page."))
    return int(found[1])


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)


@box_api.post("/oauth2/token")
def issue_token() -> tuple[Response, int]:
    """Return a token for any credentials at all: the sandbox has no secrets to compare with."""
    form = request.form
    grant = form.get("grant_type", "")
    if grant == "client_credentials":
        subject = f"{form.get('box_subject_type', 'user')} {form.get('box_subject_id', '')}".strip()
    elif grant == "urn:ietf:params:oauth:grant-type:jwt-bearer":
        subject = _subject_of(form.get("assertion", ""))
    elif grant in ("refresh_token", "authorization_code"):
        subject = "signed-in user"
    else:
        words = "client_credentials, a JWT, authorization_code and refresh_token are known."
        return jsonify({"error": "unsupported_grant_type", "error_description": words}), 400
    if not subject.isprintable() or not form.get("client_id", "-").isprintable():
        return jsonify({"error": "invalid_request", "error_description": "This contains invisible characters."}), 400
    token = _world().sessions.issue(form.get("client_id", "application"), subject)
    answer = {
        "access_token": token,
        "expires_in": _TOKEN_LASTS_SECONDS,
        "restricted_to": [],
        "refresh_token": token,
        "token_type": "bearer",
    }
    return jsonify(answer), 200


def _subject_of(assertion: str) -> str:
    """Return the subject of a JWT, unverified: the sandbox does not have the key that signed it."""
    try:
        claims = json.loads(base64.urlsafe_b64decode(_padded(assertion.split(".")[1])))
        return f"{claims['box_sub_type']} {claims['sub']}"
    except (IndexError, KeyError, TypeError, ValueError, RecursionError):
        return "service account"


@box_api.post("/oauth2/revoke")
def revoke_token() -> tuple[str, int]:
    _world().sessions.revoke(request.form.get("token", ""))
    return "", 200
