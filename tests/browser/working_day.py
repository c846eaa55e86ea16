"""A working day of a small office: what came in the last hours, put into an empty database as if it had just been.

    DATABASE_URL=sqlite:////tmp/day.db HANDLERS=office python -m tests.browser.working_day

Deliveries, attempts and captures get the times that they would have; everything else is what the service itself does.
"""

import os
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from receiver import bins, signals
from receiver.bins import Request
from receiver.errors import UnreadableError
from receiver.events import Delivery, Headers, Refused
from receiver.inbox.rows import Inbox
from receiver.jobs.routing import Router, router
from receiver.jobs.worker import Worker
from receiver.observe.metrics import Tally
from receiver.sources import SOURCES, samples
from receiver.sources.samples import Lines
from receiver.sources.spoil import spoil
from receiver.storage import db
from receiver.storage.tables import jobs
from tests.browser.at_box import ANY_OTHER, WEBHOOKS
from tests.installation import KEYS

FILES = [
    ("Invoice 2041.pdf", 88_214), ("Lease, signed.pdf", 412_906), ("Site plan rev C.dwg", 7_340_112),
    ("Minutes of Monday.docx", 31_877), ("Tender Nordhafen.xlsx", 1_204_551), ("Fahrplan, Sommer.pdf", 2_060),
    ("Crane inspection.mov", 318_440_912), ("Payroll March.csv", 18_320), ("Depot Süd, north wall.jpg", 4_812_300),
]  # fmt: skip
BOX = [
    "FILE.UPLOADED", "FILE.UPLOADED", "FILE.UPLOADED", "FILE.PREVIEWED", "FILE.PREVIEWED", "FILE.DOWNLOADED",
    "FILE.RENAMED", "FILE.MOVED", "FILE.TRASHED", "FOLDER.CREATED", "COMMENT.CREATED", "COLLABORATION.CREATED",
    "SHARED_LINK.CREATED", "SIGN_REQUEST.COMPLETED", "SIGN_REQUEST.SIGNER_SIGNED",
]  # fmt: skip
FILESTACK = ["fp.upload", "fp.upload", "fp.converse", "fp.export", "fs.workflow"]


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happens, so long ago."""

    ago: timedelta
    happen: Callable[[], object]


class Office:
    """An installation whose clock stands back, and that keeps and handles what comes."""

    def __init__(self, engine: sa.Engine, router: Router) -> None:
        self.engine = engine
        self.behind = timedelta()
        self._inbox = Inbox(engine, rejected_max_count=100, rejected_max_bytes=10**7)
        self._worker = Worker(engine, router, clock=self.now)
        self._tally = Tally(engine, clock=lambda: self.now().timestamp())
        self._chance = random.Random(8)
        signals.attempt_finished.connect(self._attempted, weak=False)
        signals.job_buried.connect(self._buried, weak=False)

    def now(self) -> datetime:
        return datetime.now(UTC) - self.behind

    def live(self, moments: list[Moment]) -> None:
        """Let all of it happen, and do the work that falls due in between."""
        for moment in sorted(moments, key=lambda one: -one.ago):
            while (due := self._next_due()) and due < datetime.now(UTC) - moment.ago:
                self.behind = datetime.now(UTC) - due
                self._worker.drain()
            self.behind = moment.ago
            moment.happen()
            self._worker.drain()
        self._tally.write_out()

    def _next_due(self) -> datetime | None:
        with db.reading(self.engine) as connection:
            return connection.execute(sa.select(sa.func.min(jobs.c.due_at))).scalar()

    def come(self, source: str, payload: Mapping[str, Any], fault: str = "") -> None:
        """Take a delivery of a payload, signed rightly or with a fault."""
        body = samples.encode(source, payload)
        at, age, skew = self.now(), timedelta(hours=1), timedelta(minutes=1)
        if fault:
            body, lines = spoil(source, body, KEYS[source], fault, at=at, max_age=age, max_skew=skew)
        else:
            lines = samples.signed(source, body, KEYS[source], at=at)
        self.take(source, body, lines)

    def take(self, source: str, body: bytes, lines: Lines) -> None:
        """Do what receiver/web/hooks.py does with a delivery, at the time that it is here."""
        lines = [("Host", "hooks.signal.example"), ("User-Agent", _AGENTS[source]), *lines]
        delivery = Delivery(source=source, body=body, headers=Headers(lines), received_at=self.now())
        verdict = SOURCES[source].verify(delivery, KEYS[source], max_age=timedelta(hours=1), max_skew=timedelta(1))
        took = 1.5 + self._chance.lognormvariate(0.7, 0.6)
        self._tally.count("source", source, self._keep(delivery, verdict), took)

    def _keep(self, delivery: Delivery, verdict: Any) -> str:
        if isinstance(verdict, Refused):
            self._inbox.reject(delivery, verdict)
            return "rejected"
        try:
            event = SOURCES[delivery.source].parse(delivery)
        except UnreadableError as error:
            self._inbox.quarantine(delivery, verdict, error.errors)
            return "quarantined"
        return "duplicate" if self._inbox.accept(delivery, event, verdict).duplicate else "accepted"

    def _attempted(self, _sender: object, *, handler: str, outcome: str, milliseconds: float, **_told: Any) -> None:
        self._tally.count("handler", handler, outcome, milliseconds)

    def _buried(self, _sender: object, *, handler: str, outcome: str, **_told: Any) -> None:
        self._tally.count("dead", handler, outcome, None)


_AGENTS = {"box": "Box-WH-Client", "filestack": "Filestack-Webhooks"}


class Script:
    """What happens on this day."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._chance = random.Random(4)
        self._number = 0

    def moments(self) -> Iterator[Moment]:
        for minute in range(360, 0, -1):
            busy = 1.4 if minute < 60 else 0.25
            while self._chance.random() < busy:
                busy -= 0.6
                yield self._any(timedelta(minutes=minute, seconds=self._chance.uniform(0, 59)))
        yield from self._mishaps()
        yield from self._last_ones()

    def _any(self, ago: timedelta) -> Moment:
        source, names = ("box", BOX) if self._chance.random() < 0.75 else ("filestack", FILESTACK)
        return self._event(ago, source, self._chance.choice(names))

    def _event(self, ago: timedelta, source: str, name: str, **how: str) -> Moment:
        payload = self._payload(source, name, datetime.now(UTC) - ago)
        return Moment(ago, lambda: self._office.come(source, payload, **how))

    def _payload(self, source: str, name: str, at: datetime) -> dict[str, Any]:
        self._number += 1
        payload = samples.sample(source, name, at=at - timedelta(seconds=1.3), number=self._number * 37)
        if source == "box":
            payload["webhook"]["id"] = next((id_ for kind, id_ in WEBHOOKS.items() if name.startswith(kind)), ANY_OTHER)
        file, size = FILES[self._number % len(FILES)]
        for part, field in (("source", "name"), ("text", "filename")):
            if "size" in (thing := payload.get(part) or {}):
                thing |= {field: file, "size": size}
        return payload

    def _mishaps(self) -> Iterator[Moment]:
        """Deliveries that somebody has to look at."""
        for minutes, source, name, fault in [
            (170, "filestack", "fp.upload", "unsigned"),
            (96, "box", "FILE.DOWNLOADED", "stale"),
            (52, "box", "FILE.UPLOADED", "wrong-key"),
            (31, "filestack", "fp.upload", "doubled"),
            (17, "box", "FILE.UPLOADED", "rewritten"),
            (16, "box", "FILE.RENAMED", "rewritten"),
        ]:
            yield self._event(timedelta(minutes=minutes, seconds=12), source, name, fault=fault)
        for minutes, body in [
            (140, b"<html><body>502 Bad Gateway</body></html>"),
            (23, b'{"id":"41c0","type":"webhook"}'),
        ]:
            yield Moment(timedelta(minutes=minutes), partial(self._signed, body))

    def _signed(self, body: bytes) -> None:
        self._office.take("box", body, samples.signed("box", body, KEYS["box"], at=self._office.now()))

    def _last_ones(self) -> Iterator[Moment]:
        """What stands at the top of the inbox."""
        drifting = self._payload("box", "FILE.UPLOADED", datetime.now(UTC) - timedelta(minutes=4))
        drifting["source"] |= {"retention": {"policy": "legal hold", "until": "2031-01-01"}, "size": "7340112"}
        yield Moment(timedelta(minutes=4), lambda: self._office.come("box", drifting))
        again = self._payload("box", "FILE.UPLOADED", datetime.now(UTC) - timedelta(seconds=95))
        for seconds in (95, 84, 52):
            yield Moment(timedelta(seconds=seconds), lambda: self._office.come("box", again))
        for seconds, source, name in [
            (210, "box", "COMMENT.CREATED"),
            (150, "filestack", "fp.upload"),
            (41, "box", "COLLABORATION.CREATED"),
            (24, "filestack", "fp.converse"),
            (9, "box", "FILE.UPLOADED"),
        ]:
            yield self._event(timedelta(seconds=seconds), source, name)


