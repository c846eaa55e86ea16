"""WEBHOOK.DELETED: the registration is dead, somebody is told, and it is made again where that is wanted."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from receiver import signals
from receiver.inbox.rows import Inbox
from receiver.jobs.routing import Router
from receiver.jobs.worker import Worker
from receiver.observe import logs
from receiver.registrations import Account, Sentinel, apply, list_kept
from receiver.registrations.client import WebhookClient
from tests.installation import Clock
from tests.registrations.arriving import arrive_from
from tests.registrations.stand_in import UPLOADED, StandIn, folder
from tests.waiting import until

pytestmark = pytest.mark.both_databases
REASON = {"reason": "auto_cleanup"}


class Heard:
    """What the sentinel tells its listeners."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    def listen(self) -> None:
        for signal in (signals.registration_died, signals.registration_revived, signals.registration_unrevived):
            signal.connect(self._hear, weak=False)

    def stop(self) -> None:
        for signal in (signals.registration_died, signals.registration_revived, signals.registration_unrevived):
            signal.disconnect(self._hear)

    def _hear(self, _sender: object, **told: Any) -> None:
        self.told.append(("revived" if "event_id" not in told and "error" not in told else "other", told))


@pytest.fixture
def heard() -> Iterator[Heard]:
    heard = Heard()
    heard.listen()
    yield heard
    heard.stop()


@pytest.fixture
def webhook_id(engine: sa.Engine, client: WebhookClient, clock: Clock) -> str:
    """The id of a webhook on folder 1 that was made from the file."""
    return apply.create(client, engine, folder(1), UPLOADED, clock=clock)


def sentinel_of(engine: sa.Engine, clock: Clock, account: Account | None = None) -> Sentinel:
    return Sentinel(engine, clock=clock, account=account)


def test_a_deleted_webhook_is_marked_dead_with_the_reason_and_told_once(
    engine: sa.Engine, inbox: Inbox, clock: Clock, webhook_id: str, heard: Heard
) -> None:
    event_id = arrive_from(inbox, webhook_id, "WEBHOOK.DELETED", at=clock(), info=REASON)
    for _ in range(2):
        sentinel_of(engine, clock).heed(event_id, is_news=False)
    row = list_kept(engine)[folder(1)]
    assert (row.state, row.reason, row.died_at) == ("dead", "auto_cleanup", clock())
    assert [told for _, told in heard.told] == [{"event_id": event_id, "webhook_id": webhook_id, "target": "folder:1"}]


def test_what_was_caught_up_with_before_its_news_came_is_told_once(
    engine: sa.Engine, inbox: Inbox, clock: Clock, webhook_id: str, heard: Heard
) -> None:
    event_id = arrive_from(inbox, webhook_id, "WEBHOOK.DELETED", at=clock(), info=REASON)
    sentinel_of(engine, clock).catch_up()
    sentinel_of(engine, clock).heed(event_id)
    assert [told["target"] for _, told in heard.told] == ["folder:1"]


def test_a_webhook_that_was_not_made_here_is_told_too(
    engine: sa.Engine, inbox: Inbox, clock: Clock, heard: Heard
) -> None:
    event_id = arrive_from(inbox, "77", "WEBHOOK.DELETED", at=clock())
    sentinel_of(engine, clock).heed(event_id)
    assert heard.told[0][1] == {"event_id": event_id, "webhook_id": "77", "target": None}


@pytest.mark.parametrize("odd", [None, 7, ["7"], "7; drop", "\x1b[2J", "9" * 400])
def test_what_is_no_webhooks_id_goes_no_further(
    engine: sa.Engine, inbox: Inbox, clock: Clock, heard: Heard, odd: object
) -> None:
    sentinel_of(engine, clock).heed(arrive_from(inbox, odd, "WEBHOOK.DELETED", at=clock(), info=[odd]))
    assert heard.told[0][1]["webhook_id"] == ""


def test_the_alarm_is_an_error_in_the_log_without_the_payload(
    engine: sa.Engine, inbox: Inbox, clock: Clock, webhook_id: str
) -> None:
    logs.configure(form="json")
    event_id = arrive_from(inbox, webhook_id, "WEBHOOK.DELETED", at=clock(), info={"reason": "MARK"})
    with capture_logs() as lines:
        sentinel_of(engine, clock).heed(event_id)
    (line,) = lines
    assert (line["log_level"], line["state"], line["target"]) == ("error", "dead", "folder:1")
    assert "MARK" not in str(line)


