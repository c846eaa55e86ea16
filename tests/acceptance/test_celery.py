"""The same service with a broker: real Redis, real Celery; and what becomes of jobs that the broker loses."""

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from receiver.storage.tables import attempts, jobs
from tests.acceptance.service import Service
from tests.slow_sentry import sentry
from tests.waiting import PATIENCE_SECONDS, until

HANDLERS = """
import os
import time
from datetime import timedelta
from receiver import Discard, on

@on("box:FILE.UPLOADED")
def append(event):
    with open(os.environ["IDS"], "ab", buffering=0) as file:
        file.write(event.id.encode() + b"\\n")

@on("box:FILE.DELETED", queue="slow")
def in_a_queue_of_its_own(event):
    pass

@on("box:FILE.TRASHED", time_limit=timedelta(seconds=3))
def lasts_too_long(event):
    time.sleep(600)

@on("box:FILE.LOCKED")
def does_not_want(event):
    raise Discard("not this one")

@on("box:FILE.RESTORED")
def takes_its_time(event):
    while not os.path.exists(os.environ["GO_ON"]):
        time.sleep(0.02)
"""


@pytest.fixture
def service(tmp_path: Path, database_url: str) -> Iterator[Service]:
    """Web, worker and an empty Redis; Celery is started by the tests."""
    ids = tmp_path / "ids"
    ids.touch()
    service = Service(tmp_path, DATABASE_URL=database_url, LEASE_SECONDS="2", IDS=str(ids))
    service.environ["GO_ON"] = str(tmp_path / "go-on")
    service.handlers({"some": HANDLERS})
    service.redis()
    service.web()
    service.worker()
    yield service
    service.stop()


@pytest.fixture
def store(service: Service) -> Iterator[sa.Engine]:
    engine = sa.create_engine(service.environ["DATABASE_URL"])
    yield engine
    engine.dispose()


def send(service: Service, name: str, count: int = 1) -> list[str]:
    items = json.loads(service.signalbox(f"send box {name} --count {count} --json"))["items"]
    assert {item["status"] for item in items} == {200}
    return [item["answer"]["event"] for item in items]


def states(store: sa.Engine, handler: str = "") -> Counter[str]:
    with store.connect() as connection:
        chosen = sa.select(jobs.c.state).where(jobs.c.handler.contains(handler))
        return Counter(connection.execute(chosen).scalars())


def history(store: sa.Engine, handler: str) -> list[Any]:
    chosen = sa.select(attempts.c.outcome, attempts.c.error).join(jobs, jobs.c.id == attempts.c.job_id)
    with store.connect() as connection:
        return list(connection.execute(chosen.where(jobs.c.handler.contains(handler)).order_by(attempts.c.seq)))


def written(service: Service) -> Counter[str]:
    return Counter(service.log("ids").split())


def broker(service: Service) -> Any:
    return redis.Redis.from_url(service.environ["CELERY_BROKER_URL"])


def all_done(store: sa.Engine, count: int) -> bool:
    found = states(store, ".append")
    return found["done"] == count == found.total()


@pytest.mark.both_databases
def test_every_event_is_handled_once_and_the_broker_keeps_no_results(service: Service, store: sa.Engine) -> None:
    service.celery()
    accepted = send(service, "FILE.UPLOADED", 100)
    until(lambda: all_done(store, 100), "all jobs are done")
    assert written(service) == dict.fromkeys(accepted, 1)
    assert {row.outcome for row in history(store, ".append")} == {"done"}
    until(lambda: service.log("celery.log").count("dropped.some.append") == 100, "each attempt is in Celery's log")
    assert "dropped.some.append" not in service.log("worker.log")
    with broker(service) as keeper:
        assert not list(keeper.scan_iter("celery-task-meta-*"))


@pytest.mark.both_databases
def test_jobs_that_a_killed_broker_had_are_handled_all_the_same(service: Service, store: sa.Engine) -> None:
    accepted = sent_to_the_broker(service, 50)
    (process,) = (one for one in service._started if "redis-server" in str(one.args))
    service.kill(process)
    service.redis(int(service.environ["CELERY_BROKER_URL"].rpartition(":")[2].partition("/")[0]))
    service.celery()
    until(lambda: all_done(store, 50), "all jobs are done")
    assert written(service) == dict.fromkeys(accepted, 1)


def test_jobs_that_are_flushed_from_the_broker_are_handled_all_the_same(service: Service, store: sa.Engine) -> None:
    accepted = sent_to_the_broker(service, 50)
    with broker(service) as keeper:
        keeper.flushall()
    service.celery()
    until(lambda: all_done(store, 50), "all jobs are done")
    assert written(service) == dict.fromkeys(accepted, 1)


def sent_to_the_broker(service: Service, count: int) -> list[str]:
    accepted = send(service, "FILE.UPLOADED", count)
    with broker(service) as keeper:
        until(lambda: keeper.llen("signalbox"), "the jobs are with the broker")
    return accepted


def test_a_handler_with_a_queue_of_its_own_waits_for_a_worker_that_serves_it(
    service: Service, store: sa.Engine
) -> None:
    service.celery()
    send(service, "FILE.DELETED")
    send(service, "FILE.UPLOADED")
    until(lambda: all_done(store, 1), "the usual queue is served")
    assert states(store, ".in_a_queue_of_its_own") == {"waiting": 1}
    service.celery("--queues slow")
    until(lambda: states(store, ".in_a_queue_of_its_own") == {"done": 1}, "its own queue is served")


def test_a_time_limit_ends_a_handler_and_that_is_an_attempt_that_failed(service: Service, store: sa.Engine) -> None:
    service.celery()
    send(service, "FILE.TRASHED")
    (attempt,) = until(lambda: history(store, ".lasts_too_long"), "the handler is ended")
    assert attempt.outcome == "failed"
    assert "in lasts_too_long\n" in attempt.error
    assert attempt.error.endswith("SoftTimeLimitExceeded: SoftTimeLimitExceeded()\n")
    assert states(store, ".lasts_too_long") == {"waiting": 1}


def test_a_celery_worker_told_to_stop_finishes_what_runs(service: Service, store: sa.Engine) -> None:
    celery = service.celery()
    send(service, "FILE.RESTORED")
    until(lambda: states(store, ".takes_its_time") == {"running": 1}, "the slow handler runs")
    celery.send_signal(signal.SIGTERM)
    Path(service.environ["GO_ON"]).touch()
    assert celery.wait(PATIENCE_SECONDS) == 0
    assert [row.outcome for row in history(store, ".takes_its_time")] == ["done"]


def test_a_celery_worker_that_ends_has_told_sentry_of_every_dead_job(service: Service, store: sa.Engine) -> None:
    with sentry(answers=True) as server:
        service.environ["SENTRY_DSN"] = server.dsn
        celery = service.celery()
        send(service, "FILE.LOCKED", 4)
        until(lambda: states(store, ".does_not_want") == {"dead": 4}, "all jobs are dead")
        until(server.asked.is_set, "Sentry is told of the first")
        celery.send_signal(signal.SIGTERM)
        until(lambda: celery.poll() is not None, "Celery ends")
        assert len(server.heard) == 4


def test_celery_without_a_broker_says_which_setting_is_missing(service: Service) -> None:
    del service.environ["CELERY_BROKER_URL"]
    line = ["celery", "-A", "wsgi.celery", "worker"]
    done = subprocess.run(
        line,
        cwd=service.root,
        env=service.environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode != 0
    assert "CELERY_BROKER_URL: must be set" in done.stderr
