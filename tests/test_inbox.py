"""Deliveries become rows: byte for byte, once for each event, and refused ones apart and capped."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from receiver import db
from receiver.errors import StoreError
from receiver.events import Delivery, Headers, Reason, Refused, Verified
from receiver.inbox import Inbox, Receipt
from receiver.sources import SOURCES
from receiver.tables import deliveries, events, quarantined, rejected
from tests.installation import Clock, delivery

PRIMARY = Verified("primary")
MISMATCH = Refused(Reason.SIGNATURE_MISMATCH, "The signature matches no key.")


def accept(inbox: Inbox, one: Delivery) -> Receipt:
    return inbox.accept(one, SOURCES[one.source].parse(one), PRIMARY)


def rows(engine: sa.Engine, table: sa.Table) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row._mapping) for row in connection.execute(sa.select(table).order_by(table.c.seq))]


def test_a_delivery_is_kept_byte_for_byte(inbox: Inbox, engine: sa.Engine, clock: Clock) -> None:
    came = delivery("box", "FILE.UPLOADED", at=clock())
    receipt = accept(inbox, came)
    (row,) = rows(engine, events)
    assert (row["id"], row["body"], row["received_at"]) == (receipt.event_id, came.body, came.received_at)
    assert Headers.from_bytes(row["headers"]).pairs == came.headers.pairs


@limits(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(
    body=st.binary(max_size=300),
    pairs=st.lists(
        st.tuples(
            st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-", min_size=1),
            st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0")).map(str.strip),
        )
    ),
)
def test_any_bytes_come_back_as_they_were(
    inbox: Inbox, engine: sa.Engine, clock: Clock, body: bytes, pairs: list[tuple[str, str]]
) -> None:
    kept = inbox.reject(Delivery(source="box", body=body, headers=Headers(pairs), received_at=clock()), MISMATCH)
    row = next(row for row in rows(engine, rejected) if row["id"] == kept)
    assert (row["body"], Headers.from_bytes(row["headers"]).pairs) == (body, tuple(pairs))


def test_the_same_event_again_is_counted_on_the_first(inbox: Inbox, engine: sa.Engine, clock: Clock) -> None:
    came = delivery("box", "FILE.UPLOADED", at=clock())
    first = accept(inbox, came)
    again = accept(inbox, replace(came, received_at=clock() + timedelta(minutes=5)))
    assert (again.event_id, again.duplicate) == (first.event_id, True)
    assert [row["deliveries"] for row in rows(engine, events)] == [2]


def test_a_repeated_delivery_is_kept_with_its_time_and_headers(inbox: Inbox, engine: sa.Engine, clock: Clock) -> None:
    came = delivery("box", "FILE.UPLOADED", at=clock())
    accept(inbox, came)
    accept(inbox, replace(came, received_at=clock() + timedelta(minutes=5)))
    (row,) = rows(engine, deliveries)
    assert (row["received_at"], row["body"]) == (clock() + timedelta(minutes=5), None)


def test_a_repeated_delivery_with_another_body_keeps_that_body(inbox: Inbox, engine: sa.Engine, clock: Clock) -> None:
    came = delivery("box", "FILE.UPLOADED", at=clock())
    accept(inbox, came)
    accept(inbox, replace(came, body=came.body + b" "))
    assert [row["body"] for row in rows(engine, deliveries)] == [came.body + b" "]


def test_two_sources_may_use_one_identity(inbox: Inbox, engine: sa.Engine, clock: Clock) -> None:
    came = delivery("box", "FILE.UPLOADED", at=clock())
    event = SOURCES["box"].parse(came)
    inbox.accept(came, event, PRIMARY)
    assert not inbox.accept(replace(came, source="filestack"), event, PRIMARY).duplicate


def test_event_ids_sort_by_time(inbox: Inbox, clock: Clock) -> None:
    ids = []
    for number in range(20):
        ids.append(accept(inbox, delivery("box", "FILE.UPLOADED", at=clock(), number=number)).event_id)
        clock.pass_by(milliseconds=1)
    assert ids == sorted(ids)
    assert len(set(ids)) == 20


def refuse(inbox: Inbox, clock: Clock, count: int, size: int) -> list[str]:
    one = Delivery(source="box", body=b"x" * size, headers=Headers(), received_at=clock())
    return [inbox.reject(one, MISMATCH) for _ in range(count)]


def test_rejected_deliveries_are_capped_by_count_the_oldest_out_first(engine: sa.Engine, clock: Clock) -> None:
    capped = Inbox(engine, rejected_max_count=3, rejected_max_bytes=10_000)
    ids = refuse(capped, clock, 5, 10)
    assert [row["id"] for row in rows(engine, rejected)] == ids[2:]


def test_rejected_deliveries_are_capped_by_bytes_the_oldest_out_first(engine: sa.Engine, clock: Clock) -> None:
    capped = Inbox(engine, rejected_max_count=100, rejected_max_bytes=250)
    ids = refuse(capped, clock, 5, 100)
    assert [row["id"] for row in rows(engine, rejected)] == ids[3:]


def test_a_rejected_delivery_keeps_its_reason(inbox: Inbox, engine: sa.Engine, clock: Clock) -> None:
    refuse(inbox, clock, 1, 10)
    (row,) = rows(engine, rejected)
    assert (row["reason"], row["detail"]) == ("signature_mismatch", "The signature matches no key.")


def test_a_rejected_delivery_never_stands_in_the_way_of_the_real_one(
    inbox: Inbox, engine: sa.Engine, clock: Clock
) -> None:
    came = delivery("box", "FILE.UPLOADED", at=clock())
    inbox.reject(came, MISMATCH)
    assert not accept(inbox, came).duplicate


def test_a_quarantined_delivery_is_kept_once_and_counted(inbox: Inbox, engine: sa.Engine, clock: Clock) -> None:
    came = Delivery(source="box", body=b"not json", headers=Headers(), received_at=clock())
    errors = {"body": ["is not JSON"]}
    assert inbox.quarantine(came, PRIMARY, errors) == inbox.quarantine(came, PRIMARY, errors)
    (row,) = rows(engine, quarantined)
    assert (row["deliveries"], row["errors"], row["body"]) == (2, errors, b"not json")


def test_a_locked_database_is_told_as_a_store_error(engine: sa.Engine, clock: Clock) -> None:
    impatient = sa.create_engine(engine.url, connect_args={"timeout": 0.05})
    inbox = Inbox(impatient, rejected_max_count=1, rejected_max_bytes=1)
    with db.writing(engine), pytest.raises(StoreError, match="locked"):
        refuse(inbox, clock, 1, 1)
    impatient.dispose()


def test_an_error_of_the_database_quotes_no_body(engine: sa.Engine, clock: Clock) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE rejected")
    inbox = Inbox(engine, rejected_max_count=1, rejected_max_bytes=1)
    with pytest.raises(StoreError) as caught:
        inbox.reject(Delivery(source="box", body=b"PAYLOAD", headers=Headers(), received_at=clock()), MISMATCH)
    assert "PAYLOAD" not in f"{caught.value} {caught.value.__cause__}"
