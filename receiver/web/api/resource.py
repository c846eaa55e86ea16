"""A resource of the API: a blueprint that reads strictly, answers errors in one form, and documents them all."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

import flask_smorest
from flask import Response
from marshmallow import Schema

from receiver.errors import StoreError
from receiver.web.api.request import Parser, refusal, refuse_unknown_parameters
from receiver.web.responses import RETRY_AFTER_SECONDS
from receiver.web.schemas.fields import WHOLE_ID
from receiver.web.schemas.shape import Asked

IN_EVERY_OPERATION = (401, 403, 422, 429, 503)
WITH_A_BODY = (400, 413, 415)

View = TypeVar("View", bound=Callable[..., Response])

LOCATION = {"description": "The address of what was made.", "schema": {"type": "string"}}
ETAG = {"ETag": {"description": "Changes with what is given.", "schema": {"type": "string"}}}
NOT_MODIFIED = {"description": "What `If-None-Match` names is still so."}
IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The ETag of an earlier answer: 304 says that nothing has changed since.",
    "schema": {"type": "string"},
}
# The shape of an answer that is no JSON.
BYTES = {"type": "string", "format": "binary"}


def id_of(thing: str) -> dict[str, Any]:
    """Describe the `id` in a path."""
    return {
        "in": "path",
        "name": "id",
        "description": f"The id of the {thing}, or `last` for the newest.",
        "schema": {"type": "string", "pattern": f"{WHOLE_ID}|^last$"},
        "example": "last",
    }


class Resource(flask_smorest.Blueprint):  # type: ignore[misc]
    """One kind of thing under /api/.

    Its name is its heading in the documentation, with a capital: the pages have the names in small letters.
    """

    ARGUMENTS_PARSER = Parser()

    def __init__(self, name: str, import_name: str, *, path: str, description: str) -> None:
        super().__init__(name, import_name, url_prefix=f"/api{path}", description=description)
        self._prepare_doc_cbks.append(_document_refusals)
        self.before_request(refuse_unknown_parameters)
        self.register_error_handler(StoreError, _explain_trouble)

    def operation(
        self,
        method: str,
        path: str,
        *,
        gives: type[Schema] | dict[str, str],
        status: int = 200,
        takes: type[Asked] | None = None,
        parameters: Sequence[dict[str, Any]] = (),
        refuses: Sequence[int] = (),
    ) -> Callable[[View], View]:
        """Serve an address by a function: what it takes comes first, read by its schema; then what stands in the path.

        `refuses` are the statuses that it may answer besides those that every operation may. A dictionary as `gives`
        describes bytes.
        """

        def connect(view: View) -> View:
            content_type = "application/octet-stream" if isinstance(gives, dict) else None
            headers = {"Location": LOCATION} if status == 201 else None
            wrapped = self.response(status, gives, content_type=content_type, headers=headers)(view)
            for one in refuses:
                wrapped = self.alt_response(one, HTTPStatus(one).name)(wrapped)
            if takes is not None:
                location = "query" if method == "GET" else "json"
                wrapped = self.arguments(takes, location=location, required="minProperties" in takes.ALSO)(wrapped)
            self.route(path, methods=[method], parameters=list(parameters))(wrapped)
            return view

        return connect

    def _store_endpoint_docs(self, endpoint: str, obj: Any, *more: Any, **options: Any) -> None:
        super()._store_endpoint_docs(endpoint, obj, *more, **options)
        for method, described in self._docs[endpoint].items():
            if method != "parameters":
                described.setdefault("manual_doc", {})["operationId"] = endpoint


def _document_refusals(
    doc: dict[str, Any], doc_info: dict[str, Any], *, api: Any, spec: Any, method: str, **_more: Any
) -> dict[str, Any]:
    """Add what every operation may answer, what those do that take a body, and the ETag of those that read."""
    responses = doc.setdefault("responses", {})
    common = (*IN_EVERY_OPERATION, *(WITH_A_BODY if "requestBody" in doc else ()))
    if method == "get":
        responses[304] = NOT_MODIFIED
        responses[200].setdefault("headers", {}).update(ETAG)
        doc.setdefault("parameters", []).append(IF_NONE_MATCH)
    for status in common:
        responses.setdefault(status, HTTPStatus(status).name)
    return doc


def _explain_trouble(_error: StoreError) -> Response:
    response = refusal(503, "The database could not do it now. Try again in a moment.")
    response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response
