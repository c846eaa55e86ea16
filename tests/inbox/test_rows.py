"""Deliveries become rows: byte for byte, once for each event, and refused ones apart and capped."""

import fcntl
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from receiver.errors import StoreError
from receiver.events import Delivery, Headers, Reason, Refused, Verified
from receiver.inbox.group_commit import Batch, Group
from receiver.inbox.rows import Arrival, Inbox, Receipt, write_arrivals
from receiver.sources import SOURCES
from receiver.storage import db
from receiver.storage.ids import lowest_id, new_id
from receiver.storage.tables import deliveries, events, pulse, quarantined, rejected
from tests.installation import Clock, delivery
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.both_databases

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


@limits(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=50)
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


def test_a_duplicate_is_counted_on_the_event_of_its_own_source(inbox: Inbox, engine: sa.Engine, clock: Clock) -> None:
    came = delivery("box", "FILE.UPLOADED", at=clock())
    event = SOURCES["box"].parse(came)
    ids = {source: inbox.accept(replace(came, source=source), event, PRIMARY).event_id for source in SOURCES}
    for source, id_ in ids.items():
        assert inbox.accept(replace(came, source=source), event, PRIMARY) == Receipt(id_, duplicate=True)
    assert [(row["source"], row["deliveries"]) for row in rows(engine, events)] == [(source, 2) for source in SOURCES]
    assert [row["event_id"] for row in rows(engine, deliveries)] == list(ids.values())


def test_two_sources_may_have_one_unreadable_body(inbox: Inbox, engine: sa.Engine, clock: Clock) -> None:
    came = Delivery(source="box", body=b"not json", headers=Headers(), received_at=clock())
    ids = {inbox.quarantine(replace(came, source=source), PRIMARY, {"body": ["No."]}) for source in SOURCES}
    assert len(ids) == len(SOURCES)
    assert [(row["source"], row["deliveries"]) for row in rows(engine, quarantined)] == [(s, 1) for s in SOURCES]


def test_event_ids_sort_by_time(inbox: Inbox, clock: Clock) -> None:
    ids = []
    for number in range(20):
        ids.append(accept(inbox, delivery("box", "FILE.UPLOADED", at=clock(), number=number)).event_id)
        clock.pass_by(milliseconds=1)
    assert ids == sorted(ids)
    assert len(set(ids)) == 20


def test_an_id_says_when_it_came_to_the_millisecond(inbox: Inbox, clock: Clock) -> None:
    clock.pass_by(microseconds=123_999)
    came = delivery("box", "FILE.UPLOADED", at=clock())
    ids = [accept(inbox, came).event_id, inbox.reject(came, MISMATCH), inbox.quarantine(came, PRIMARY, {})]
    for id_ in ids:
        assert lowest_id(clock()) <= id_ < lowest_id(clock(), milliseconds=1)


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


def test_as_many_rejected_deliveries_are_kept_as_the_caps_say_and_no_more(engine: sa.Engine, clock: Clock) -> None:
    for capped in (
        Inbox(engine, rejected_max_count=4, rejected_max_bytes=10_000),
        Inbox(engine, rejected_max_count=100, rejected_max_bytes=40),
    ):
        ids = refuse(capped, clock, 6, 10)
        assert [row["id"] for row in rows(engine, rejected)] == ids[2:]


