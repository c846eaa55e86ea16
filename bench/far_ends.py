"""What each command and *Ask Box* make of far ends that misbehave: `python -m bench.far_ends`, one table, by hand.

Everything is on loopback, and ends by itself: each command at its deadline of three seconds, *Ask Box* at its own.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx2 as httpx

from receiver.sources import samples
from tests.acceptance.service import Service
from tests.far_ends import FAR_ENDS, FarEnd, misbehaving
from tests.installation import BOX_KEYS

WITHIN = 3
LONGEST = 60
ASKED_FOR_SECONDS = 2
COMMANDS = {
    "send": "send box FILE.UPLOADED --to {url} --within {within}",
    "box list": "box --within {within} list",
    "listen": "listen --from {url} --to {url} --cursor {folder}/cursor --within {within}",
    "doctor": "doctor --url {url}",
}


@dataclass(frozen=True, slots=True)
class Row:
    """What one command made of one far end."""

    far_end: str
    command: str
    seconds: float
    megabytes: float
    status: str
    said: str

    def __str__(self) -> str:
        figures = f"{self.seconds:.1f} s | {self.megabytes:.0f} MB | {self.status}"
        return f"| {self.far_end} | {self.command} | {figures} | {self.said} |"


def command(far_end: FarEnd, name: str, root: Path, *, is_old: bool) -> Row:
    line = COMMANDS[name]
    if is_old:
        line = line.replace("--within {within} ", "").replace(" --within {within}", "")
    with tempfile.TemporaryDirectory() as folder, misbehaving(far_end) as url:
        service = Service(Path(folder), root=root, BOX_API_URL=url, ENV="development")
        said = Path(folder) / "said"
        words = line.format(url=url, folder=folder, within=WITHIN).split()
        began = time.monotonic()
        with said.open("wb") as out:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "wsgi.py", *words], cwd=root, env=service.environ, stdout=out, stderr=out
            )
        killer = threading.Timer(LONGEST if is_old else 5 * WITHIN, process.terminate)
        killer.start()
        _, status, usage = os.wait4(process.pid, 0)
        killer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        last = re.sub(r"\s+", " ", said.read_text(errors="replace").strip().replace("|", "/"))
    ended = "ended by us" if process.returncode < 0 else str(process.returncode)
    return Row(far_end.name, name, time.monotonic() - began, usage.ru_maxrss / 1024, ended, last[-230:])


@contextmanager
def web(folder: Path, root: Path, url: str) -> Iterator[tuple[Service, int]]:
    service = Service(folder, root=root, BOX_API_URL=url, LOG_LEVEL="WARNING")
    service.signalbox("db upgrade")
    process = service.web()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    try:
        yield service, int(children[0])
    finally:
        service.stop()


def ask_box(far_end: FarEnd, root: Path) -> Row:
    """Press *Ask Box* for a while, and deliver to the same worker meanwhile."""
    with (
        tempfile.TemporaryDirectory() as folder,
        misbehaving(far_end) as url,
        web(Path(folder), root, url) as (service, worker),
        httpx.Client(timeout=LONGEST, trust_env=False) as sender,
        httpx.Client(timeout=LONGEST, trust_env=False) as asker,
    ):
        deliver(sender, service, 0)
        times: list[float] = []
        is_over = threading.Event()

        def keep_delivering() -> None:
            number = 1
            while not is_over.wait(0.01):
                times.append(deliver(sender, service, number))
                number += 1

        ingest = threading.Thread(target=keep_delivering)
        ingest.start()
        began, longest, page = time.monotonic(), 0.0, ""
        while time.monotonic() - began < ASKED_FOR_SECONDS:
            start = time.monotonic()
            try:
                page = asker.get(f"{service.url}/registrations?ask=box").text
            except httpx.HTTPError as error:
                page = f'role="alert">{type(error).__name__}</p>'
            longest = max(longest, time.monotonic() - start)
        is_over.set()
        ingest.join()
        peak = peak_of(worker)
    found = re.search(r'role="alert">(.*?)</p>', page)
    said = re.sub(r"<[^>]*>", "", found[1] if found else "(no message)")
    p99 = statistics.quantiles(times, n=100)[98] if len(times) > 1 else float("nan")
    status = f"p99 {p99 * 1000:.0f} ms, worst {max(times) * 1000:.0f} ms of {len(times)}"
    return Row(far_end.name, "Ask Box", longest, peak, status, said[:230])


def peak_of(pid: int) -> float:
    try:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return float("nan")  # it was killed
    return int(found[1]) / 1024 if found else float("nan")


def deliver(client: httpx.Client, service: Service, number: int) -> float:
    body, headers = samples.forge("box", "FILE.UPLOADED", BOX_KEYS, at=datetime.now(UTC), number=number)
    began = time.monotonic()
    client.post(f"{service.url}/hooks/box", content=body, headers=headers)
    return time.monotonic() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="Only far ends of these names.")
    parser.add_argument("--command", action="append", choices=[*COMMANDS, "Ask Box"], help="Only these.")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent, help="Another checkout.")
    parser.add_argument("--old", action="store_true", help="That checkout knows no --within.")
    asked = parser.parse_args()
    print("| far end | command | time | peak memory | exit status, or ingest meanwhile | what it says |")
    print("|---|---|---|---|---|---|")
    for far_end in FAR_ENDS:
        if asked.only and far_end.name not in asked.only:
            continue
        for name in asked.command or [*COMMANDS, "Ask Box"]:
            row = (
                ask_box(far_end, asked.root)
                if name == "Ask Box"
                else command(far_end, name, asked.root, is_old=asked.old)
            )
            print(row, flush=True)


if __name__ == "__main__":
    main()
