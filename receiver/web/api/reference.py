"""What /api/docs shows, read out of the OpenAPI document."""

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

from receiver.web.api.parts import Answer, Field, Operation, Section, Shape
from receiver.web.api.wording import Schema, kind_of, limits_of, name_in, written

METHODS = ("get", "post", "patch", "delete")
_PLAIN = {"integer": 0, "number": 0, "boolean": False, "string": ""}


class Reference:
    """Reads an OpenAPI document; `address` and `token` are what the examples to copy are made with."""

    def __init__(self, document: Schema, *, address: str, needs_token: bool) -> None:
        self._document = document
        self._address = address.rstrip("/")
        self._needs_token = needs_token

    def sections(self) -> list[Section]:
        operations = list(self._operations())
        return [
            Section(tag["name"], tag["description"], [one for name, one in operations if name == tag["name"]])
            for tag in self._document["tags"]
        ]

    def shapes(self) -> list[Shape]:
        """Give what is given: shapes that are asked for stand with their operations."""
        named = self._document["components"]["schemas"]
        return [self._shape(name, named[name]) for name in sorted(named) if not name.endswith("Asked")]

    def _operations(self) -> Iterator[tuple[str, Operation]]:
        for path, item in self._document["paths"].items():
            for method in METHODS:
                if method in item:
                    yield item[method]["tags"][0], self._operation(path, method, item)

    def _operation(self, path: str, method: str, item: Schema) -> Operation:
        said = item[method]
        described = [*item.get("parameters", ()), *said.get("parameters", ())]
        parameters = [self._parameter(one) for one in described]
        body = self._asked(said)
        return Operation(
            id=said["operationId"],
            method=method.upper(),
            path=path,
            summary=said["summary"],
            description=said.get("description", ""),
            parameters=[one for one in parameters if one.where != "header"],
            body=body,
            answers=[self._answer(status, found) for status, found in sorted(said["responses"].items())],
            example=self._example_answer(said),
            curl=self._curl(method, path, parameters, body),
        )

    def _parameter(self, said: Schema) -> Field:
        found = self._field(said["name"], said["schema"], required=said.get("required", False))
        example = said.get("example", found.example)
        return Field(
            name=found.name,
            kind=found.kind,
            shape=None,
            description=said.get("description", ""),
            required=found.required,
            choices=found.choices,
            limits=found.limits,
            example=str(example),
            where=said["in"],
        )

    def _asked(self, said: Schema) -> Shape | None:
        content = said.get("requestBody", {}).get("content", {}).get("application/json")
        return self._shape("", self._resolve(content["schema"])) if content else None

    def _answer(self, status: str, said: Schema) -> Answer:
        found = self._resolve(said)
        media: Schema = next(iter(found.get("content", {}).values()), {})
        shape = name_in(media.get("schema", {}))
        return Answer(status, found["description"], shape if status < "300" else None)

    def _example_answer(self, said: Schema) -> str:
        content = next(found for status, found in said["responses"].items() if status.startswith("2"))["content"]
        media = content.get("application/json")
        return written(self._example(media["schema"])) if media else ""

    def _curl(self, method: str, path: str, parameters: Sequence[Field], body: Shape | None) -> str:
        for one in parameters:
            path = path.replace(f"{{{one.name}}}", one.example)
        query = {one.name: one.example for one in parameters if one.where == "query" and one.name == "limit"}
        address = f"{self._address}{path}" + (f"?{urlencode(query)}" if query else "")
        words = ["curl"] + ([] if method == "get" else ["-X", method.upper()])
        line = shlex.join([*words, address])
        if self._needs_token:
            line += ' -H "Authorization: Bearer $API_TOKEN"'
        if body is not None:
            line += f" --json {shlex.quote(json.dumps(json.loads(body.example)))}"
        return line

    def _shape(self, name: str, schema: Schema) -> Shape:
        required = schema.get("required", ())
        fields = [self._field(one, said, required=one in required) for one, said in schema["properties"].items()]
        return Shape(
            name, schema.get("description", ""), fields, written(self._example(schema)), schema.get("minProperties", 0)
        )

    def _field(self, name: str, schema: Schema, *, required: bool) -> Field:
        example = self._example(schema)
        return Field(
            name=name,
            kind=kind_of(schema),
            shape=name_in(schema),
            description=schema.get("description", ""),
            required=required,
            choices=schema.get("enum", ()),
            limits=limits_of(schema),
            example=example if isinstance(example, str) else json.dumps(example),
        )

    def _resolve(self, said: Schema) -> Schema:
        while "$ref" in said:
            *_, kind, name = said["$ref"].split("/")
            said = self._document["components"][kind][name]
        return said

    def _example(self, schema: Schema) -> Any:
        """Give an example of what a schema describes: its own, or one made of those of its parts."""
        schema = self._resolve(schema)
        if found := schema.get("examples") or schema.get("enum"):
            return found[0]
        if "anyOf" in schema and "type" not in schema:
            return self._example(schema["anyOf"][0])
        kind = schema.get("type", "object")
        if kind == "array":
            return [self._example(schema["items"])]
        if kind == "object":
            return self._example_object(schema)
        return _PLAIN.get(kind) if isinstance(kind, str) else None

    def _example_object(self, schema: Schema) -> dict[str, Any]:
        required = schema.get("required", ())
        said = schema.get("properties", {})
        shown = required or [name for name in said if "examples" in said[name]]
        return {name: self._example(one) for name, one in said.items() if name in shown}
