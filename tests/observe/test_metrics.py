"""What processes count adds up in the database, survives what they do not, and is read back as figures."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from receiver import service, signals
from receiver.errors import Discard, Retry, StoreError
from receiver.events import Event, Reason, Refused, Verified
from receiver.inbox.rows import Inbox
from receiver.jobs import store as jobs
from receiver.jobs.routing import Router
from receiver.jobs.store import Routing
from receiver.jobs.worker import Worker
from receiver.observe import metrics
from receiver.observe.metrics import Tally, gauges
from receiver.observe.metrics.histogram import LAST, bucket, end_of, percentile
from receiver.sources import samples
from receiver.storage import db
from receiver.storage.tables import attempts, tallies
from tests.acceptance.service import Service
from tests.installation import KEYS, Clock, arrive, delivery
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.both_databases


@pytest.fixture
def process(engine: sa.Engine, clock: Clock) -> Iterator[Callable[[], Tally]]:
    """Give something that starts processes, as far as counting goes: each counts, and writes when it is told to."""
    started = []

    def start() -> Tally:
        tally = Tally(engine, clock=lambda: clock().timestamp())
        started.append(tally)
        return tally

    yield start
    for tally in started:
        tally.stop()


@pytest.fixture
def tally(process: Callable[[], Tally]) -> Tally:
    return process()


def read(engine: sa.Engine, clock: Clock, window: str = "1h") -> metrics.Stats:
    return metrics.read(engine, **metrics.window(window, clock()))


def totals(engine: sa.Engine) -> dict[tuple[str, str, str], int]:
    return {(one.kind, one.subject, one.outcome): one.counted for one in metrics.read_totals(engine)}


def steps_of(engine: sa.Engine) -> set[int]:
    with engine.connect() as connection:
        return set(connection.execute(sa.select(tallies.c.step)).scalars())


def test_the_counts_of_two_processes_add_up(engine: sa.Engine, clock: Clock, process: Callable[[], Tally]) -> None:
    one, other = process(), process()
    for tally, count in ((one, 3), (other, 4)):
        for _ in range(count):
            tally.count("source", "box", "accepted", 2.0)
        tally.write_out()
    (box,) = read(engine, clock)["sources"]
    assert (box["source"], box["outcomes"], box["series"]["accepted"][-1]) == ("box", {"accepted": 7}, 7)


def test_a_process_that_starts_again_goes_on_counting(
    engine: sa.Engine, clock: Clock, process: Callable[[], Tally]
) -> None:
    for _ in range(2):
        again = process()
        again.count("source", "box", "accepted", 2.0)
        again.write_out()
    assert totals(engine) == {("source", "box", "accepted"): 2}
    assert read(engine, clock)["all_sources"]["outcomes"] == {"accepted": 2}


def test_processes_that_write_at_the_same_moment_lose_nothing(engine: sa.Engine, process: Callable[[], Tally]) -> None:
    started = [process() for _ in range(4)]

    def work(tally: Tally) -> None:
        for _ in range(10):
            tally.count("source", "box", "accepted", 1.0)
            tally.count("handler", "handlers.log.log_event", "done", 1.0)
            tally.write_out()

    threads = [threading.Thread(target=work, args=(tally,), daemon=True) for tally in started]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert set(totals(engine).values()) == {40}


@pytest.mark.parametrize("window", metrics.WINDOWS)
def test_every_window_has_the_same_counts(engine: sa.Engine, clock: Clock, tally: Tally, window: str) -> None:
    tally.count("source", "box", "accepted", 1.0)
    tally.count("source", "box", "rejected", 1.0)
    tally.write_out()
    found = read(engine, clock, window)
    assert found["all_sources"]["outcomes"] == {"accepted": 1, "rejected": 1}
    assert len(found["steps"]) == len(found["all_sources"]["series"]["accepted"]) == len(found["oldest_job_seconds"])


def test_counts_lie_in_the_step_that_they_were_made_in(engine: sa.Engine, clock: Clock, tally: Tally) -> None:
    for minutes in (0, 10, 49):
        clock.pass_by(minutes=minutes)
        tally.count("source", "box", "accepted", 1.0)
    tally.write_out()
    series = read(engine, clock)["all_sources"]["series"]["accepted"]
    assert [number for number, count in enumerate(series) if count] == [0, 10, 59]


def test_figures_are_read_for_known_steps_only(engine: sa.Engine, clock: Clock) -> None:
    with pytest.raises(ValueError, match="in steps of 60, 300, 1200, 7200 seconds"):
        metrics.read(engine, since=clock(), until=clock(), step=timedelta(seconds=7))
    with pytest.raises(ValueError, match="steps, and at most 1000 are possible"):
        metrics.read(engine, since=clock() - timedelta(days=2), until=clock(), step=timedelta(minutes=1))


def test_nothing_counted_is_nothing_read(engine: sa.Engine, clock: Clock) -> None:
    found = read(engine, clock)
    assert (found["sources"], found["handlers"], found["alarms"]) == ([], [], [])
    assert (found["all_sources"]["outcomes"], found["all_sources"]["p50_ms"]) == ({}, None)
    assert found["attempts"] == {
        "outcomes": {},
        "retries": 0,
        "dead": 0,
        "series": {"retries": [0] * 60, "dead": [0] * 60},
    }


# How long things took


@given(st.integers(min_value=1, max_value=LAST - 1))
def test_a_bucket_holds_what_is_between_its_ends(place: int) -> None:
    assert bucket(end_of(place) * 0.999) == place
    assert bucket(end_of(place - 1) * 1.001) == place


def test_the_first_and_the_last_bucket_hold_all_that_is_beyond() -> None:
    assert (bucket(0.0), bucket(0.0999), bucket(1e12)) == (0, 0, LAST)


@given(
    st.lists(st.floats(min_value=0.1, max_value=1e8), min_size=1, max_size=200),
    st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]),
)
def test_a_percentile_is_less_than_a_tenth_off(times: list[float], share: float) -> None:
    spread: dict[int, int] = {}
    for time_ in times:
        spread[bucket(time_)] = spread.get(bucket(time_), 0) + 1
    right = sorted(times)[ceil(share * len(times)) - 1]
    assert percentile(spread, share) == pytest.approx(right, rel=0.1, abs=0.0006)


def test_a_percentile_of_nothing_is_none() -> None:
    assert percentile({}, 0.5) is None


def test_times_of_all_processes_are_one_distribution(
    engine: sa.Engine, clock: Clock, process: Callable[[], Tally]
) -> None:
    for milliseconds in (1.0, 100.0):
        tally = process()
        for _ in range(50):
            tally.count("source", "box", "accepted", milliseconds)
        tally.write_out()
    (box,) = read(engine, clock)["sources"]
    assert box["p50_ms"] == pytest.approx(1, rel=0.1)
    assert box["p99_ms"] == pytest.approx(100, rel=0.1)
    assert box["p99_ms_series"][-1] == box["p99_ms"]
    assert box["p99_ms_series"][:-1] == [None] * 59


# What is counted


def test_each_delivery_is_counted_with_its_source_and_what_became_of_it(app: Flask, inbox: Inbox) -> None:
    client = app.test_client()
    body, headers = samples.forge("box", "FILE.UPLOADED", KEYS["box"], at=datetime.now(UTC), number=1)
    for _ in range(2):
        client.post("/hooks/box", data=body, headers=headers)
    client.post("/hooks/filestack", data=b"{}")
    service.of(app).tally.write_out()
    assert totals(service.of(app).engine) == {
        ("source", "box", "accepted"): 1,
        ("source", "box", "duplicate"): 1,
        ("source", "filestack", "rejected"): 1,
        ("refused", "filestack/signature_missing", "refused"): 1,
    }


def test_what_is_quarantined_or_not_kept_is_counted_too(engine: sa.Engine) -> None:
    tally = metrics.start(engine)
    signals.delivery_quarantined.send(quarantined_id="1", source="box", fields=["id"], milliseconds=1.0)
    signals.delivery_unkept.send(source="box", error=StoreError("no"), milliseconds=1.0)
    tally.write_out()
    assert totals(engine) == {("source", "box", "quarantined"): 1, ("source", "box", "unkept"): 1}


def test_attempts_are_counted_by_handler_and_outcome_the_failing_ones_first(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    tally = metrics.start(engine)

    @router.on("*")
    def well(event: Event) -> None:
        pass

    @router.on("*")
    def again(event: Event) -> None:
        raise Retry(after=timedelta(hours=1))

    @router.on("*")
    def never(event: Event) -> None:
        raise Discard("no")

    arrive(inbox, clock)
    Worker(engine, router, clock=clock).drain()
    tally.write_out()
    figures = read(engine, Clock(datetime.now(UTC)))
    found = {one["handler"].rpartition(".")[2]: one for one in figures["handlers"]}
    assert [one["success_rate"] for one in figures["handlers"]] == [0, 0, 1]
    assert {name: (one["outcomes"], one["retries"], one["dead"]) for name, one in found.items()} == {
        "well": ({"done": 1}, 0, 0),
        "again": ({"retry": 1}, 1, 0),
        "never": ({"discarded": 1}, 0, 1),
    }
    assert (figures["attempts"]["retries"], figures["attempts"]["dead"]) == (1, 1)
    assert metrics.read_handlers(engine, **metrics.window("1h", datetime.now(UTC))) == figures["handlers"]


def test_an_attempt_that_was_lost_is_counted_without_a_time(engine: sa.Engine, clock: Clock, tally: Tally) -> None:
    tally.count("handler", "handlers.log.log_event", "lost", None)
    tally.write_out()
    (handler,) = read(engine, clock)["handlers"]
    assert (handler["outcomes"], handler["retries"], handler["p50_ms"]) == ({"lost": 1}, 1, None)


def test_a_job_that_dies_of_its_last_attempt_is_no_retry(engine: sa.Engine, clock: Clock, tally: Tally) -> None:
    for _ in range(3):
        tally.count("handler", "handlers.log.log_event", "failed", 1.0)
    tally.count("dead", "handlers.log.log_event", "failed", None)
    tally.write_out()
    (handler,) = read(engine, clock)["handlers"]
    assert (handler["attempts"], handler["retries"], handler["dead"]) == (3, 2, 1)


@pytest.mark.parametrize("name", ["NO_ACTIVE_SESSION", "WEBHOOK.DELETED"])
def test_what_box_sends_as_an_alarm_is_found_again(engine: sa.Engine, name: str) -> None:
    tally = metrics.start(engine)
    for one in (name, "FILE.UPLOADED"):
        signals.event_accepted.send(
            event_id="1", source="box", type=f"box:{one}", verified_by="primary", milliseconds=1.0
        )
    tally.write_out()
    now = datetime.now(UTC)
    (alarm,) = metrics.read_alarms(engine, since=now - timedelta(hours=1), until=now, step=timedelta(minutes=5))
    assert (alarm["type"], alarm["count"]) == (f"box:{name}", 1)


def test_only_what_was_started_last_counts(engine: sa.Engine) -> None:
    first, last = metrics.start(engine), metrics.start(engine)
    signals.delivery_rejected.send(rejected_id="1", source="box", reason="x", milliseconds=1.0)
    first.write_out()
    assert totals(engine) == {}
    last.write_out()
    assert totals(engine) == {("source", "box", "rejected"): 1, ("refused", "box/x", "refused"): 1}


# How long jobs wait


def test_an_event_that_nobody_routes_is_seen_to_wait(
    engine: sa.Engine, inbox: Inbox, clock: Clock, tally: Tally
) -> None:
    arrive(inbox, clock)
    clock.pass_by(seconds=90)
    tally.write_out()
    clock.pass_by(seconds=30)
    tally.write_out()
    assert max(read(engine, clock)["oldest_job_seconds"]) == 120


def test_a_process_that_counts_nothing_writes_nothing(engine: sa.Engine, tally: Tally) -> None:
    tally.write_out()
    assert steps_of(engine) == set()


# Trouble


def test_what_could_not_be_written_is_written_later(tmp_path: Path, clock: Clock) -> None:
    engine = db.open_engine(f"sqlite:///{tmp_path}/late.db")
    tally = Tally(engine, clock=lambda: clock().timestamp())
    tally.count("source", "box", "accepted", 1.0)
    with pytest.raises(StoreError):
        tally.write_out()
    tally.count("source", "box", "accepted", 1.0)
    db.upgrade(engine)
    tally.write_out()
    tally.stop()
    assert totals(engine) == {("source", "box", "accepted"): 2}
    engine.dispose()


def test_what_waits_for_the_database_is_bounded_and_the_oldest_goes(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tally, "MOST_CELLS", 3)
    engine = db.open_engine(f"sqlite:///{tmp_path}/late.db")
    tally = Tally(engine, clock=lambda: clock().timestamp())
    for _ in range(5):
        tally.count("source", "box", "accepted", 1.0)
        clock.pass_by(minutes=1)
        with pytest.raises(StoreError):
            tally.write_out()
    db.upgrade(engine)
    tally.write_out()
    tally.stop()
    series = read(engine, clock)["all_sources"]["series"]["accepted"]
    assert series[-6:] == [0, 0, 1, 1, 1, 0]
    engine.dispose()


def test_what_a_database_never_takes_does_not_hold_up_the_rest(engine: sa.Engine, tally: Tally) -> None:
    tally.count("source", "box\0" if engine.dialect.name == "postgresql" else "\ud800", "accepted", 1.0)
    with pytest.raises(StoreError):
        tally.write_out()
    tally.count("source", "box", "accepted", 1.0)
    tally.write_out()
    assert totals(engine) == {("source", "box", "accepted"): 1}


def test_minutes_go_after_a_day_and_totals_stay(engine: sa.Engine, clock: Clock, tally: Tally) -> None:
    tally.count("source", "box", "accepted", 1.0)
    tally.write_out()
    assert steps_of(engine) == {0, 60, 300, 1200, 7200}
    for days, left in ((1.5, {0, 300, 1200, 7200}), (3, {0, 1200, 7200}), (31, {0})):
        clock.pass_by(days=days)
        tally.count("handler", "handlers.log.log_event", "done", 1.0)
        tally.write_out()
        with engine.connect() as connection:
            kept = sa.select(tallies.c.step).where(tallies.c.kind == "source")
            assert set(connection.execute(kept).scalars()) == left
    assert totals(engine)["source", "box", "accepted"] == 1


# Threads and processes


def test_counts_are_written_by_themselves(engine: sa.Engine, tally: Tally, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tally, "EVERY_SECONDS", 0.01)
    assert [thread for thread in threading.enumerate() if thread.name == "tally"] == []
    tally.count("source", "box", "accepted", 1.0)
    until(lambda: totals(engine), "the count is written")
    (writer,) = [thread for thread in threading.enumerate() if thread.name == "tally"]
    assert writer.daemon
    tally.stop()
    writer.join(PATIENCE_SECONDS)
    assert not writer.is_alive()


@pytest.mark.sqlite_only
def test_a_forked_process_counts_for_itself_and_both_write_when_they_end(database_url: str, engine: sa.Engine) -> None:
    script = f"""