def test_a_probe_writes_each_time(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    for _ in range(2):
        clock.pass_by(minutes=1)
        inbox.probe(clock())
        with engine.connect() as connection:
            assert connection.execute(sa.select(pulse.c.at)).scalars().all() == [clock()]


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


@pytest.mark.sqlite_only
def test_a_locked_database_is_told_as_a_store_error(engine: sa.Engine, clock: Clock) -> None:
    impatient = db.open_engine(str(engine.url), limit=timedelta(seconds=0.05))
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


# Deliveries that come together: one commit for all, and each its own outcome.


def together(arrivals: list[Any], keep: Any) -> list[Any]:
    """Let every arrival come at the same moment in a thread of its own; give receipts and errors in order."""
    outcomes: list[Any] = [None] * len(arrivals)
    barrier = threading.Barrier(len(arrivals))

    def come(place: int) -> None:
        barrier.wait(PATIENCE_SECONDS)
        try:
            outcomes[place] = keep(arrivals[place])
        except StoreError as error:
            outcomes[place] = error

    threads = [threading.Thread(target=come, args=(place,)) for place in range(len(arrivals))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    return outcomes


def arrival(number: int, **changed: Any) -> Arrival:
    now = datetime(2026, 5, 4, tzinfo=UTC)
    plain = Arrival(
        new_id(now), "box", "box:A", "A", f"[{number}]", "accepted", now, None, "primary", b"X: y\r\n", b"{}"
    )
    return plain._replace(**changed)


def write_with(engine: sa.Engine, sizes: list[int]) -> Callable[[Any], list[Receipt]]:
    def write(take: Any) -> list[Receipt]:
        with db.writing_directly(engine) as cursor:
            arrivals = take()
            sizes.append(len(arrivals))
            return write_arrivals(cursor, arrivals, engine.dialect)

    return write


def test_deliveries_that_come_together_share_a_commit(engine: sa.Engine) -> None:
    sizes: list[int] = []
    write, somebody_writes = write_with(engine, sizes), threading.Lock()

    def write_in_turn(take: Any) -> list[Receipt]:
        with somebody_writes:
            return write(take)

    group = Group(write_in_turn)
    with somebody_writes:  # meanwhile they gather
        pool = threading.Thread(
            target=together, args=([arrival(n) for n in range(20)], lambda one: group.keep(one, size=1))
        )
        pool.start()
        until(lambda: len(group._open.arrivals) >= 20, "they have gathered")
    pool.join(PATIENCE_SECONDS)
    assert sizes == [20]
    assert len(rows(engine, events)) == 20


def test_every_delivery_of_many_gets_the_receipt_of_its_own_event(engine: sa.Engine) -> None:
    group = Group(write_with(engine, []))
    arrivals = [arrival(n) for n in range(50)]
    outcomes = together(arrivals, lambda one: group.keep(one, size=1))
    assert [outcome.event_id for outcome in outcomes] == [one.id for one in arrivals]


def test_the_same_event_twice_in_one_batch_is_one_event(engine: sa.Engine) -> None:
    with db.writing_directly(engine) as cursor:
        first, again, other = write_arrivals(cursor, [arrival(1), arrival(1), arrival(2)], engine.dialect)
    assert (first.duplicate, again.duplicate, other.duplicate) == (False, True, False)
    assert again.event_id == first.event_id
    assert [row["deliveries"] for row in rows(engine, events)] == [2, 1]


def test_a_poisonous_row_takes_none_of_its_neighbours_down(engine: sa.Engine) -> None:
    group = Group(write_with(engine, []))
    arrivals = [arrival(n, **({"type": None} if n == 7 else {})) for n in range(20)]
    outcomes = together(arrivals, lambda one: group.keep(one, size=1))
    assert [place for place, outcome in enumerate(outcomes) if isinstance(outcome, StoreError)] == [7]
    assert len(rows(engine, events)) == 19


def test_a_commit_that_fails_fails_its_own_requests_and_no_others(engine: sa.Engine) -> None:
    write, failing = write_with(engine, []), [True]

    def fails_once(take: Any) -> Any:
        if failing.pop() if failing else False:
            take()
            raise StoreError("the disk is full")
        return write(take)

    group = Group(fails_once)
    with pytest.raises(StoreError, match="full"):
        group.keep(arrival(1), size=1)
    assert not group.keep(arrival(2), size=1).duplicate
    assert [row["identity"] for row in rows(engine, events)] == ["[2]"]


def test_a_leader_that_is_cut_short_leaves_nobody_waiting() -> None:
    def cut(take: Any) -> Any:
        take()
        raise KeyboardInterrupt

    batch: Batch[Arrival, Receipt] = Batch()
    with pytest.raises(KeyboardInterrupt):
        Group(cut)._lead(batch)
    assert batch.ended.is_set()


def test_a_leader_that_is_cut_short_while_it_gathers_leaves_nobody_waiting(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Group(write_with(engine, []))
    joined: list[StoreError] = []

    def join() -> None:
        with pytest.raises(StoreError, match="interrupted") as caught:
            group.keep(arrival(2), size=1)
        joined.append(caught.value)

    joiner = threading.Thread(target=join, daemon=True)

    def cut(_batch: Batch[Arrival, Receipt]) -> None:
        joiner.start()
        until(lambda: len(group._open.arrivals) >= 2, "one has joined")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(group, "_gather", cut)
        with pytest.raises(KeyboardInterrupt):
            group.keep(arrival(1), size=1)
    joiner.join(PATIENCE_SECONDS)
    assert joined
    assert not group.keep(arrival(3), size=1).duplicate


def test_beyond_what_may_wait_a_sender_is_told_to_come_again(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Group, "MOST_WAITING", 5)
    write, somebody_writes = write_with(engine, []), threading.Lock()

    def write_in_turn(take: Any) -> list[Receipt]:
        with somebody_writes:
            return write(take)

    group = Group(write_in_turn)
    with somebody_writes:
        outcomes: list[Any] = []
        pool = threading.Thread(
            target=lambda: outcomes.extend(
                together([arrival(n) for n in range(8)], lambda one: group.keep(one, size=1))
            )
        )
        pool.start()
        until(lambda: len(group._open.arrivals) >= 5, "five wait")
        until(lambda: _coming() <= 5, "the others were sent away")
    pool.join(PATIENCE_SECONDS)
    assert sum(isinstance(outcome, StoreError) for outcome in outcomes) == 3
    assert len(rows(engine, events)) == 5


def _coming() -> int:
    return sum(thread.name.endswith("(come)") for thread in threading.enumerate())


def test_a_few_large_bodies_are_as_much_as_may_wait(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Group, "MOST_WAITING_BYTES", 100)
    group = Group(write_with(engine, []))
    group._open.arrivals.append(arrival(1))
    group._open.size = 60
    with pytest.raises(StoreError, match="too many"):
        group.keep(arrival(2), size=60)


@pytest.mark.sqlite_only
def test_writers_of_one_file_take_turns_across_processes(engine: sa.Engine) -> None:
    path = f"{engine.url.database}-turn"
    with db.turn(engine):
        other = os.open(path, os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


@pytest.mark.sqlite_only
def test_a_writer_that_waits_too_long_for_its_turn_says_who_has_it(engine: sa.Engine) -> None:
    impatient = db.open_engine(str(engine.url), limit=timedelta(seconds=0.05))
    with db.turn(engine):
        pass
    other = os.open(f"{engine.url.database}-turn", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(StoreError, match="another process has held"), db.writing(impatient):
        pass
    os.close(other)
    impatient.dispose()


@pytest.mark.sqlite_only
def test_a_turn_that_cannot_be_taken_is_told_as_a_store_error_that_names_its_file(
    engine: sa.Engine, clock: Clock
) -> None:
    path = Path(f"{engine.url.database}-turn")
    path.mkdir()
    inbox = Inbox(engine, rejected_max_count=1, rejected_max_bytes=1)
    with pytest.raises(StoreError, match=f"{path} cannot be opened") as caught:
        refuse(inbox, clock, 1, 1)
    assert not caught.value.is_about_a_row
    path.rmdir()
    assert refuse(inbox, clock, 1, 1)
