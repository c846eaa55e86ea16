"""Registrations as code: reads config/box_webhooks.toml, and adds to it the webhooks that Box has already."""

import json
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marshmallow import Schema, ValidationError, fields

from receiver.errors import RegistrationError
from receiver.registrations.rules import (
    MOST_REGISTRATIONS,
    Content,
    Target,
    Webhook,
    check_address,
    check_target,
    check_triggers,
)
from receiver.storage import private_files

ENVIRONMENTS = ("development", "production")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A registration that the file asks for."""

    target: Target
    content: Content


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the file is read: for which environment, and what is valid there."""

    env: str
    usual_address: str | None  # for registrations that name none
    is_box: bool  # a stand-in accepts addresses that Box does not
    allow_unknown: bool = False


class _Registration(Schema):
    target = fields.String(required=True)
    triggers = fields.List(fields.String(), required=True)
    address = fields.String()


class _Part(Schema):
    address = fields.String()
    registrations = fields.List(fields.Nested(_Registration))


class _File(_Part):
    development = fields.Nested(_Part)
    production = fields.Nested(_Part)


def read(path: Path, how: Reading) -> list[Wanted]:
    """Return what the file wants in this environment; RegistrationError lists every mistake.

    A file that does not exist wants nothing.
    """
    content = _load(path)
    problems: list[str] = []
    found = list(_registrations(content, how, problems))
    problems += _twice(item["target"] for _, item in _items(content, how.env))
    if len(found) > MOST_REGISTRATIONS:
        problems.append(f"{len(found):,} registrations: Box allows {MOST_REGISTRATIONS:,} at most.")
    if problems:
        raise RegistrationError(problems, where=str(path))
    return found


def _load(path: Path) -> dict[str, Any]:
    try:
        return _check_form(_parse(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise RegistrationError([f"cannot be read: {error.strerror}."], where=str(path)) from None
    except ValidationError as error:
        raise RegistrationError(list(_sentences(error.messages_dict)), where=str(path)) from None
    except ValueError as error:  # invalid TOML, or invalid UTF-8
        raise RegistrationError([f"is not TOML: {error}."], where=str(path)) from None


def _parse(text: str) -> dict[str, Any]:
    return tomllib.loads(text)


def _check_form(content: dict[str, Any]) -> dict[str, Any]:
    loaded: dict[str, Any] = _File().load(content)
    return loaded


def _sentences(messages: Mapping[Any, Any], *path: str) -> Iterator[str]:
    """Yield marshmallow's messages as lines: `production.registrations 2, target: Missing data for required field.`"""
    for name, told in messages.items():
        here = (*path[:-1], f"{path[-1]} {name + 1}") if isinstance(name, int) and path else (*path, str(name))
        if isinstance(told, Mapping):
            yield from _sentences(told, *here)
        else:
            yield f"{'.'.join(here)}: {' '.join(map(str, told))}"


def _registrations(content: Mapping[str, Any], how: Reading, problems: list[str]) -> Iterator[Wanted]:
    """Yield what is wanted everywhere and in this environment; append what is wrong to `problems`."""
    usual = content.get(how.env, {}).get("address") or content.get("address") or how.usual_address
    for place, item in _items(content, how.env):
        try:
            yield _wanted(item, usual, how)
        except RegistrationError as error:
            problems += [f"{place} ({item['target'][:40]}): {problem}" for problem in error.problems]


def _items(content: Mapping[str, Any], env: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each registration as it is written, with its place."""
    for place, part in (("registrations", content), (f"{env}.registrations", content.get(env, {}))):
        for number, item in enumerate(part.get("registrations", ()), 1):
            yield f"{place} {number}", item


def _wanted(item: Mapping[str, Any], usual: str | None, how: Reading) -> Wanted:
    try:
        target = Target.read(item["target"])
    except ValueError as error:
        raise RegistrationError([str(error)]) from None
    address = item.get("address") or usual
    return Wanted(target, check(target, address, item["triggers"], how))


def check(target: Target, address: str | None, triggers: Iterable[str], how: Reading) -> Content:
    """Return the content of a registration; RegistrationError says why Box would not accept it."""
    triggers = list(triggers)
    problems = [*check_target(target), *check_triggers(triggers, target, allow_unknown=how.allow_unknown)]
    if address is None:
        problems.append("no address: give it one, or set PUBLIC_URL to where this installation is reached.")
    else:
        problems += check_address(address, is_box=how.is_box)
    if problems or address is None:
        raise RegistrationError(problems)
    return Content.of(address, triggers)


def _twice(targets: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for target in targets:
        if target in seen:
            yield f"{target[:100]} is there twice: an item has one webhook, with all of its triggers."
        seen.add(target)


def add(path: Path, webhooks: Iterable[Webhook], *, env: str) -> None:
    """Append registrations to the file, and keep everything in it; RegistrationError if that cannot be done.

    Either all of them are in the file then, or it is unchanged.
    """
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    blocks = [_block(one, env) for one in _whole(webhooks, path)]
    new = "\n".join([old.rstrip("\n") + "\n", *blocks] if old else blocks)
    try:
        _check_form(_parse(new))
    except (ValueError, ValidationError):
        problem = f"has {env} in a form that nothing can be added to: write it as [[{env}.registrations]]."
        raise RegistrationError([problem], where=str(path)) from None
    draft = path.with_name(f".{path.name}.draft")
    private_files.write(draft, new)
    if path.exists():
        draft.chmod(stat.S_IMODE(path.stat().st_mode))
    draft.replace(path)


def _whole(webhooks: Iterable[Webhook], path: Path) -> Iterator[Webhook]:
    """Yield the webhooks; RegistrationError for text with half a surrogate pair, which JSON allows and no file does."""
    for one in webhooks:
        try:
            "".join([one.content.address, *one.content.triggers, str(one.target)]).encode()
        except UnicodeEncodeError:
            problem = (
                f"cannot hold webhook {one.id}: Box has text for it that is not Unicode. signalbox box update fixes it."
            )
            raise RegistrationError([problem], where=str(path)) from None
        yield one


def _block(one: Webhook, env: str) -> str:
    triggers = ", ".join(map(_quoted, one.content.triggers))
    return (
        f"[[{env}.registrations]]\n"
        f"target = {_quoted(str(one.target))}\n"
        f"triggers = [{triggers}]\n"
        f"address = {_quoted(one.content.address)}\n"
    )


def _quoted(text: str) -> str:
    """Return a text as a string of TOML: JSON's, without what TOML forbids (surrogates, and an unescaped U+007F)."""
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in json.dumps(text, ensure_ascii=False))