def record(office: Office) -> list[Moment]:
    """Give what two bins of this office recorded."""
    bins.create(office.engine, name="lamp-shop", now=office.now())
    changes: bins.Changes = {"status": 503, "headers": [["Retry-After", "30"]], "delay_seconds": 2.0, "fail_every": 3}
    bins.create(office.engine, name="slow-partner", now=office.now(), changes=changes)
    order = (
        b'{"order":4711,"customer":"Nordhafen GmbH","total":"129.90","lines":[{"sku":"LAMP-4","count":2},'
        b'{"sku":"GLASS-1","count":5}],"paid_at":"2026-05-04T10:12:44Z","receipt":"https:\\/\\/shop.example\\/r\\/4711"}'
    )
    form = b"payment=settled&amount=129.90&reference=4711"
    json, text = "application/json", "application/x-www-form-urlencoded"
    png = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000100000001008060000001ff3ff61") + bytes(range(256))
    sent = [
        (340, "lamp-shop", "GET", "/", "", "*/*", b""),
        (190, "lamp-shop", "PUT", "/pictures/lamp.png", "", "image/png", png),
        (77, "lamp-shop", "POST", "/payments", "shop=12", text, form),
        (76, "slow-partner", "POST", "/orders", "", json, order),
        (75, "slow-partner", "POST", "/orders", "", json, order),
        (12, "lamp-shop", "DELETE", "/carts/8812", "", "*/*", b""),
        (3, "lamp-shop", "POST", "/orders", "shop=12&test=no", json, order),
    ]
    return [Moment(timedelta(minutes=one[0]), partial(_record, office, *one[1:])) for one in sent]


def _record(office: Office, name: str, method: str, path: str, query: str, content_type: str, body: bytes) -> None:
    lines = [
        ("Host", "hooks.signal.example"),
        ("User-Agent", "LampShop/3.2 (+https://shop.example/bot)"),
        ("Accept", "*/*"),
        ("Authorization", "Bearer of-the-shop"),
        *([("Content-Type", content_type), ("Content-Length", str(len(body)))] if body else []),
        ("X-Shop-Attempt", "1"),
    ]
    came = Request(method=method, path=path, query=query, client="203.0.113.24", headers=Headers(lines), body=body)
    bins.record(office.engine, name, came, now=office.now())


def main() -> None:
    engine = db.open_engine(os.environ["DATABASE_URL"])
    db.upgrade(engine)
    # No power is cut on this day, and waiting for the disk would be most of it.
    sa.event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
    engine.dispose()
    router.load(["handlers", *os.environ["HANDLERS"].split(",")])
    office = Office(engine, router)
    office.behind = timedelta(hours=7)
    office.live([*Script(office).moments(), *record(office)])


if __name__ == "__main__":
    main()
