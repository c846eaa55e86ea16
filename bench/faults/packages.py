"""Packages of handlers that are broken and repaired, or that one worker has loaded and another has not."""

import random
import signal

from bench.faults.dropped import ACME, LEDGER
from bench.faults.installation import PATIENCE_SECONDS, Installation
from bench.faults.processes import wait_restarted
from bench.sites import until

MISSED = 20


def break_package(site: Installation, _rng: random.Random) -> None:
    """Break the `__init__.py` of a package whose handler lies in a submodule; deliver; repair it."""
    package = site.packages / ACME / "__init__.py"
    package.write_text("import a_library_that_is_missing\n")
    _restart(site)
    missed = [site.provider.publish("FILE.COPIED") for _ in range(MISSED)]
    until(lambda: all(one.event_ids for one in missed), "all are answered 200", seconds=PATIENCE_SECONDS)
    ids = [event_id for one in missed for event_id in one.event_ids]
    until(lambda: site.are_routed(ids), "all are routed while the package is broken", seconds=PATIENCE_SECONDS)
    package.write_text("")
    _restart(site)


def _restart(site: Installation) -> None:
    for name in dict.fromkeys(["worker", site.runner]):
        process = site.processes[name]
        starts = process.starts
        process.signal(signal.SIGTERM)
        wait_restarted(process, starts)


def run_unequal_workers(site: Installation, _rng: random.Random) -> None:
    """Start a worker with a package more; deliver; end it while its jobs are open; deliver; start it again."""
    second = site.processes.add("worker-2", "python wsgi.py worker", HANDLERS=f"{site.environ['HANDLERS']},{LEDGER}")
    until(lambda: site.has_loaded(f"{LEDGER}.billing.note"), "the second worker is there", seconds=PATIENCE_SECONDS)
    for _ in range(MISSED):
        site.provider.publish("FILE.MOVED")
    second.end()
    late = [site.provider.publish("FILE.MOVED") for _ in range(MISSED)]
    until(lambda: all(one.event_ids for one in late), "all are answered 200", seconds=PATIENCE_SECONDS)
    ids = [event_id for one in late for event_id in one.event_ids]
    until(lambda: site.are_routed(ids), "all are routed by the worker that is left", seconds=PATIENCE_SECONDS)
    second.start()
    second.is_wanted = True
    until(lambda: site.are_done(ids), "the second worker has run them", seconds=PATIENCE_SECONDS)
    second.end()
