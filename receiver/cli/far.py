"""Follows the events of a Signalbox elsewhere through its API, and remembers in a file how far it got."""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

import httpx

from receiver import words
from receiver.errors import SignalboxError
from receiver.listing import Item

PAGE = 200
# Two transactions may commit in another order than that of their places (PostgreSQL): so far below the newest known
# event is looked for what came late.
LATE_PLACES = 100
REMEMBERED = 2000
PATIENCE_SECONDS = 30


class FarError(SignalboxError):
    """The other Signalbox did not answer, or cannot now: it may do so later."""


@dataclass(slots=True)
class Cursor:
    """The ids of the events that are known, in the order in which they came; None before the first look."""

    path: Path
    known: dict[str, None] = field(default_factory=dict)
    is_new: bool = True

    @classmethod
    def read(cls, path: Path) -> "Cursor":
        """Read a cursor, or begin one; SignalboxError for a file that is none."""
        try:
            ids = json.loads(path.read_text(encoding="utf-8"))["known"]
            return cls(path, dict.fromkeys(map(str, ids)), is_new=False)
        except FileNotFoundError:
            return cls(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SignalboxError(f"{path} is no cursor ({type(error).__name__}): delete it, and begin anew.") from error

    def pass_by(self, ids: Iterable[str]) -> None:
        """Know these as well, and keep that: whole, or as it was."""
        self.known.update(dict.fromkeys(ids))
        self.is_new = False
        kept = list(self.known)[-REMEMBERED:]
        self.known = dict.fromkeys(kept)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".new")
        beside.write_text(json.dumps({"known": kept}), encoding="utf-8")
        beside.replace(self.path)


def begin(pages: Iterable[Sequence[Item]], since: datetime) -> tuple[list[str], list[str]]:
    """Give the ids of what came before a time, as far as they have to be known, and of what came since; in order."""
    before: list[str] = []
    after: list[str] = []
    for item in chain.from_iterable(pages):
        (before if words.parse(item["received_at"]) < since else after).append(item["id"])
        if len(before) == LATE_PLACES:
            break
    return before[::-1], after[::-1]


def unknown(pages: Iterable[Sequence[Item]], known: Collection[str]) -> list[str]:
    """Give the ids that are not known, in the order in which they came, down to where known ones lie close together."""
    found: list[str] = []
    passed = 0
    for item in chain.from_iterable(pages):
        if item["id"] not in known:
            found.append(item["id"])
        elif (passed := passed + 1) == LATE_PLACES:
            break
    return found[::-1]


class Far:
    """A Signalbox that is reached through its JSON API, narrowed to some of its events."""

    def __init__(self, base: str, token: str | None, filters: dict[str, str], *, trust_env: bool = True) -> None:
        self.base = base
        self._filters = filters
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(base_url=base, headers=headers, timeout=PATIENCE_SECONDS, trust_env=trust_env)
        self._etag = self._came_with = ""

    def close(self) -> None:
        self._client.close()

    def pages(self) -> Iterator[list[Item]]:
        """Give the listing, newest first, page by page; nothing where it is as it was when all of it was settled."""
        asked = {**self._filters, "limit": str(PAGE)}
        first = self._get("/api/events", asked, headers={"If-None-Match": self._etag} if self._etag else {})
        if first.status_code == 304:
            return
        self._came_with = first.headers.get("ETag", "")
        page = _json(first)
        yield page["items"]
        while page["next"]:
            page = _json(self._get("/api/events", asked | {"cursor": page["next"]}))
            yield page["items"]

    def settle(self) -> None:
        """What the last listing held is dealt with: it need not be given again."""
        self._etag = self._came_with

    def event(self, event_id: str) -> Item | None:
        """Give an event whole; None where it is gone."""
        answer = self._get(f"/api/events/{event_id}", {}, may_miss=True)
        return None if answer.status_code == 404 else _json(answer)

    def _get(
        self, path: str, asked: dict[str, str], *, headers: dict[str, str] | None = None, may_miss: bool = False
    ) -> httpx.Response:
        try:
            answer = self._client.get(path, params=asked, headers=headers)
        except httpx.HTTPError as error:
            raise FarError(f"No answer from {self.base} ({str(error) or type(error).__name__})") from error
        if answer.status_code in (401, 403):
            raise SignalboxError(f"{self.base} wants its own API_TOKEN, in the environment or .env: API_TOKEN=…")
        if answer.status_code == 429 or answer.status_code >= 500:
            raise FarError(f"{self.base} answers {answer.status_code}")
        if answer.status_code not in (200, 304) and not (may_miss and answer.status_code == 404):
            raise SignalboxError(f"{self.base} answers {answer.status_code} to {path}: is that a Signalbox?")
        return answer


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError as error:
        raise SignalboxError(f"{answer.url} does not answer in JSON: is that a Signalbox?") from error
