"""Follows the events of a Signalbox elsewhere through its API."""

import base64
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import Any
from urllib.parse import quote, urlencode

from receiver import humanize
from receiver.cli import screen
from receiver.errors import SignalboxError
from receiver.humanize import plain
from receiver.observe.documents import Document
from receiver.outbound import Client, OutboundError, Reply, Trouble, read_json
from receiver.sources import SOURCES

PAGE = 200
# Two transactions may commit in another order than that of their places (PostgreSQL): so far below the newest known
# event is looked for what came late.
LATE_PLACES = 100
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
MOST_PAGES = 10_000
MOST_BYTES = 32 * 1024 * 1024  # an event has its body twice, of a megabyte each, and its headers


class FarError(SignalboxError):
    """The other Signalbox did not answer, or cannot now: it may do so later."""


def begin(pages: Iterable[Sequence[Document]], since: datetime) -> tuple[list[str], list[str]]:
    """Give the ids of what came before a time, as far as they have to be known, and of what came since; in order."""
    before: list[str] = []
    after: list[str] = []
    for item in chain.from_iterable(pages):
        (before if humanize.parse(item["received_at"]) < since else after).append(item["id"])
        if len(before) == LATE_PLACES:
            break
    return before[::-1], after[::-1]


def unknown(pages: Iterable[Sequence[Document]], known: Collection[str]) -> list[str]:
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

    def __init__(self, base: str, token: str | None, filters: dict[str, str], *, within: timedelta) -> None:
        self.base = base
        self._filters = filters
        self._headers = [("Authorization", f"Bearer {token}")] if token else []
        self._client = Client(within=within, most=MOST_BYTES)
        self._etag = self._came_with = ""

    def close(self) -> None:
        self._client.close()

    def pages(self) -> Iterator[list[Document]]:
        """Give the listing, newest first, page by page; nothing where it is as it was when all of it was settled."""
        asked = {**self._filters, "limit": str(PAGE)}
        seen: set[str] = set()
        reply = self._get("/api/events", asked, headers=[("If-None-Match", self._etag)] if self._etag else [])
        if reply.status == 304:
            return
        self._came_with = reply.headers.get("ETag", "")
        for _ in range(MOST_PAGES):
            items, cursor = self._page(reply)
            yield items
            if not cursor:
                return
            if cursor in seen:
                break
            seen.add(cursor)
            asked["cursor"] = cursor
            reply = self._get("/api/events", asked)
        raise FarError(f"{self.base} gives the same pages of events again and again")

    def settle(self) -> None:
        """What the last listing held is dealt with: it need not be given again."""
        self._etag = self._came_with

    def event(self, event_id: str) -> Document | None:
        """Give an event whole; None where it is gone."""
        reply = self._get(f"/api/events/{quote(event_id, safe='')}", {}, may_miss=True)
        if reply.status == 404:
            return None
        item = self._json(reply)
        if not _is_event(item):
            raise self._no_signalbox("an event has another shape")
        if item["source"] not in SOURCES:
            raise SignalboxError(f"An event of {self.base} is of {plain(item['source'], most=40)}, no source here.")
        event: Document = item
        return event

    def _page(self, reply: Reply) -> tuple[list[Document], str]:
        page = self._json(reply)
        items, cursor = (page.get("items"), page.get("next")) if isinstance(page, dict) else (None, None)
        if not isinstance(items, list) or not (cursor is None or isinstance(cursor, str)):
            raise self._no_signalbox("a page of events has another shape")
        if not all(_has_texts(one, "id", "received_at") and _is_listed(one) for one in items):
            raise self._no_signalbox("an event of a page has another shape")
        return items, cursor or ""

    def _get(
        self, path: str, asked: Mapping[str, str], *, headers: Sequence[tuple[str, str]] = (), may_miss: bool = False
    ) -> Reply:
        url = f"{self.base}{path}?{urlencode(asked)}" if asked else f"{self.base}{path}"
        try:
            with screen.waiting(self.base, most=self._client.within):
                reply = self._client.fetch("GET", url, headers=[*self._headers, *headers])
        except OutboundError as error:
            # A certificate is as wrong a moment later.
            kind = SignalboxError if error.trouble is Trouble.TLS else FarError
            raise kind(f"No response of {self.base} ({str(error).rstrip('.')})") from error
        if reply.status in (401, 403):
            raise SignalboxError(f"{self.base} wants its own API_TOKEN, in the environment or .env: API_TOKEN=…")
        if reply.status == 429 or reply.status >= 500:
            raise FarError(f"{self.base} answers {reply.status}")
        if reply.status not in (200, 304) and not (may_miss and reply.status == 404):
            raise SignalboxError(f"{self.base} answers {reply.status} to {path}: is that a Signalbox?")
        return reply

    def _json(self, reply: Reply) -> Any:
        try:
            return read_json(reply)
        except OutboundError as error:
            if reply.fault and not reply.is_cut:
                raise FarError(f"{self.base} does not answer well: {error}") from error
            raise self._no_signalbox(str(error)) from error

    def _no_signalbox(self, why: str) -> SignalboxError:
        return SignalboxError(f"{self.base} does not answer as a Signalbox does: {why}. Is that one?")


def _has_texts(item: Any, *names: str) -> bool:
    return isinstance(item, dict) and all(isinstance(item.get(name), str) for name in names)


def _is_listed(item: Mapping[str, str]) -> bool:
    try:
        return _ID.fullmatch(item["id"]) is not None and humanize.parse(item["received_at"]).tzinfo is not None
    except ValueError:
        return False


def _is_event(item: Any) -> bool:
    if not _has_texts(item, "id", "type", "source", "body_base64") or not isinstance(item.get("headers"), list):
        return False
    try:
        base64.b64decode(item["body_base64"], validate=True)
    except ValueError:
        return False
    return _ID.fullmatch(item["id"]) is not None and all(map(_is_header, item["headers"]))


def _is_header(line: Any) -> bool:
    return isinstance(line, list) and len(line) == 2 and all(isinstance(one, str) for one in line)
