"""A receiver that is down: for a while, and all of it comes again; for long, and Box removes the webhook."""

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from receiver.registrations import list_kept
from receiver.sandbox.actions import Order
from receiver.sandbox.faults import Faults
from receiver.storage.tables import events
from tests.acceptance.account import NOTHING_AMISS, done_twice_or_not_at_all
from tests.acceptance.service import Service
from tests.registrations.stand_in import StandIn
from tests.waiting import until

MANY = 25
FILE = '[[registrations]]\ntarget = "folder:1200"\ntriggers = ["FILE.UPLOADED"]\n'


@pytest.fixture(autouse=True)
def registered(service: Service, box: StandIn, tmp_path: Path) -> None:
    """Have the webhook of a file at Box."""
    path = tmp_path / "box_webhooks.toml"
    path.write_text(FILE)
    service.environ["BOX_WEBHOOKS_FILE"] = str(path)
    service.signalbox("box apply")


def upload(box: StandIn, *names: str) -> None:
    for name in names:
        box.world.act(Order(action="upload", item=f"1200/{name}"), faults=Faults())


def came(engine: sa.Engine) -> Counter[str]:
    with engine.connect() as connection:
        return Counter(connection.execute(sa.select(events.c.name)).scalars())


def test_what_happened_while_it_was_down_for_ninety_minutes_arrives_by_retry_and_is_handled_once(
    service: Service, engine: sa.Engine, box: StandIn
) -> None:
    upload(box, *(f"{number}.pdf" for number in range(MANY)))
    courier = box.world.courier
    assert courier.pass_time(timedelta(minutes=90)) == MANY * 11  # the first, and ten retries: none was taken
    assert {one["state"] for one in courier.events()} == {"waiting"}
    service.web()
    service.worker()
    assert courier.pass_time(timedelta(minutes=30)) == MANY
    assert {one["state"] for one in courier.events()} == {"delivered"}
    assert came(engine) == {"FILE.UPLOADED": MANY}
    amiss = done_twice_or_not_at_all(service.environ["DATABASE_URL"], count=MANY, handlers=2)
    assert amiss == NOTHING_AMISS


def test_one_that_is_down_for_a_month_loses_its_webhook_raises_the_alarm_and_gets_it_back_by_apply(
    service: Service, engine: sa.Engine, box: StandIn
) -> None:
    old, courier = box.ids()["folder:1200"], box.world.courier
    courier.pass_time(timedelta(days=15))
    upload(box, "nobody-hears.pdf")
    courier.pass_time(timedelta(days=15, seconds=1))
    assert box.ids() == {}
    service.web()
    service.worker()
    courier.pass_time(timedelta(hours=2))  # Box says so with retries, too
    assert came(engine) == {"WEBHOOK.DELETED": 1}
    until(lambda: "state=dead" in service.log("worker.log"), "the alarm")
    (alarm,) = [line for line in service.log("worker.log").splitlines() if "state=dead" in line]
    assert "[error" in alarm
    assert f"webhook_id={old}" in alarm
    assert [row.state for row in list_kept(engine).values()] == ["dead"]
    plan = service.run("python wsgi.py box plan", check=False)
    assert (plan.returncode, "Box removed it" in plan.stdout) == (2, True)
    service.signalbox("box apply")
    upload(box, "heard.pdf")
    courier.run_due()
    assert came(engine) == {"WEBHOOK.DELETED": 1, "FILE.UPLOADED": 1}
