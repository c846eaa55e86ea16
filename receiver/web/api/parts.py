"""What the page of the documentation is made of: sections, operations, shapes, fields, answers."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A parameter, or a field of a shape; `shape` names the one that it holds, as itself, in a list or by name."""

    name: str
    kind: str
    shape: str | None
    description: str
    required: bool
    choices: Sequence[str]
    limits: str
    example: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """A JSON object, and an example of it; `least` fields have to be there, whichever they are."""

    name: str
    description: str
    fields: Sequence[Field]
    example: str
    least: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation may answer; what it refuses has one shape, which is not named again and again."""

    status: str
    description: str
    shape: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one address."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    parameters: Sequence[Field]
    body: Shape | None
    answers: Sequence[Answer]
    example: str
    curl: str


@dataclass(frozen=True, slots=True)
class Section:
    """The operations of one kind of thing."""

    name: str
    description: str
    operations: Sequence[Operation]
