"""Refusals: written a moment later and together, sampled when too many come, and of nobody lost to somebody else."""

import os
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from ulid_transform import ulid_now

from receiver import signals
from receiver.events import Reason, Unread
from receiver.inbox import refusals
from receiver.inbox.refusals import BEGINNING, Refusal, RefusalLog, Sample
from receiver.inbox.rejected import FORMED, JUNK, STRAY, RejectedTable
from receiver.storage import db
from receiver.storage.tables import rejected
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.both_databases

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
MESSAGE = b'{"trigger": "FILE.UPLOADED", "id": "1"}'


def refusal(client: str = "192.0.2.1", body: bytes = MESSAGE, **changed: Any) -> Refusal:
    told: dict[str, Any] = {"reason": Reason.SIGNATURE_MISMATCH, "received_at": NOW, "headers": b""} | changed
    return Refusal(id=ulid_now(), source="box", detail="No.", body=body, client=client, **told)


def kept(engine: sa.Engine) -> list[sa.Row[Any]]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(rejected).order_by(rejected.c.seq)))


@pytest.fixture
def waiting(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> RefusalLog:
    """Refusals that are written only when a test asks."""
    monkeypatch.setattr(RefusalLog, "_keep_writing", lambda _self: None)
    return RefusalLog(engine, max_count=10_000, max_bytes=10**8)


def test_a_refusal_is_written_by_itself_a_moment_later(engine: sa.Engine) -> None:
    here = RefusalLog(engine, max_count=10, max_bytes=10**6)
    here.add(refusal())
    until(lambda: kept(engine), "the refusal is written")
    here.write_out()


def test_whoever_refuses_does_not_wait_for_the_database(engine: sa.Engine) -> None:
    here = RefusalLog(engine, max_count=10, max_bytes=10**6)
    with db.writing(engine) as connection:
        connection.execute(sa.insert(rejected).values(refusals._row(refusal())))
        here.add(refusal())
    until(lambda: len(kept(engine)) == 2, "both are written")
    here.write_out()


def test_many_are_one_transaction(waiting: RefusalLog, engine: sa.Engine) -> None:
    begun: list[object] = []
    sa.event.listen(engine, "commit", begun.append)
    for _ in range(100):
        waiting.add(refusal())
    waiting.write_out()
    assert len(kept(engine)) == 100
    assert len(begun) <= 2  # one to write, and one that only looks how many there are


def test_what_is_left_out_is_told(waiting: RefusalLog, engine: sa.Engine) -> None:
    told: list[tuple[int, int]] = []
    with signals.refusals_written.connected_to(lambda _, kept, left_out: told.append((kept, left_out))):
        for _ in range(1000):
            waiting.add(refusal())
        waiting.write_out()
    assert told == [(RefusalLog.MOST_AT_ONCE, 1000 - RefusalLog.MOST_AT_ONCE)]
    assert len(kept(engine)) == RefusalLog.MOST_AT_ONCE


def test_a_flood_that_goes_on_is_kept_in_part_and_a_burst_whole(waiting: RefusalLog, engine: sa.Engine) -> None:
    for _ in range(20):
        for _ in range(300):
            waiting.add(refusal())
        waiting.write_out()
    assert RefusalLog.BURST <= len(kept(engine)) < RefusalLog.BURST + 20 * 50


def test_memory_does_not_grow_however_many_come_while_the_database_is_away(
    waiting: RefusalLog, engine: sa.Engine
) -> None:
    told: list[tuple[int, int]] = []
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE rejected")
    with signals.refusals_written.connected_to(lambda _, kept, left_out: told.append((kept, left_out))):
        for _ in range(3):
            for _ in range(400):
                waiting.add(refusal(body=MESSAGE + b" " * 100_000))
            assert sum(one.size for sample in waiting._waiting.values() for one in sample) < 10 * 1024 * 1024
            waiting.write_out()
    assert told == [(0, 400)] * 3
    assert not any(list(sample) for sample in waiting._waiting.values())


def test_one_that_the_database_does_not_take_takes_no_other_down(waiting: RefusalLog, engine: sa.Engine) -> None:
    twice = refusal()
    for one in (twice, twice, refusal()):
        waiting.add(one)
    waiting.write_out()
    assert len(kept(engine)) == 2


@pytest.mark.sqlite_only
def test_a_process_that_was_forked_leaves_what_waits_to_its_parent(waiting: RefusalLog, engine: sa.Engine) -> None:
    waiting.add(refusal())
    engine.dispose()
    child = os.fork()
    if child == 0:
        waiting.write_out()
        os._exit(len(kept(engine)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    waiting.write_out()
    assert len(kept(engine)) == 1


def test_of_long_bodies_that_are_too_many_the_beginning_is_kept_and_said_to_be_cut(
    waiting: RefusalLog, engine: sa.Engine
) -> None:
    for _ in range(3):
        waiting.add(refusal(body=b"x" * 900_000, reason=Reason.SIGNATURE_MISSING))
    waiting.write_out()
    found = Counter((len(row.body), row.is_cut, row.announced) for row in kept(engine))
    assert found == {(900_000, False, None): 1, (BEGINNING, True, 900_000): 2}


# Who has room


@pytest.mark.parametrize(
    ("one", "room"),
    [
        (refusal(), FORMED),
        (refusal(reason=Reason.TIMESTAMP_STALE), FORMED),
        (refusal(reason=Unread.SOURCE_OFF, status=404), FORMED),
        (refusal(body=b"not a message"), JUNK),
        (refusal(body=b'{"no": "trigger"}'), JUNK),
        (refusal(reason=Reason.SIGNATURE_MISSING), JUNK),
        (refusal(reason=Unread.BODY_TOO_LONG, status=413, is_cut=True), STRAY),
    ],
)
def test_what_fails_by_its_signature_alone_has_room_apart_from_junk(
    waiting: RefusalLog, engine: sa.Engine, one: Refusal, room: str
) -> None:
    waiting.add(one)
    waiting.write_out()
    assert [row.room for row in kept(engine)] == [room]


def rows_of(count: int, **changed: Any) -> list[dict[str, Any]]:
    return [refusals._row(refusal(**changed)) for _ in range(count)]


def test_junk_pushes_no_honest_refusal_out(engine: sa.Engine) -> None:
    store = RejectedTable(engine, max_count=100, max_bytes=10**7)
    store.write(rows_of(50))
    for _ in range(50):
        store.write(rows_of(20, reason=Reason.SIGNATURE_MISSING))
    found = Counter(row.room for row in kept(engine))
    assert (found[FORMED], found[FORMED] + found[JUNK] <= 100) == (50, True)


def test_a_forger_of_well_formed_ones_pushes_out_its_own(engine: sa.Engine) -> None:
    store = RejectedTable(engine, max_count=200, max_bytes=10**7)
    honest = rows_of(60, client="198.51.100.7")
    store.write(honest)
    for _ in range(50):
        store.write(rows_of(20, client="203.0.113.9"))
    found = kept(engine)
    assert {row["id"] for row in honest} <= {row.id for row in found}
    assert len(found) <= 200


def test_an_honest_burst_of_another_hour_outlasts_a_flood_from_everywhere(engine: sa.Engine) -> None:
    store = RejectedTable(engine, max_count=1000, max_bytes=10**7)
    honest = rows_of(10, client="198.51.100.7", received_at=NOW - timedelta(hours=5))
    store.write(honest)
    for number in range(60):
        store.write([row for host in range(40) for row in rows_of(1, client=f"10.{number}.{host}.1")])
    assert {row["id"] for row in honest} <= {row.id for row in kept(engine)}


def test_of_a_burst_the_beginning_stays(engine: sa.Engine) -> None:
    store = RejectedTable(engine, max_count=200, max_bytes=10**7)
    first = rows_of(20)
    store.write(first)
    for _ in range(30):
        store.write(rows_of(20))
    last = rows_of(1)
    store.write(last)
    found = [row.id for row in kept(engine)]
    assert {row["id"] for row in first + last} <= set(found)
    assert len(found) <= 200


def test_bytes_are_bounded_too_and_whoever_sent_most_gives(engine: sa.Engine) -> None:
    store = RejectedTable(engine, max_count=1000, max_bytes=200_000)
    store.write(rows_of(20))
    for _ in range(30):
        store.write(rows_of(1, client="203.0.113.9", body=b"x" * 20_000))
    found = kept(engine)
    assert sum(row.size for row in found) <= 200_000
    assert sum(row.size < 1000 for row in found) == 20


def test_a_sender_of_few_is_kept_beside_one_of_many_that_wait() -> None:
    sample = Sample(50)
    for number in range(5000):
        sample.offer(refusal(client="203.0.113.9"))
        if number % 500 == 0:
            sample.offer(refusal(client="198.51.100.7"))
    found = Counter(one.client for one in sample)
    assert (found["198.51.100.7"], sum(found.values())) == (10, 50)


def test_threads_that_refuse_at_once_lose_none_of_the_count(waiting: RefusalLog) -> None:
    told: list[int] = []

    def refuse() -> None:
        for _ in range(200):
            waiting.add(refusal())

    threads = [threading.Thread(target=refuse) for _ in range(4)]
    with signals.refusals_written.connected_to(lambda _, kept, left_out: told.append(kept + left_out)):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        waiting.write_out()
    assert sum(told) == 800


@pytest.mark.sqlite_only
def test_a_process_that_ends_in_order_writes_what_waits(database_url: str, engine: sa.Engine) -> None:
    script = f"""
from datetime import UTC, datetime
from receiver.storage import db
from receiver.inbox.refusals import Refusal, RefusalLog

RefusalLog.PAUSE_SECONDS = 1000  # nothing is written by itself
here = RefusalLog(db.open_engine({database_url!r}), max_count=10, max_bytes=10**6)
told = dict(source="box", received_at=datetime.now(UTC), detail="", headers=b"", body=b"")
here.add(Refusal(id="1" * 26, reason="signature_missing", **told))
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=PATIENCE_SECONDS)
    assert [row.id for row in kept(engine)] == ["1" * 26]
