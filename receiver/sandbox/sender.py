"""The courier: sends every event of the sandbox, retries until it counts as delivered, and writes a log."""

import json
import logging
import sqlite3
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event as Bell
from threading import Thread
from typing import Any

from receiver.sandbox import bodies
from receiver.sandbox.clock import Clock
from receiver.sandbox.faults import Faults
from receiver.sandbox.post import Answer, Post
from receiver.sandbox.registrations import Registrations
from receiver.sandbox.schedules import SCHEDULES, counts
from receiver.sandbox.store import SandboxStore
from receiver.sources import samples

# A receiver that responds within this time gets its events in order; a slower one holds nobody up.
_POLITENESS = timedelta(milliseconds=250)
_NAP = timedelta(milliseconds=500)
_AT_ONCE = 16
_NO_ID = 2**62
_KEPT = 10_000  # deliveries in the log, and finished events

Told = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """An event on its way to one address."""

    source: str
    name: str
    address: str
    payload: Mapping[str, Any]
    schedule: str
    faults: Faults
    webhook_id: int | None = None


class Courier:
    """Keeps what is to be sent in the store, so that a restarted sandbox goes on where it stopped."""

    def __init__(
        self,
        store: SandboxStore,
        clock: Clock,
        registrations: Registrations,
        *,
        keys: Mapping[str, Mapping[str, str]],
        post: Post,
        told: Told | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._registrations = registrations
        self._keys = keys
        self._post = post
        self._told = told
        self.bell = Bell()  # rings when there may be something to send
        # These were on their way when the sandbox ended: whether they arrived is unknown.
        store.write("UPDATE events SET state = 'waiting' WHERE state = 'sending'")

    def take(self, events: Sequence[Outgoing]) -> list[int]:
        """Accept events for sending and return their ids, in the order in which they happened."""
        ids = []
        with self._store.change():
            for outgoing in events:
                ids += [self._write(outgoing) for _ in range(outgoing.faults.duplicates + 1)]
            if any(outgoing.faults.reorder for outgoing in events):
                self._turn_around(ids)
        self.bell.set()
        return ids

    def _write(self, outgoing: Outgoing) -> int:
        return self._store.write(
            "INSERT INTO events (source, name, webhook_id, address, body, faults, schedule, happened, due_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            outgoing.source,
            outgoing.name,
            outgoing.webhook_id,
            outgoing.address,
            samples.encode(outgoing.source, outgoing.payload),
            outgoing.faults.written(),
            outgoing.schedule,
            self._clock.wall().isoformat(),
            (self._clock.now() + outgoing.faults.delay_span()).timestamp(),
        )

    def _turn_around(self, ids: Sequence[int]) -> None:
        """Make the last of these due first; a millisecond of the sandbox's time between them is enough."""
        for place, id_ in enumerate(reversed(ids)):
            self._store.write("UPDATE events SET due_at = due_at + ? WHERE id = ?", place / 1000, id_)

    def next_due(self) -> datetime | None:
        """Return when the next thing has to be done: an event to send, or a webhook to remove."""
        row = self._store.rows("SELECT min(due_at) AS first FROM events WHERE state = 'waiting'")[0]
        times = [at for at in (row["first"], self._registrations.next_forsaken_at()) if at is not None]
        return datetime.fromtimestamp(min(times), UTC) if times else None

    def claim(self) -> list[sqlite3.Row]:
        """Claim what is due by now; each event is returned once."""
        self._remove_forsaken()
        with self._store.change():
            # One microsecond of tolerance: a moment that was converted to float may be a little earlier.
            due = self._store.rows(
                "SELECT * FROM events WHERE state = 'waiting' AND due_at <= ? ORDER BY due_at, id LIMIT 500",
                self._clock.now().timestamp() + 1e-6,
            )
            for event in due:
                self._store.write("UPDATE events SET state = 'sending' WHERE id = ?", event["id"])
        return due

    def _remove_forsaken(self) -> None:
        for registration in self._registrations.forsaken():
            self.give_up(registration.id)

    def give_up(self, webhook_id: int) -> list[int]:
        """Remove a webhook as Box does, and send WEBHOOK.DELETED to its address; return the ids of the events."""
        with self._store.change():
            registration = self._registrations.find(webhook_id)
            if registration is None:
                return []
            self._registrations.remove(registration)
            payload = bodies.webhook_deleted(registration, at=self._clock.wall())
            outgoing = Outgoing(
                source="box",
                name="WEBHOOK.DELETED",
                address=registration.address,
                payload=payload,
                schedule="box",
                faults=Faults(),
                webhook_id=webhook_id,
            )
            return self.take([outgoing])

    def send(self, event: sqlite3.Row) -> None:
        """Make one delivery of an event, log the result, and set when the next is due."""
        faults = Faults.read(event["faults"])
        sent_at = self._clock.wall()
        signed_at = datetime.fromisoformat(event["happened"]) if faults.same_signature else sent_at
        delivery_id = str(uuid.uuid4()) if event["source"] == "box" else ""
        headers = samples.signed(
            event["source"],
            event["body"],
            faults.keys(self._keys[event["source"]]),
            at=signed_at,
            delivery_id=delivery_id,
        )
        answer = self._post(event["address"], faults.body(event["body"]), headers)
        is_good = counts(event["source"], answer.status)
        if is_good and event["sent"] < faults.lost_answers:
            answer, is_good = (
                Answer(None, f"answered {answer.status}, and the answer got lost", answer.seconds),
                False,
            )
        self._record(event, answer, sent_at=sent_at, delivery_id=delivery_id, is_good=is_good)

    def _record(
        self, event: sqlite3.Row, answer: Answer, *, sent_at: datetime, delivery_id: str, is_good: bool
    ) -> None:
        now = self._clock.now().timestamp()
        number, first_at = event["sent"] + 1, event["first_at"] or now
        next_at = None if is_good else _next_at(event["schedule"], number, first_at)
        state = "delivered" if is_good else "waiting" if next_at is not None else "failed"
        sent = sent_at.isoformat(timespec="milliseconds")
        answered = (answer.status, answer.said, answer.seconds, is_good)
        with self._store.change():
            self._store.write(
                "UPDATE events SET sent = ?, first_at = ?, due_at = ?, state = ? WHERE id = ?",
                number,
                first_at,
                next_at,
                self._last_word(event, state),
                event["id"],
            )
            made = self._store.write(
                "INSERT INTO deliveries (event_id, number, sent, sent_at, delivery_id, status, said, seconds, counts,"
                " next_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                *(event["id"], number, sent, now, delivery_id, *answered, next_at),
            )
            if is_good and event["webhook_id"] is not None:
                self._registrations.delivered(event["webhook_id"])
            self._forget(made, event["id"])
            self._store.note("now", now)
        if self._told:
            self._told(self.log(limit=1, before=made + 1)[0])

    def _forget(self, delivery: int, event: int) -> None:
        """Delete the oldest deliveries and finished events beyond the limit."""
        self._store.write("DELETE FROM deliveries WHERE id <= ?", delivery - _KEPT)
        self._store.write("DELETE FROM events WHERE id <= ? AND due_at IS NULL", event - _KEPT)

    def _last_word(self, event: sqlite3.Row, state: str) -> str:
        """Return the new state of an event: dropped if its webhook is gone, except for WEBHOOK.DELETED itself."""
        is_gone = event["webhook_id"] is not None and self._registrations.find(event["webhook_id"]) is None
        return "dropped" if state == "waiting" and is_gone and event["name"] != "WEBHOOK.DELETED" else state

    def run_due(self) -> int:
        """Send what is due by now, one after the other, and return the number of deliveries."""
        sent = 0
        while due := self.claim():
            for event in due:
                self.send(event)
            sent += len(due)
        return sent

    def pass_time(self, span: timedelta) -> int:
        """Let so much time pass at once, and send what becomes due meanwhile, in its order."""
        end = self._clock.now() + span
        sent = self.run_due()
        while (due := self.next_due()) is not None and due <= end:
            self._clock.skip(due - self._clock.now())
            sent += self.run_due()
        self._clock.skip(end - self._clock.now())
        return sent

    def log(self, *, limit: int = 100, before: int | None = None, events: Sequence[int] = ()) -> list[dict[str, Any]]:
        """Return deliveries, the newest first; of some events, or of all."""
        rows = self._store.rows(
            "SELECT deliveries.*, source, name, webhook_id, address, state, events.sent AS latest FROM deliveries"
            " JOIN events ON events.id = event_id WHERE deliveries.id < ?"
            " AND (? OR event_id IN (SELECT value FROM json_each(?))) ORDER BY deliveries.id DESC LIMIT ?",
            _NO_ID if before is None else before,
            not events,
            json.dumps(list(events)),
            limit,
        )
        return [self._delivery(row) for row in rows]

    def _delivery(self, row: sqlite3.Row) -> dict[str, Any]:
        next_at = None if row["next_at"] is None else datetime.fromtimestamp(row["next_at"], UTC)
        return {
            "id": row["id"],
            "event": row["event_id"],
            "source": row["source"],
            "name": row["name"],
            "webhook": None if row["webhook_id"] is None else str(row["webhook_id"]),
            "address": row["address"],
            "number": row["number"],
            "delivery_id": row["delivery_id"] or None,
            "sent_at": row["sent"],
            "sandbox_time": datetime.fromtimestamp(row["sent_at"], UTC).isoformat(timespec="seconds"),
            "status": row["status"],
            "answer": row["said"],
            "seconds": round(row["seconds"], 3),
            "delivered": bool(row["counts"]),
            "next_at": next_at and next_at.isoformat(timespec="seconds"),
            "next_in_seconds": self._true_seconds_until(next_at) if row["number"] == row["latest"] else None,
            "state": row["state"],
        }

    def _true_seconds_until(self, at: datetime | None) -> float | None:
        return None if at is None else round(self._clock.true_span(at - self._clock.now()).total_seconds(), 1)

    def events(self, ids: Sequence[int] = ()) -> list[dict[str, Any]]:
        """Return events, oldest first; those with some ids, or all."""
        rows = self._store.rows(
            "SELECT id, source, name, webhook_id, address, sent, state, due_at FROM events"
            " WHERE ? OR id IN (SELECT value FROM json_each(?)) ORDER BY id",
            not ids,
            json.dumps(list(ids)),
        )
        return [self._event(row) for row in rows]

    def _event(self, row: sqlite3.Row) -> dict[str, Any]:
        told = {name: row[name] for name in ("id", "source", "name", "address", "sent", "state")}
        due_at = None if row["due_at"] is None else datetime.fromtimestamp(row["due_at"], UTC)
        is_waiting = row["state"] == "waiting"
        return told | {
            "webhook_id": row["webhook_id"] and str(row["webhook_id"]),
            "next_in_seconds": self._true_seconds_until(due_at) if is_waiting else None,
        }

    def first_waiting(self, *, limit: int) -> list[dict[str, Any]]:
        """Return events without a delivery so far, in the order in which they are due."""
        rows = self._store.rows(
            "SELECT id, source, name, webhook_id, address, sent, state, due_at FROM events"
            " WHERE state = 'waiting' AND sent = 0 ORDER BY due_at, id LIMIT ?",
            limit,
        )
        return [self._event(row) for row in rows]


def _next_at(schedule: str, number: int, first_at: float) -> float | None:
    spans = SCHEDULES[schedule]
    return first_at + spans[number - 1].total_seconds() if number <= len(spans) else None


class Rounds:
    """A thread in which a courier sends what is due, several deliveries at a time."""

    def __init__(self, courier: Courier, clock: Clock) -> None:
        self._courier = courier
        self._clock = clock
        self._is_over = Bell()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="delivery")
        self._thread = Thread(target=self._go, name="courier", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the deliveries that are under way."""
        self._is_over.set()
        self._courier.bell.set()
        self._thread.join()
        self._pool.shutdown(wait=True)

    def _go(self) -> None:
        while not self._is_over.is_set():
            self._courier.bell.clear()
            for event in self._courier.claim():
                delivery = self._pool.submit(self._courier.send, event)
                delivery.add_done_callback(self._end)
                wait([delivery], _POLITENESS.total_seconds())
            self._courier.bell.wait(self._nap())

    def _nap(self) -> float:
        due = self._courier.next_due()
        if due is None:
            return _NAP.total_seconds()
        return min(self._clock.true_span(due - self._clock.now()), _NAP).total_seconds()

    def _end(self, delivery: Future[None]) -> None:
        self._courier.bell.set()
        if error := delivery.exception():
            logging.getLogger(__name__).error("The sandbox made a mistake with a delivery.", exc_info=error)