import os
from receiver import signals
from receiver.observe import metrics
from receiver.storage import db

def reject(count):
    for _ in range(count):
        signals.delivery_rejected.send(rejected_id="1", source="box", reason="x", milliseconds=1.0)

metrics.start(db.open_engine({database_url!r}))
reject(3)
child = os.fork()
reject(20 if child == 0 else 100)
if child:
    os.waitpid(child, 0)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=PATIENCE_SECONDS)
    assert totals(engine) == {("source", "box", "rejected"): 123, ("refused", "box/x", "refused"): 123}


@pytest.mark.sqlite_only
def test_a_process_that_counted_nothing_writes_nothing_when_it_ends(
    database_url: str, engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    arrive(inbox, clock)
    script = "from receiver.observe import metrics; from receiver.storage import db; "
    script += f"metrics.start(db.open_engine({database_url!r}))"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=PATIENCE_SECONDS)
    assert steps_of(engine) == set()


@pytest.mark.sqlite_only
def test_web_and_worker_processes_that_are_told_to_stop_write_what_they_counted(tmp_path: Path) -> None:
    service = Service(tmp_path, WEB_CONCURRENCY="2", SECRET_KEY="a-secret-key-of-the-tests")
    engine = db.open_engine(service.environ["DATABASE_URL"])
    db.upgrade(engine)
    try:
        service.web()
        service.worker()
        for number in range(1, 21):
            body, headers = samples.forge("box", "FILE.TRASHED", KEYS["box"], at=datetime.now(UTC), number=number)
            assert service.post("box", body, headers).status_code == 200
        until(lambda: attempts_in(engine) == 20, "the jobs are done")
    finally:
        service.stop()
    found = totals(engine)
    assert found == {("source", "box", "accepted"): 20, ("handler", "handlers.log.log_event", "done"): 20}
    engine.dispose()


