"""A little of everything that an installation keeps."""

from datetime import timedelta

import sqlalchemy as sa

from receiver import bins
from receiver.events import Delivery, Event, Headers, Reason, Refused, Verified
from receiver.inbox.rows import Inbox
from receiver.jobs import registry
from receiver.jobs import store as jobs
from receiver.jobs.retry import Again, Dead
from receiver.jobs.routing import Router
from receiver.jobs.store import Finish, Routing
from tests.installation import Clock, arrive, delivery

HANDLERS = ["tests.stock.note", "tests.stock.index"]
LEASE = timedelta(seconds=30)
NO_MESSAGE = b'{"type": "something else", "odd": "\xff"}'


def stock(engine: sa.Engine, clock: Clock) -> dict[str, list[str]]:
    """Fill the tables; give the ids of events, rejected and quarantined deliveries and captures, oldest first."""
    inbox = Inbox(engine, rejected_max_count=10_000, rejected_max_bytes=256 * 1024 * 1024)
    known = {"events": [arrive(inbox, clock, number=number) for number in range(1, 6)]}
    known["events"].append(arrive(inbox, clock, "filestack", "fp.upload"))
    arrive(inbox, clock, number=1)
    registry.sign_in(engine, _router(), clock())
    _run(engine, known["events"][:4], clock)
    known["rejected"] = [_reject(inbox, clock, number) for number in range(3)]
    known["captures"] = [_capture(engine, clock, number) for number in range(3)]
    known["quarantined"] = [_quarantine(inbox, clock, number) for number in range(3)]
    return known


def note(event: Event) -> None:
    """Note what came."""


def index(event: Event) -> None:
    """Put it into the search index."""


def _router() -> Router:
    router = Router()
    for handler in (note, index):
        router.on("box:*")(handler)
    return router


def _run(engine: sa.Engine, event_ids: list[str], clock: Clock) -> None:
    """Route events; of their jobs one is done, one dead, one waits for its second attempt, one runs."""
    now = clock()
    drift = [{"path": "source.size", "problem": "Not a number."}]
    jobs.route(engine, [Routing(one, HANDLERS, drift if one == event_ids[0] else ()) for one in event_ids], now)
    done, dead, again, _running = jobs.claim(engine, worker="w", limit=4, now=now, lease=LEASE)
    trouble = "Traceback (most recent call last):\nOSError: the index is away"
    finishes = [
        Finish(done, "done", now, None),
        Finish(dead, "failed", now, Dead("all attempts failed"), trouble),
        Finish(again, "failed", now, Again(now + timedelta(minutes=5)), trouble),
    ]
    jobs.finish(engine, finishes, worker="w")


def _reject(inbox: Inbox, clock: Clock, number: int) -> str:
    came = delivery("box", "FILE.UPLOADED", at=clock(), number=number)
    return inbox.reject(came, Refused(Reason.SIGNATURE_MISMATCH, "The signature matches none of the keys."))


def _quarantine(inbox: Inbox, clock: Clock, number: int) -> str:
    headers = Headers([("Content-Type", "application/json"), ("Authorization", "Bearer a-secret-of-the-tests")])
    came = Delivery(source="box", body=NO_MESSAGE + b" " * number, headers=headers, received_at=clock())
    return inbox.quarantine(came, Verified("primary"), {"trigger": ["Missing data for required field."]})


def _capture(engine: sa.Engine, clock: Clock, number: int) -> str:
    """Record a form in the bin `orders`, which its first request makes."""
    form = Headers([("Content-Type", "application/x-www-form-urlencoded"), ("Cookie", "a-secret-of-the-tests")])
    came = bins.Request(
        method="PUT",
        path="/2026/may",
        query="page=2",
        client="192.0.2.7",
        headers=form,
        body=b"color=red&n=%d" % number,
    )
    return bins.record(engine, "orders", came, now=clock(), may_make=True).capture_id