def test_what_is_dead_is_made_again(
    engine: sa.Engine, inbox: Inbox, clock: Clock, webhook_id: str, heard: Heard, box: StandIn, client: WebhookClient
) -> None:
    client.delete(webhook_id)
    sentinel = sentinel_of(engine, clock, box.account())
    sentinel.heed(arrive_from(inbox, webhook_id, "WEBHOOK.DELETED", at=clock()))
    sentinel.revive()
    row = list_kept(engine)[folder(1)]
    assert box.ids() == {"folder:1": row.webhook_id}
    assert (row.state, row.is_ours, row.died_at) == ("live", True, None)
    assert heard.told[1] == ("revived", {"target": "folder:1", "webhook_id": row.webhook_id})


def test_without_an_account_it_stays_dead(
    engine: sa.Engine, inbox: Inbox, clock: Clock, webhook_id: str, box: StandIn, client: WebhookClient
) -> None:
    client.delete(webhook_id)
    sentinel = sentinel_of(engine, clock)
    sentinel.heed(arrive_from(inbox, webhook_id, "WEBHOOK.DELETED", at=clock()))
    sentinel.revive()
    assert box.ids() == {}


def test_it_is_made_again_once_an_hour_at_most_whoever_tries(
    engine: sa.Engine, inbox: Inbox, clock: Clock, webhook_id: str, box: StandIn, client: WebhookClient
) -> None:
    made = []
    for _ in range(3):
        id_ = str(list_kept(engine)[folder(1)].webhook_id)
        if id_ in box.ids().values():
            client.delete(id_)
        sentinel = sentinel_of(engine, clock, box.account())
        sentinel.heed(arrive_from(inbox, id_, "WEBHOOK.DELETED", at=clock()))
        sentinel.revive()
        made.append(bool(box.ids()))
        clock.pass_by(minutes=40)
    assert made == [True, False, True]


def test_where_box_refuses_it_is_said_and_tried_again_an_hour_later(
    engine: sa.Engine, inbox: Inbox, clock: Clock, webhook_id: str, heard: Heard, box: StandIn, client: WebhookClient
) -> None:
    client.delete(webhook_id)
    box.world.plan_refusal(status=403, times=1, after=0, retry_after=None)
    sentinel = sentinel_of(engine, clock, box.account())
    sentinel.heed(arrive_from(inbox, webhook_id, "WEBHOOK.DELETED", at=clock()))
    sentinel.revive()
    sentinel.revive()
    assert "Manage webhooks" in str(heard.told[1][1]["error"])
    assert list_kept(engine)[folder(1)].state == "dead"
    clock.pass_by(hours=1)
    sentinel.revive()
    assert set(box.ids()) == {"folder:1"}


def test_a_worker_that_routes_it_wakes_the_sentinel(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock, webhook_id: str
) -> None:
    with sentinel_of(engine, clock).watching():
        arrive_from(inbox, webhook_id, "WEBHOOK.DELETED", at=clock())
        Worker(engine, router, clock=clock).drain()
        wait_until_dead(engine)


def test_what_a_worker_routed_before_it_was_killed_is_caught_up_with(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock, webhook_id: str
) -> None:
    arrive_from(inbox, webhook_id, "FILE.UPLOADED", at=clock() - timedelta(minutes=1))
    arrive_from(inbox, webhook_id, "WEBHOOK.DELETED", at=clock())
    Worker(engine, router, clock=clock).drain()
    with sentinel_of(engine, clock).watching():
        wait_until_dead(engine)


def wait_until_dead(engine: sa.Engine) -> None:
    until(lambda: list_kept(engine)[folder(1)].state == "dead", "it is marked dead")


def test_other_events_are_none_of_its_business(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock, webhook_id: str, heard: Heard
) -> None:
    with sentinel_of(engine, clock).watching():
        arrive_from(inbox, webhook_id, "FILE.UPLOADED", at=clock())
        Worker(engine, router, clock=clock).drain()
    assert heard.told == []
    assert list_kept(engine)[folder(1)].state == "live"


def test_once_it_is_over_it_hears_nothing(engine: sa.Engine, clock: Clock) -> None:
    with sentinel_of(engine, clock).watching():
        assert signals.event_routed.receivers
        names = {thread.name for thread in threading.enumerate()}
    assert "sentinel" in names
    assert "sentinel" not in {thread.name for thread in threading.enumerate()}
