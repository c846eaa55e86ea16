"""What arrives from which webhook, and a check-up that compares it with what Box says."""

from datetime import timedelta
from functools import partial

import pytest
import sqlalchemy as sa

from receiver.events import Delivery, Headers, Reason, Refused
from receiver.inbox.rows import Inbox
from receiver.registrations import Checkup, apply, check_up, list_kept, look_back, store
from receiver.registrations.arrivals import webhook_of
from receiver.registrations.client import WebhookClient
from receiver.registrations.rules import Content
from tests.installation import Clock, arrive
from tests.registrations.arriving import arrive_from
from tests.registrations.stand_in import ADDRESS, ELSEWHERE, UPLOADED, StandIn, folder


def test_the_newest_event_of_each_webhook_is_found(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    arrive_from(inbox, "1", "FILE.UPLOADED", at=clock())
    newest = arrive_from(inbox, "1", "FILE.RENAMED", at=clock() + timedelta(seconds=1))
    arrive_from(inbox, "2", "FILE.LOCKED", at=clock())
    arrive(inbox, clock, "filestack", "fp.upload")
    found = look_back(engine)
    assert {id_: one.name for id_, one in found.by_webhook.items()} == {"1": "FILE.RENAMED", "2": "FILE.LOCKED"}
    assert found.by_webhook["1"].event_id == newest
    assert (found.is_all, found.back_to) == (True, clock())


def test_what_was_received_long_ago_and_written_now_is_not_the_last_of_its_webhook(
    engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    newest = arrive_from(inbox, "1", "FILE.RENAMED", at=clock())
    arrive_from(inbox, "1", "FILE.UPLOADED", at=clock() - timedelta(days=3))
    found = look_back(engine)
    assert found.by_webhook["1"].event_id == newest
    assert found.back_to == clock() - timedelta(days=3)


def test_it_looks_back_so_far_and_says_so(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    first = clock()
    for _ in range(1002):
        arrive_from(inbox, "1" if clock() == first else "2", "FILE.UPLOADED", at=clock())
        clock.pass_by(seconds=1)
    found = look_back(engine, limit=1000)
    assert set(found.by_webhook) == {"2"}
    assert (found.is_all, found.back_to) == (False, first + timedelta(seconds=2))


@pytest.mark.parametrize(
    ("identity", "webhook_id"), [('["77","a-b"]', "77"), ('[null,"a-b"]', None), ("a3f" * 20, None), ("[7,8]", "7")]
)
def test_the_webhook_stands_in_the_identity(identity: str, webhook_id: str | None) -> None:
    assert webhook_of(identity) == webhook_id


def examine(engine: sa.Engine, client: WebhookClient, clock: Clock) -> Checkup:
    look = partial(apply.look_at, client)
    rows = list_kept(engine).values()
    return check_up(engine, list(client.list()), rows, look, expected_address=ADDRESS, now=clock())


def test_nothing_is_wrong_with_what_delivers_or_has_not_yet(
    engine: sa.Engine, inbox: Inbox, clock: Clock, client: WebhookClient, box: StandIn
) -> None:
    arrive_from(inbox, box.make(folder(1)), "FILE.UPLOADED", at=clock())
    box.make(folder(2))
    found = examine(engine, client, clock)
    assert found.is_well
    assert [one.last.name if one.last else None for one in found.checked] == ["FILE.UPLOADED", None]


def problems(found: Checkup) -> str:
    return " ".join(problem for one in found.checked for problem in one.problems)


def test_an_expired_login_is_found(
    engine: sa.Engine, inbox: Inbox, clock: Clock, client: WebhookClient, box: StandIn
) -> None:
    id_ = box.make(folder(1))
    arrive_from(inbox, id_, "NO_ACTIVE_SESSION", at=clock())
    assert "NO_ACTIVE_SESSION" in problems(examine(engine, client, clock))
    arrive_from(inbox, id_, "FILE.UPLOADED", at=clock())
    assert examine(engine, client, clock).is_well


def test_what_delivers_elsewhere_and_never_here_is_found(
    engine: sa.Engine, clock: Clock, client: WebhookClient, box: StandIn
) -> None:
    box.make(folder(1), Content.of(ELSEWHERE, UPLOADED.triggers))
    assert f"It delivers to {ELSEWHERE}" in problems(examine(engine, client, clock))


def test_what_is_dead_or_gone_is_found(engine: sa.Engine, clock: Clock, client: WebhookClient) -> None:
    for number in (1, 2):
        apply.create(client, engine, folder(number), UPLOADED, clock=clock)
    for row in list_kept(engine).values():
        client.delete(str(row.webhook_id))
    store.bury(engine, str(list_kept(engine)[folder(1)].webhook_id), reason="auto_cleanup", now=clock())
    text = problems(examine(engine, client, clock))
    assert "Box removed it (auto_cleanup)" in text
    assert "is not at Box any more" in text


def test_refused_deliveries_of_the_last_day_are_counted(
    engine: sa.Engine, inbox: Inbox, clock: Clock, client: WebhookClient
) -> None:
    for number in range(3):
        came = Delivery(source="box", body=b"%d" % number, headers=Headers([]), received_at=clock())
        inbox.reject(came, Refused(Reason.SIGNATURE_MISMATCH, "no"))
    assert examine(engine, client, clock).problems == [
        "3 deliveries of Box refused within a day, signature_mismatch: signalbox rejected list --source box"
    ]
    clock.pass_by(days=2)
    assert examine(engine, client, clock).is_well


def test_what_other_webhooks_send_is_named_and_nothing_wrong(
    engine: sa.Engine, inbox: Inbox, clock: Clock, client: WebhookClient
) -> None:
    arrive_from(inbox, "77", "FILE.UPLOADED", at=clock())
    found = examine(engine, client, clock)
    assert (found.strangers, found.is_well) == (["77"], True)
