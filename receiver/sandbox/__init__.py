"""A stand-in for Box and Filestack on your own machine: an API to register at, a drive, and deliveries of both.

`create_sandbox(plan)` returns it as a WSGI application: the Box Webhooks API below /2.0, its token endpoint at
/oauth2/token, and the sandbox's own controls below /sandbox. Nothing runs until `world_of(app).start()` is called;
tests call `world_of(app).courier.run_due()` and `.pass_time(span)` instead, and need not wait.
"""

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from receiver.runtime.version import version
from receiver.sandbox.box_api import box_api
from receiver.sandbox.box_errors import SandboxRefusal
from receiver.sandbox.clock import Clock
from receiver.sandbox.control import control, explain
from receiver.sandbox.post import Answer, Post, post
from receiver.sandbox.sender import Told
from receiver.sandbox.state import LAST_PAGES, Plan, Token, World, install, world_of

__all__ = ["LAST_PAGES", "Answer", "Clock", "Plan", "Post", "Token", "World", "create_sandbox", "world_of"]

MOST_BYTES = 1024 * 1024
SANDBOX_HEADER = "Signalbox-Sandbox"  # its commands trust no other error text


def create_sandbox(plan: Plan, *, clock: Clock | None = None, post: Post = post, told: Told | None = None) -> Flask:
    """Return the sandbox as an application; `told` is called for every delivery, as the log has it."""
    app = Flask("receiver.sandbox", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask's own provider has it
    install(app, World(plan, clock=clock, post=post, told=told))
    app.register_blueprint(box_api)
    app.register_blueprint(control)
    app.register_error_handler(SandboxRefusal, _refuse)
    app.register_error_handler(HTTPException, _refuse_http)
    app.after_request(_sign)
    return app


def _sign(response: Response) -> Response:
    response.headers[SANDBOX_HEADER] = version()
    return response


def _refuse(refusal: SandboxRefusal) -> Response:
    is_ours = request.path.startswith("/sandbox")
    answer = jsonify(explain(refusal) if is_ours else refusal.client_error())
    answer.status_code = refusal.status
    answer.headers.update(refusal.headers)
    return answer


def _refuse_http(error: HTTPException) -> Response:
    """Respond in JSON to what Flask itself refuses: an unknown address, another method, a body too long."""
    response = error.get_response()
    headers = {name: value for name, value in response.headers if name in ("Allow", "Retry-After", "Location")}
    return _refuse(SandboxRefusal(response.status_code, error.description or error.name, headers=headers))