def attempts_in(engine: sa.Engine) -> int:
    with db.reading(engine) as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(attempts)).scalar_one()


# Gauges


def test_the_gauges_say_what_waits_runs_and_died_and_for_how_long(
    engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    events = [arrive(inbox, clock, number=number) for number in range(1, 5)]
    jobs.route(engine, [Routing(event, ["handlers.log.log_event"]) for event in events[:3]], clock())
    (claim,) = jobs.claim(engine, worker="w", limit=1, now=clock(), lease=timedelta(seconds=30))
    jobs.bury(engine, claim.job_id + 1, reason="no")
    clock.pass_by(seconds=20)
    found = metrics.now(engine, clock())
    assert {name: found[name] for name in ("unrouted_events", "waiting_jobs", "running_jobs", "dead_jobs")} == {
        "unrouted_events": 1,
        "waiting_jobs": 1,
        "running_jobs": 1,
        "dead_jobs": 1,
    }
    assert (found["oldest_job_seconds"], found["oldest_event_seconds"], found["capped"]) == (20, 20, [])


def test_an_old_event_that_is_replayed_is_not_late_to_be_routed(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    old, new = (arrive(inbox, clock, number=number) for number in (1, 2))
    jobs.route(engine, [Routing(old, [])], clock())
    clock.pass_by(minutes=20)
    jobs.replay_event(engine, old, handler=None, now=clock())
    assert metrics.now(engine, clock())["oldest_event_seconds"] == 1200
    jobs.route(engine, [Routing(new, [])], clock())
    found = metrics.now(engine, clock())
    assert (found["unrouted_events"], found["oldest_event_seconds"]) == (1, None)


def test_a_job_whose_worker_vanished_is_late_and_one_that_waits_for_its_next_attempt_is_not(
    engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    event = arrive(inbox, clock)
    jobs.route(engine, [Routing(event, ["handlers.log.log_event"])], clock() + timedelta(minutes=5))
    assert metrics.now(engine, clock())["oldest_job_seconds"] is None
    clock.pass_by(minutes=6)
    jobs.claim(engine, worker="w", limit=1, now=clock(), lease=timedelta(seconds=30))
    assert metrics.now(engine, clock())["oldest_job_seconds"] is None
    clock.pass_by(seconds=40)
    assert metrics.now(engine, clock())["oldest_job_seconds"] == 10


def test_the_jobs_of_a_paused_handler_are_held_and_not_late(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    event = arrive(inbox, clock)
    jobs.route(engine, [Routing(event, ["handlers.log.log_event"])], clock())
    jobs.pause_handler(engine, "handlers.log.log_event", clock())
    clock.pass_by(hours=1)
    found = metrics.now(engine, clock())
    assert (found["held_jobs"], found["waiting_jobs"], found["oldest_job_seconds"]) == (1, 0, None)


def test_what_is_kept_apart_is_counted(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    came = delivery("box", "FILE.UPLOADED", at=clock())
    inbox.reject(came, Refused(Reason.SIGNATURE_MISMATCH, "No."))
    inbox.quarantine(came, Verified("primary"), {"id": ["Missing."]})
    found = metrics.now(engine, clock())
    assert (found["rejected"], found["quarantined"], found["newest_event_at"]) == (1, 1, None)


def test_counts_stop_at_a_cap_and_say_so(
    engine: sa.Engine, inbox: Inbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "CAP", 2)
    for number in range(1, 4):
        arrive(inbox, clock, number=number)
    found = metrics.now(engine, clock())
    assert (found["unrouted_events"], found["capped"]) == (2, ["unrouted_events"])


@pytest.mark.sqlite_only
@pytest.mark.parametrize("name", gauges._COUNTED)
def test_no_count_reads_more_than_an_index(engine: sa.Engine, name: str) -> None:
    with engine.connect() as connection:
        compiled = gauges._COUNTED[name].limit(10).compile(engine, compile_kwargs={"literal_binds": True})
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}").all()
    assert all("INDEX" in row[-1] for row in plan), plan


@pytest.mark.sqlite_only
def test_a_long_window_is_read_from_few_rows(engine: sa.Engine, clock: Clock, tally: Tally) -> None:
    for _ in range(24 * 60 // 5):
        tally.count("source", "box", "accepted", 1.0)
        clock.pass_by(minutes=5)
    tally.write_out()
    with engine.connect() as connection:
        rows = connection.execute(sa.select(sa.func.count()).where(tallies.c.step == 7200)).scalar_one()
    assert rows <= 13
    assert read(engine, clock, "7d")["all_sources"]["outcomes"] == {"accepted": 288}
