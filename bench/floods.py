"""The phase beside floods: genuine deliveries at a steady rate, alone and beside what strangers may send."""

import resource
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median

import psutil
import sqlalchemy as sa

from bench.deliveries import request, write
from bench.driver import Load, driving, read_answers
from bench.figures import Row
from bench.sites import Signalbox, cpu_seconds
from bench.stage import Stage, take_turns
from receiver import bins
from receiver.sources import samples
from receiver.storage.tables import rejected

GENUINE_PER_SECOND = 200
GENUINE = Load(connections=64, seconds=0, rate=GENUINE_PER_SECOND)
DIFFERENT = 1000
KEPT_ALREADY = 10_000  # as many as are kept where nobody says otherwise
SLOW = 5000
ALONE = "alone"
WRONG_KEYS = {"primary": "a key that nobody set", "secondary": "a key that nobody set"}
BUSY_PERCENT = 90.0  # of the machine: from here on the processor may be what everybody waits for

Flood = Callable[[Signalbox, float], AbstractContextManager[Callable[[], float]]]


@dataclass(frozen=True, slots=True)
class Beside:
    """How genuine deliveries fared, and at what cost: the flood's own rate, and how busy web and machine were."""

    p50_ms: float
    p99_ms: float
    late: int
    accepted_percent: float
    flood_per_second: float
    web_percent: float
    machine_percent: float


def floods(stage: Stage) -> Iterator[Row]:
    """200 genuine deliveries/s, open, in turns alone and beside each flood, over each database."""
    with stage.sides(empty=False) as (_, ours):
        for site in ours:
            _prepare(site)
        for name, flood in _floods(stage).items():
            found = {site.name: _in_turns(stage, site, name, flood) for site in ours}
            yield from _rows(name, found)
        for one in ours:
            stage.check("floods", one)


def _prepare(site: Signalbox) -> None:
    """Make the bin, and keep as many refusals as there may be, which is when keeping one more was dearest."""
    bins.create(site.engine, name="flood", now=datetime.now(UTC))
    body, headers = samples.forge("box", "FILE.UPLOADED", WRONG_KEYS, at=datetime.now(UTC))
    block = "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")
    row = {"source": "box", "received_at": datetime.now(UTC), "reason": "signature_mismatch", "detail": "forged"}
    row |= {"size": len(body) + len(block), "headers": block, "body": body}
    with site.engine.begin() as connection:
        connection.execute(sa.insert(rejected), [row | {"id": f"{number:026}"} for number in range(KEPT_ALREADY)])


def _floods(stage: Stage) -> Mapping[str, Flood]:
    folder = stage.folder
    forged = _file(folder, "forged", map(_forged, range(DIFFERENT)))
    large = _file(folder, "large", (request("/hooks/box", _UNSIGNED, b"x" * 2**20),))
    capture = _file(folder, "capture", (request("/b/flood", _UNSIGNED, b'{"some": "thing"}'),))
    nowhere = _file(folder, "nowhere", (request("/hooks/nowhere", _UNSIGNED, b"{}"),))
    nothing = _file(folder, "nothing", (request("/nothing", _UNSIGNED, b"{}"),))
    return {
        "forged, 1 connection": _pouring(forged, 1),
        "forged, 16 connections": _pouring(forged, 16),
        "forged, 100/s": _pouring(forged, 16, rate=100),
        "unsigned 1 MB, 4 connections": _pouring(large, 4),
        "captures, 64 connections": _pouring(capture, 64),
        "captures, 100/s": _pouring(capture, 64, rate=100),
        "/hooks/nowhere, 16 connections": _pouring(nowhere, 16),
        "/nothing, 16 connections": _pouring(nothing, 16),
        f"{SLOW:,} that send a byte a second": partial(_slow, is_dripping=True),
        f"{SLOW:,} that stop half-way": partial(_slow, is_dripping=False),
    }


_UNSIGNED = [("Content-Type", "application/json")]


def _forged(number: int) -> bytes:
    body, headers = samples.forge("box", "FILE.UPLOADED", WRONG_KEYS, at=datetime.now(UTC), number=number)
    return request("/hooks/box", headers, body)


def _file(folder: Path, name: str, requests: Iterator[bytes] | Sequence[bytes]) -> Path:
    path = folder / f"flood-{name}.bin"
    write(path, requests)
    return path


def _pouring(requests: Path, connections: int, *, rate: float | None = None) -> Flood:
    @contextmanager
    def pour(site: Signalbox, seconds: float) -> Iterator[Callable[[], float]]:
        load = Load(connections=connections, seconds=seconds, rate=rate)
        with driving(site.driver, port=site.port, requests=requests, load=load) as ended:
            yield lambda: ended().per_second

    return pour


