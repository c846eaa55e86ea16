"""The faults, one after the other: each is done to an installation that is under load, and is over when it returns."""

import os
import random
import resource
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.faults import database, packages, strangers
from bench.faults.installation import PATIENCE_SECONDS, Installation, Shape
from bench.faults.processes import wait_restarted
from bench.sites import until

LOCKED_SECONDS = 20
FULL_SECONDS = 5
AWAY_SECONDS = 2
ROOM_FOR_MEMORY = 256 * 2**20

EVERYWHERE: Callable[[Shape], bool] = lambda _shape: True  # noqa: E731
WITH_CELERY: Callable[[Shape], bool] = lambda shape: shape.has_celery  # noqa: E731
WITHOUT_CELERY: Callable[[Shape], bool] = lambda shape: not shape.has_celery  # noqa: E731
ON_POSTGRES: Callable[[Shape], bool] = lambda shape: shape.is_postgres  # noqa: E731
ON_SQLITE: Callable[[Shape], bool] = lambda shape: not shape.is_postgres  # noqa: E731


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong; `does` returns when it does so no longer."""

    name: str
    does: Callable[[Installation, random.Random], None]
    applies: Callable[[Shape], bool] = EVERYWHERE
    is_graceful: bool = False


def _kill(site: Installation, name: str) -> None:
    process = site.processes[name]
    starts = process.starts
    process.signal(signal.SIGKILL)
    wait_restarted(process, starts)


def _kill_a_child(site: Installation, name: str, rng: random.Random) -> None:
    until(site.processes[name].children, f"{name} has children", seconds=PATIENCE_SECONDS)
    os.kill(rng.choice(site.processes[name].children()), signal.SIGKILL)
    time.sleep(AWAY_SECONDS)


def kill_web_child(site: Installation, rng: random.Random) -> None:
    _kill_a_child(site, "web", rng)


def kill_web(site: Installation, _rng: random.Random) -> None:
    _kill(site, "web")


def kill_worker(site: Installation, _rng: random.Random) -> None:
    _kill(site, "worker")


def kill_celery_child(site: Installation, rng: random.Random) -> None:
    _kill_a_child(site, "celery", rng)


def kill_celery(site: Installation, _rng: random.Random) -> None:
    _kill(site, "celery")


def kill_redis(site: Installation, _rng: random.Random) -> None:
    _kill(site, "redis")


def kill_postgres(site: Installation, _rng: random.Random) -> None:
    assert site.postgres  # noqa: S101 - applies there only
    site.postgres.kill()
    time.sleep(AWAY_SECONDS)
    site.postgres.start()


def stop_postgres_immediately(site: Installation, _rng: random.Random) -> None:
    assert site.postgres  # noqa: S101 - applies there only
    site.postgres.stop_immediately()
    time.sleep(AWAY_SECONDS)
    site.postgres.start()


def fill_disk(site: Installation, _rng: random.Random) -> None:
    """Leave no room until deliveries are refused, and for a while after."""
    refused = site.count_refused()
    site.disk.fill()
    until(lambda: site.count_refused() > refused, "the disk is full", seconds=PATIENCE_SECONDS)
    deadline = time.monotonic() + FULL_SECONDS
    while time.monotonic() < deadline:
        site.disk.fill()
        time.sleep(0.2)
    site.disk.free()
    if site.postgres and not site.postgres.is_there():
        site.postgres.start()


def lock_database(site: Installation, _rng: random.Random) -> None:
    with site.locked():
        time.sleep(LOCKED_SECONDS)


def hang(site: Installation, _rng: random.Random) -> None:
    """A handler that hangs, and one that will not be ended by an exception."""
    _trouble(site, ["FILE.TRASHED", "FILE.RESTORED"])
    if not site.shape.has_celery:
        # Two threads of four are lost until somebody ends the worker; the second signal does so at once.
        process = site.processes["worker"]
        starts = process.starts
        process.signal(signal.SIGTERM)
        time.sleep(1)
        process.signal(signal.SIGTERM)
        wait_restarted(process, starts)


def end_threads(site: Installation, _rng: random.Random) -> None:
    """Handlers into whose threads exceptions are thrown: thirty times, and there are four threads."""
    _trouble(site, ["FILE.UNLOCKED"] * 30)


def hold_gil(site: Installation, _rng: random.Random) -> None:
    """A handler that lets no other thread of its process run, the watchdog of the worker included."""
    process = site.processes["worker"]
    starts = process.starts
    _trouble(site, ["FILE.RENAMED"])
    wait_restarted(process, starts)


def break_pipes(site: Installation, _rng: random.Random) -> None:
    """Take away what reads the logs of web and worker."""
    for name in ("web", "worker"):
        process = site.processes[name]
        process.pipe(True)
        _tell(site, name)
        process.break_pipe()
    time.sleep(AWAY_SECONDS)
    for name in ("web", "worker"):
        site.processes[name].pipe(False)
        _tell(site, name)


def swell(site: Installation, _rng: random.Random) -> None:
    """A handler that takes all the memory which its process may have."""
    top = site.processes[site.runner]
    runners = top.children() if site.shape.has_celery else [top.pid]
    for pid in runners:
        most = _virtual_bytes(pid) + ROOM_FOR_MEMORY
        resource.prlimit(pid, resource.RLIMIT_AS, (most, most))
    _trouble(site, ["FILE.LOCKED" for _ in runners])
    time.sleep(AWAY_SECONDS)


def _trouble(site: Installation, names: Sequence[str]) -> None:
    """Let events happen that get their handlers into trouble, and wait until those have begun."""
    published = [site.provider.publish(name) for name in names]
    until(lambda: site.have_begun(published), "the handlers are in trouble", seconds=PATIENCE_SECONDS)


def _virtual_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as statm:  # noqa: PTH123
        return int(statm.read().split()[0]) * resource.getpagesize()


def _tell(site: Installation, name: str) -> None:
    process = site.processes[name]
    starts = process.starts
    process.signal(signal.SIGTERM)
    wait_restarted(process, starts)


def stop_web(site: Installation, _rng: random.Random) -> None:
    _tell(site, "web")


def reload_web(site: Installation, _rng: random.Random) -> None:
    """Have gunicorn replace its workers while it goes on to listen."""
    before = set(site.processes["web"].children())
    site.processes["web"].signal(signal.SIGHUP)
    is_through = lambda: before.isdisjoint(site.processes["web"].children())  # noqa: E731
    until(is_through, "the workers are new ones", seconds=PATIENCE_SECONDS)


def stop_runner(site: Installation, _rng: random.Random) -> None:
    _tell(site, site.runner)


def stop_worker(site: Installation, _rng: random.Random) -> None:
    _tell(site, "worker")


FAULTS = {
    "web-child": Fault(name="kill -9 of a gunicorn worker", does=kill_web_child),
    "web": Fault(name="kill -9 of the gunicorn master", does=kill_web),
    "worker": Fault(name="kill -9 of the worker", does=kill_worker),
    "celery-child": Fault(name="kill -9 of a process of Celery's pool", does=kill_celery_child, applies=WITH_CELERY),
    "celery": Fault(name="kill -9 of Celery", does=kill_celery, applies=WITH_CELERY),
    "redis": Fault(name="kill -9 of Redis, its data lost", does=kill_redis, applies=WITH_CELERY),
    "postgres": Fault(name="kill -9 of PostgreSQL, back after 2 s", does=kill_postgres, applies=ON_POSTGRES),
    "postgres-stop": Fault(
        name="immediate stop of PostgreSQL, back after 2 s", does=stop_postgres_immediately, applies=ON_POSTGRES
    ),
    "disk": Fault(name="disk full for 5 s and more", does=fill_disk),
    "lock": Fault(name="database locked for 20 s", does=lock_database),
    "hang": Fault(name="handlers that hang", does=hang),
    "memory": Fault(name="handlers that take all memory", does=swell),
    "threads": Fault(name="exceptions thrown into threads", does=end_threads, applies=WITHOUT_CELERY),
    "gil": Fault(name="a handler that lets nobody else run", does=hold_gil, applies=WITHOUT_CELERY),
    "package": Fault(name="a package that does not import, repaired", does=packages.break_package),
    "unequal": Fault(
        name="workers that load other packages", does=packages.run_unequal_workers, applies=WITHOUT_CELERY
    ),
    "deleted": Fault(name="the database file deleted and put back", does=database.delete, applies=ON_SQLITE),
    "read-only": Fault(name="PostgreSQL read-only for 5 s", does=database.make_read_only, applies=ON_POSTGRES),
    "stalled": Fault(name="PostgreSQL stopped for 25 s", does=database.stall, applies=ON_POSTGRES),
    "flood": Fault(name="floods of what is refused", does=strangers.flood),
    "slow": Fault(name="2,050 half and slow bodies", does=strangers.drip),
    "pipes": Fault(name="nobody reads the logs", does=break_pipes, is_graceful=True),
    "stop-web": Fault(name="SIGTERM of web", does=stop_web, is_graceful=True),
    "reload-web": Fault(name="SIGHUP of web", does=reload_web, is_graceful=True),
    "stop-worker": Fault(name="SIGTERM of the worker", does=stop_worker, is_graceful=True),
    "stop-celery": Fault(name="SIGTERM of Celery", does=stop_runner, applies=WITH_CELERY, is_graceful=True),
}
