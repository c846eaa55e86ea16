"""Watches for WEBHOOK.DELETED beside the worker: marks the registration dead, raises an alarm, registers again."""

import queue
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from receiver import signals
from receiver.errors import BoxError, SettingsError, StoreError, UnreadableError
from receiver.registrations import arrivals, store
from receiver.registrations.account import Account
from receiver.sources import box, wire
from receiver.storage import db
from receiver.storage.tables import events

if TYPE_CHECKING:
    from receiver.registrations.client import WebhookClient

DELETED = f"{box.NAME}:{arrivals.DELETED}"
REVIVED_AT_MOST_EVERY = timedelta(hours=1)
_GLANCE = timedelta(minutes=1)
_PAUSE_IN_TROUBLE = timedelta(seconds=1)
_LOOKED_BACK = 2000
_LONGEST_REASON = 100
_NUMBER = re.compile(r"[0-9]{1,20}")


class Sentinel:
    """Hears of every routed event, and acts on one type, in a thread of its own, so that nobody waits for Box.

    With an account, a dead registration is made again, at most once within `REVIVED_AT_MOST_EVERY`.
    """

    def __init__(self, engine: sa.Engine, *, clock: Callable[[], datetime], account: Account | None = None) -> None:
        self._engine = engine
        self._clock = clock
        self._account = account
        self._heard: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._is_over = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch for as long as the worker runs."""
        signals.event_routed.connect(self.hear, weak=False)
        thread = threading.Thread(target=self._watch, name="sentinel", daemon=True)
        thread.start()
        try:
            yield
        finally:
            signals.event_routed.disconnect(self.hear)
            self._is_over.set()
            self._heard.put(None)
            thread.join(timeout=1)

    def hear(self, _worker: object, *, event_id: str, type: str, **_more: Any) -> None:
        """Queue an event to be looked at; this is called for each of them, and has to be quick."""
        if type == DELETED:
            self._heard.put(event_id)

    def _watch(self) -> None:
        self._until_it_works(self.catch_up)
        while not self._is_over.is_set():
            self._until_it_works(self.revive)
            try:
                event_id = self._heard.get(timeout=_GLANCE.total_seconds())
            except queue.Empty:
                continue
            if event_id is not None:
                self._until_it_works(partial(self.heed, event_id))

    def _until_it_works(self, act: Callable[[], None]) -> None:
        while not self._is_over.is_set():
            try:
                act()
            except StoreError as error:
                signals.worker_troubled.send(self, error=error)
                self._is_over.wait(_PAUSE_IN_TROUBLE.total_seconds())
            else:
                return

    def catch_up(self) -> None:
        """Act on events that were routed by a worker which ended before its sentinel had acted on them."""
        found = arrivals.look_back(self._engine, limit=_LOOKED_BACK)
        for heard in found.by_webhook.values():
            if heard.name == arrivals.DELETED:
                self.heed(heard.event_id, is_news=False)

    def heed(self, event_id: str, *, is_news: bool = True) -> None:
        """Mark the registration of this event dead, and raise the alarm: once, however many workers hear of it."""
        webhook_id, reason = self._read(event_id)
        target = store.bury(self._engine, webhook_id, reason=reason, now=self._clock())
        # A sentinel that caught up with it before this one heard of it has raised the alarm.
        if target is not None or (is_news and not store.is_buried(self._engine, webhook_id)):
            signals.registration_died.send(
                self, event_id=event_id, webhook_id=webhook_id, target=None if target is None else str(target)
            )

    def _read(self, event_id: str) -> tuple[str, str | None]:
        """Return the webhook that an event says is gone, and why; the id is "" if the event has no valid one."""
        with db.reading(self._engine) as connection:
            body = connection.execute(sa.select(events.c.body).where(events.c.id == event_id)).scalar_one_or_none()
        try:
            payload = wire.read_object(body or b"")
        except UnreadableError:
            payload = {}
        webhook, info = payload.get("webhook"), payload.get("additional_info")
        webhook_id = webhook.get("id") if isinstance(webhook, dict) else None
        reason = info.get("reason") if isinstance(info, dict) else None
        return (
            webhook_id if isinstance(webhook_id, str) and _NUMBER.fullmatch(webhook_id) else "",
            reason[:_LONGEST_REASON] if isinstance(reason, str) and reason.isprintable() else None,
        )

    def revive(self) -> None:
        """Register dead webhooks again, if that is wanted and nobody tried lately."""
        if self._account is None or not store.has_dead(self._engine):
            return
        dead = store.take_dead(self._engine, now=self._clock(), pause=REVIVED_AT_MOST_EVERY)
        if not dead:
            return
        # Imported here: it loads the SDK, which may be missing.
        try:
            from receiver.registrations.client import WebhookClient

            with WebhookClient(self._account) as client:
                for one in dead:
                    self._make_again(client, one)
        except (SettingsError, BoxError) as error:
            signals.registration_unrevived.send(self, target=None, error=error)

    def _make_again(self, client: "WebhookClient", one: store.Kept) -> None:
        from receiver.registrations import apply

        try:
            webhook_id = apply.create(client, self._engine, one.target, one.content, clock=self._clock)
        except BoxError as error:
            signals.registration_unrevived.send(self, target=str(one.target), error=error)
        else:
            signals.registration_revived.send(self, target=str(one.target), webhook_id=webhook_id)