@contextmanager
def _slow(site: Signalbox, seconds: float, *, is_dripping: bool) -> Iterator[Callable[[], float]]:
    """Hold open connections that never send all that they announce."""
    _allow_files(SLOW + 1000)
    lines = b"POST /hooks/box HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n{"
    is_over = threading.Event()
    held: list[socket.socket] = []
    thread = threading.Thread(target=_drip, args=(held, is_over, is_dripping))
    try:
        for _ in range(SLOW):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", site.port))
            held.append(one)
        _say(held, lines)
        thread.start()
        yield lambda: float(SLOW if is_dripping else 0)
    finally:
        is_over.set()
        if thread.ident:
            thread.join()
        for one in held:
            one.close()


def _say(held: Sequence[socket.socket], words: bytes) -> None:
    """Write to every connection that is open by now: for a second at the most."""
    with selectors.DefaultSelector() as selector:
        for one in held:
            selector.register(one, selectors.EVENT_WRITE)
        deadline = time.monotonic() + 1
        while selector.get_map() and time.monotonic() < deadline:
            for key, _ in selector.select(0.1):
                _send(key.fileobj, words)
                selector.unregister(key.fileobj)


def _send(one: object, words: bytes) -> None:
    try:
        one.send(words)  # type: ignore[attr-defined] # a socket
    except OSError:
        return  # the server has ended it, or never let it in


def _drip(held: Sequence[socket.socket], is_over: threading.Event, is_dripping: bool) -> None:
    while not is_over.wait(1):
        for one in held if is_dripping else ():
            _send(one, b"x")


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


def _in_turns(stage: Stage, site: Signalbox, name: str, flood: Flood) -> dict[str, list[Beside]]:
    seconds = stage.plan.seconds * 2
    take = partial(_take, site, seconds)
    measures: dict[str, Callable[[], Beside]] = {ALONE: lambda: take(lambda: 0.0)}

    def beside() -> Beside:
        with flood(site, seconds + 1) as ended:
            time.sleep(0.5)  # the flood stands before the first delivery is due
            return take(ended)

    return take_turns({**measures, name: beside}, max(2, stage.plan.rounds - 3))


def _take(site: Signalbox, seconds: float, flooded: Callable[[], float]) -> Beside:
    read = site.answers.stat().st_size
    web, machine, began = cpu_seconds(site.web), psutil.cpu_times(), time.monotonic()
    run = site.drive(Load(connections=GENUINE.connections, seconds=seconds, rate=GENUINE.rate))
    spent = time.monotonic() - began
    web_seconds, at_end = cpu_seconds(site.web) - web, psutil.cpu_times()
    with site.answers.open() as lines:
        lines.seek(read)
        late = sum(one.microseconds > 1e6 for one in read_answers(lines))
    idle = at_end.idle + at_end.iowait - machine.idle - machine.iowait
    return Beside(
        p50_ms=run.p50_ms,
        p99_ms=run.p99_ms,
        late=late,
        accepted_percent=100 * run.statuses.get("200", 0) / max(1, sum(run.statuses.values())),
        flood_per_second=flooded(),
        web_percent=100 * web_seconds / spent,
        machine_percent=100 * (1 - idle / spent / (psutil.cpu_count() or 1)),
    )


def _rows(name: str, found: Mapping[str, Mapping[str, Sequence[Beside]]]) -> Iterator[Row]:
    for label, of in _FIGURES.items():
        unit = _UNITS[label]
        values = {side: median(map(of, turns[name])) for side, turns in found.items()}
        if unit != "ms":
            yield Row(phase="floods", figure=f"{name}: {label}", unit=unit, values=values)
            continue
        alone = {side: median(map(of, turns[ALONE])) for side, turns in found.items()}
        ratios = {side: value / alone[side] for side, value in values.items()}
        against = "alone: " + ", ".join(f"{side} {value:.1f}" for side, value in alone.items())
        yield Row(phase="floods", figure=f"{name}: {label}", unit=unit, values=values, ratios=ratios, against=against)


_FIGURES: Mapping[str, Callable[[Beside], float]] = {
    "p50": lambda one: one.p50_ms,
    "p99": lambda one: one.p99_ms,
    "over 1 s": lambda one: one.late,
    "answered 200": lambda one: one.accepted_percent,
    "the flood": lambda one: one.flood_per_second,
    "web": lambda one: one.web_percent,
    "the whole machine": lambda one: one.machine_percent,
}
_UNITS = {
    "p50": "ms",
    "p99": "ms",
    "over 1 s": "deliveries",
    "answered 200": "%",
    "the flood": "requests/s",
    "web": "% of a processor",
    "the whole machine": "% busy",
}
