"""/api/openapi.json, which describes the API, and /api/docs, the same for people."""

from collections.abc import Sequence
from functools import cache
from http import HTTPStatus
from typing import Any

import flask_smorest
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from flask import Blueprint, Flask, Response, current_app, render_template, request

from receiver import service
from receiver.web.api.reference import Reference
from receiver.web.api.resource import Resource
from receiver.web.api.response import give
from receiver.web.api.wording import coded
from receiver.web.schemas.shape import Refusal

documentation = Blueprint("documentation", __name__)

OPENAPI = "3.1.0"
VERSION = "1"  # of the API: it grows when something is taken away or means something else, not when something is added
ABOUT = """What came, what became of it, and how to repeat it: the same as the pages and the command line.

Every time is in UTC. Listings are newest first; `next` is the cursor of the page after, and paging neither skips nor
repeats what was there when it began. A parameter that is not described here is refused."""

REFUSALS = {
    400: "The body cannot be read as a JSON object.",
    401: "The token is missing or wrong.",
    429: "Too many wrong tokens came from here, or from everywhere: the answer says how long to wait.",
    403: "In development, this machine only; from the page of another site, never.",
    404: "There is nothing of this id or name.",
    409: "It is not in a state for this: `detail` says what it is in.",
    413: "The body is too long.",
    415: "The body is no JSON.",
    422: "Something asked for does not exist or cannot be: `errors` names it.",
    503: "The database could not do it now; `Retry-After` says when to try again.",
}


class Converter(OpenAPIConverter):
    """Adds to the JSON schema of a shape what marshmallow has no word for."""

    def schema2jsonschema(self, schema: Any) -> dict[str, Any]:
        found: dict[str, Any] = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        return found | getattr(schema, "ALSO", {})


class Plugin(MarshmallowPlugin):
    Converter = Converter


class Document(flask_smorest.Api):  # type: ignore[misc]
    """The OpenAPI document of an application, made by flask-smorest without what we do ourselves."""

    ERROR_SCHEMA = Refusal
    DEFAULT_ERROR_RESPONSE_NAME = None

    def __init__(self, app: Flask) -> None:
        words = {
            "title": "Signalbox",
            "version": VERSION,
            "openapi_version": OPENAPI,
            "marshmallow_plugin": Plugin(),
            "info": {"description": ABOUT, "license": {"name": "MIT", "identifier": "MIT"}},
            "security": [{"token": []}, {"login": []}],
        }
        super().__init__(app, spec_kwargs=words)
        schemes = {
            "token": {"type": "http", "scheme": "bearer", "description": "The API_TOKEN of this installation."},
            "login": {"type": "apiKey", "in": "cookie", "name": "signalbox", "description": "Set by the login page."},
        }
        for name, scheme in schemes.items():
            self.spec.components.security_scheme(name, scheme)

    def _register_error_handlers(self) -> None:
        """Errors are explained by receiver/web/responses.py, everywhere in one form."""

    def _register_responses(self) -> None:
        """Describe what every operation may refuse, each once, by the name of its status."""
        content = {"application/json": {"schema": self.ERROR_SCHEMA}}
        for status, description in REFUSALS.items():
            response = {"description": description, "content": content}
            self.spec.components.response(HTTPStatus(status).name, response, lazy=True)

    def _register_pagination_header(self) -> None:
        """Pages of listings say by `next` how to go on: there is no header about it."""

    def describe(self, resource: Resource) -> None:
        """Add what a resource, which the application serves already, says of its operations."""
        resource.register_views_in_doc(self, self._app, self.spec, name=resource.name, parameters=None)
        self.spec.tag({"name": resource.name, "description": resource.description})

    def whole(self) -> dict[str, Any]:
        """Give the document."""
        found: dict[str, Any] = self.spec.to_dict()
        return found


def serve(app: Flask, resources: Sequence[Resource]) -> None:
    """Serve resources and the document that describes them; it is made when somebody first asks for it."""

    @cache
    def made() -> dict[str, Any]:
        document = Document(app)
        for resource in resources:
            document.describe(resource)
        return document.whole()

    for resource in resources:
        app.register_blueprint(resource)
    app.register_blueprint(documentation)
    service.of(app).api_document = made


@documentation.get("/api/openapi.json")
def openapi() -> Response:
    """Give the OpenAPI document."""
    return give(_document())


@documentation.get("/api/docs")
def docs() -> str:
    """Show the same as a page."""
    needs_token = bool(current_app.config["API_TOKEN"] or current_app.config["ADMIN_PASSWORD"])
    reference = Reference(_document(), address=request.host_url, needs_token=needs_token)
    return render_template(
        "api_docs.html",
        coded=coded,
        about=ABOUT.split("\n\n"),
        sections=reference.sections(),
        shapes=reference.shapes(),
        needs_token=needs_token,
    )


def _document() -> dict[str, Any]:
    return service.current().api_document()
