"""`python -m bench.faults [--quick] [--only redis,disk]`: do every fault, print what each cost, fail where one lost."""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.faults import account, clock
from bench.faults.catalogue import FAULTS, Fault
from bench.faults.installation import HANDLERS, Installation, Shape
from bench.faults.provider import USUAL, Published
from bench.sites import BenchError
from receiver.observe import logs

SHAPES = [Shape(is_postgres=postgres, has_celery=celery) for postgres in (False, True) for celery in (False, True)]
QUICK = {SHAPES[0]: ["web-child", "worker"], SHAPES[3]: ["celery-child", "redis", "postgres"]}
CLOCK = "clock"
ALL = Fault(name="all of these, and the time between them", does=lambda _site, _rng: None)
AFTER_SECONDS = 1.0
MOST_SHOWN = 5
HEADS = ("fault", "events", "no 200 for", "sent again", "longest wait for the handler", "ran again", "lost")
say = partial(Console(stderr=True, highlight=False).print, soft_wrap=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one fault cost: seconds without an answer of 200, seconds between a 200 and its handler's end, and what."""

    shape: Shape
    fault: str
    events: int = 0
    silent_seconds: float | None = None
    sent_again: int | None = None
    wait_seconds: float | None = None
    own_seconds: float | None = None
    ran_again: int = 0
    wrong: Sequence[str] = field(default_factory=list)

    def cells(self) -> list[str]:
        wait = _seconds(self.wait_seconds)
        if self.own_seconds is not None:
            wait += f" (in trouble itself: {_seconds(self.own_seconds)})"
        sent_again = "" if self.sent_again is None else f"{self.sent_again:,}"
        silent = _seconds(self.silent_seconds)
        return [self.fault, f"{self.events:,}", silent, sent_again, wait, f"{self.ran_again:,}", f"{len(self.wrong)}"]


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"


def main() -> int:
    given = _arguments()
    signal.signal(signal.SIGTERM, _end)
    logs.configure(level="critical")
    began, rng = time.monotonic(), random.Random(given.seed)
    say(f"{given.rate:.0f} events a second, leases of {given.lease} s, seed {given.seed}")
    with tempfile.TemporaryDirectory(prefix="signalbox-faults-") as name:
        folder = Path(name)
        _keep_locks_in(folder / "runtime")
        rows = []
        for shape, names in _plan(given).items():
            mine = list(_play(shape, names, folder, given, rng))
            _tell(shape, mine, is_markdown=given.markdown)
            rows += mine
    wrong = sum(len(row.wrong) for row in rows)
    say(f"LOST something: {wrong}" if wrong else f"nothing was lost; {time.monotonic() - began:.0f} s")
    return 1 if wrong or not rows else 0


def _keep_locks_in(folder: Path) -> None:
    """Have PostgreSQL's package put its lock file here, and not on the disk that is filled."""
    folder.mkdir(mode=0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(folder)


def _end(*_: object) -> None:
    """Leave in order, so that all that was started is ended; a second signal must not come between."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit("told to stop")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few of them, in less than a minute")
    parser.add_argument("--only", type=_names, metavar="NAME,…", help=f"some of {', '.join([*FAULTS, CLOCK])}")
    parser.add_argument("--on", metavar="WORDS", default="", help='"SQLite", "PostgreSQL and Celery", …: there only')
    parser.add_argument("--rate", type=float, default=20, help="events a second (20)")
    parser.add_argument("--lease", type=int, metavar="SECONDS", help="LEASE_SECONDS of the installations (5; quick: 2)")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="for the moments, to repeat a run")
    parser.add_argument("--markdown", action="store_true", help="print the tables as docs/reliability.md has them, too")
    given = parser.parse_args()
    given.lease = given.lease or (2 if given.quick else 5)
    return given


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in FAULTS and name != CLOCK]:
        raise argparse.ArgumentTypeError(f"no fault is named {', '.join(unknown)}: {', '.join([*FAULTS, CLOCK])}")
    return names


def _plan(given: argparse.Namespace) -> dict[Shape, list[str]]:
    plan = QUICK if given.quick else {shape: [*FAULTS, CLOCK] for shape in SHAPES}
    if given.only:
        plan = dict.fromkeys(SHAPES, given.only)
    return {shape: names for shape, names in plan.items() if given.on in ("", str(shape))}


def _play(
    shape: Shape, names: Sequence[str], folder: Path, given: argparse.Namespace, rng: random.Random
) -> Iterator[Row]:
    faults = [FAULTS[name] for name in names if name in FAULTS and FAULTS[name].applies(shape)]
    if faults:
        site = Installation(shape, folder / _plain(str(shape)), rate=given.rate, lease=given.lease)
        try:
            site.open()
            for fault in faults:
                if fault is FAULTS["disk"] and not site.disk.can_be_filled:
                    say(f"{shape}: {fault.name}: left out, nothing can be mounted here")
                else:
                    yield _timed(f"{shape}: {fault.name}", lambda one=fault: _row(site, one, rng))  # type: ignore[misc]
            yield _timed(f"{shape}: {ALL.name}", lambda: _row_of_all(site))
        finally:
            site.close()
    if CLOCK in names:
        yield _timed(f"{shape}: clock", lambda: _clock_row(shape, folder / _plain(f"{shape} clock"), given.rate, rng))


def _plain(name: str) -> str:
    return name.replace(" ", "-").lower()


def _timed(name: str, play: Callable[[], Row]) -> Row:
    say(f"{name} …", end=" ")
    began = time.monotonic()
    row = play()
    say(f"{time.monotonic() - began:.0f} s{', LOST something:' if row.wrong else ''}")
    for one in row.wrong[:MOST_SHOWN]:
        say(f"  {one}")
    return row


def _row(site: Installation, fault: Fault, rng: random.Random) -> Row:
    """Do one fault at a moment of chance, wait until everything is handled, and settle the account."""
    first = len(site.provider.published)
    time.sleep(rng.uniform(1, 3))
    broken = []
    try:
        fault.does(site, rng)
    except BenchError as error:
        broken.append(str(error))
    over = datetime.now(UTC)
    time.sleep(AFTER_SECONDS)
    end = len(site.provider.published)
    try:
        site.wait_settled(first, end)
    except BenchError as error:
        # What is on its way cannot be judged: it is as good as lost.
        published = site.provider.published[first:end]
        return Row(shape=site.shape, fault=fault.name, events=len(published), wrong=[*broken, str(error)])
    return _examine(site, fault, site.provider.published[first:end], over, broken)


def _row_of_all(site: Installation) -> Row:
    """Settle the account of everything that was published, between the faults as well."""
    site.provider.stop_publishing()
    published = site.provider.published
    try:
        site.wait_settled(0, len(published))
    except BenchError as error:
        return Row(shape=site.shape, fault=ALL.name, events=len(published), wrong=[str(error)])
    return _examine(site, ALL, published, datetime.now(UTC), [])


def _examine(site: Installation, fault: Fault, published: list[Published], over: datetime, wrong: list[str]) -> Row:
    fates = site.fates(published)
    promised = {event_id: one.body for one in published for event_id in one.event_ids}
    wrong += [f"event {one.number} has two ids" for one in published if len(one.event_ids) > 1]
    wrong += account.faults_of(promised, fates, runs=site.runs(), over=over, handler=HANDLERS)
    ran_again = account.lost_attempts(fates.values())
    unanswered = sum(one.was_kept_unanswered for one in published)
    if fault.is_graceful and (ran_again or unanswered):
        wrong.append(f"{ran_again} attempts were cut off, {unanswered} deliveries were kept and not answered")
    answered = sorted([published[0].happened_at, *(one.answered_at for one in published)])
    usual = [one for one in published if one.name == USUAL]
    own = [one for one in published if one.name != USUAL]
    return Row(
        shape=site.shape,
        fault=fault.name,
        events=len(published),
        silent_seconds=max(later - earlier for earlier, later in pairwise(answered)),
        sent_again=sum(one.refusals for one in published),
        wait_seconds=_longest_wait(usual, fates),
        own_seconds=_longest_wait(own, fates) if own else None,
        ran_again=ran_again,
        wrong=wrong,
    )


def _longest_wait(published: list[Published], fates: dict[str, account.Fate]) -> float:
    """Give the longest time from an answer of 200 to the end of the handler."""
    ends = {
        event_id: attempt.finished_at.timestamp()
        for event_id, fate in fates.items()
        for name, (_job, history) in fate.jobs.items()
        for attempt in history
        if name.startswith(HANDLERS) and attempt.outcome == "done"
    }
    waits = (ends[one] - each.answered_at for each in published for one in each.event_ids if one in ends)
    return max(waits, default=0.0)


def _clock_row(shape: Shape, folder: Path, rate: float, rng: random.Random) -> Row:
    promised, wrong, ran_again = clock.play(shape, folder, rng, rate=rate)
    name = "clock set an hour back and forth"
    return Row(shape=shape, fault=name, events=len(promised), ran_again=ran_again, wrong=wrong)


def _tell(shape: Shape, rows: Sequence[Row], *, is_markdown: bool) -> None:
    drawn = Table(title=str(shape), title_justify="left")
    for head in HEADS:
        drawn.add_column(head, justify="left" if head == "fault" else "right")
    for row in rows:
        drawn.add_row(*row.cells())
    Console(width=140).print(drawn)
    if is_markdown:
        lines = [HEADS, ("---", *["---:"] * (len(HEADS) - 1)), *(row.cells() for row in rows)]
        print("\n".join(f"| {' | '.join(line)} |" for line in lines), flush=True)


if __name__ == "__main__":
    sys.exit(main())
