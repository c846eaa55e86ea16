"""What `signalbox doctor` looks at, one after the other: how it stands, in words, and what mends it."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from flask import Flask

from receiver import humanize, service
from receiver.cli import screen
from receiver.cli.installation import load_handlers
from receiver.errors import HandlerError, StoreError
from receiver.inbox.rows import Inbox
from receiver.jobs import registry
from receiver.jobs.loaded import UNSEEN
from receiver.observe import queries
from receiver.observe.metrics import gauges
from receiver.outbound import Client, OutboundError, Reply, Trouble, read_json
from receiver.outbound.addresses import address
from receiver.service import KEYS_HEADER, fingerprint_of_keys
from receiver.sources import TROUBLE
from receiver.storage import db, search
from receiver.storage.search import Filters
from receiver.storage.tables import events

State = Literal["ok", "warn", "fail"]

LATE = timedelta(minutes=1)
LONG = timedelta(minutes=5)
LATELY = timedelta(days=1)
SKEWED = timedelta(seconds=2)
WEB_WITHIN = timedelta(seconds=10)
MOST_BYTES = 64 * 1024
FEW_BYTES = 1024**3
TOO_FEW_BYTES = 100 * 1024**2
MEND_DAMAGE = (
    "Stop web and worker, and restore a backup: signalbox db restore FILE, which keeps the damaged one aside. "
    "One made since may hold the damage too. Or save what can be read: sqlite3 FILE .recover"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """How one thing stands; `mend` is what to do about it, "" where nothing is."""

    name: str
    state: State
    said: str
    mend: str = ""


def settings(app: Flask) -> Iterator[Finding]:
    env = app.config["ENV"]
    if env == "production" and app.config["DATABASE_URL"].startswith("sqlite"):
        said = "production, on SQLite: good on one machine of your own, lost with the disk of a platform's"
        yield Finding("settings", "ok", said)
    else:
        yield Finding("settings", "ok", env)
    for name, close in service.of(app).misspelt.items():
        yield Finding("settings", "warn", f"{name} in .env is no setting: did you mean {close}?", "Rename it in .env.")


def database(app: Flask) -> Iterator[Finding]:
    """Say whether the tables are there, and whether a commit goes through; without them, nothing else can be asked."""
    engine, inbox = _engine(app), service.of(app).inbox
    where = engine.url.render_as_string(hide_password=True)
    try:
        if not db.is_current(engine):
            yield Finding("database", "fail", f"{where}: not the tables of this release", "signalbox db upgrade")
            return
        yield Finding("database", "ok", f"{where}: a commit takes {_commit(inbox):.0f} ms")
    except (StoreError, OSError) as error:
        mend = "Start the database, or put DATABASE_URL right."
        yield Finding("database", "fail", f"{where}: {error}", MEND_DAMAGE if db.is_damage(error) else mend)


def _commit(inbox: Inbox) -> float:
    began = time.perf_counter()
    inbox.probe(datetime.now(UTC))
    return (time.perf_counter() - began) * 1000


def disk(app: Flask) -> Iterator[Finding]:
    """Say how much room the file of SQLite has; the disk of a server is somebody else's to watch."""
    engine = _engine(app)
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return
    free = shutil.disk_usage(Path(engine.url.database).parent).free
    state: State = "fail" if free < TOO_FEW_BYTES else "warn" if free < FEW_BYTES else "ok"
    mend = "" if state == "ok" else "Make room, or keep less: signalbox db prune --days 7"
    yield Finding("disk", state, f"{free / 10**9:,.1f} GB free", mend)


def keys(app: Flask) -> Iterator[Finding]:
    gates = service.of(app).gates
    is_any_on = any(gate.keys for gate in gates.values())
    for name, gate in gates.items():
        if gate.keys:
            yield Finding(name, "ok", f"on, verified by {' or '.join(gate.keys)}")
        else:
            said = "off: its deliveries are answered 404"
            mend = f"Set {' or '.join(gate.settings)}, and restart web."
            yield Finding(name, "warn" if is_any_on else "fail", said, mend)


def sources(_app: Flask) -> Iterator[Finding]:
    """Look for entry points that are to be sources, and are none."""
    for point, reason in TROUBLE.items():
        yield Finding("sources", "fail", f"{point} is no source. {reason}", "Repair or remove the package it is of.")


def handlers(app: Flask) -> Iterator[Finding]:
    """Say whether the modules import here, and whether the workers have loaded the same."""
    try:
        router = load_handlers()
    except HandlerError as error:
        yield Finding("handlers", "fail", str(error), "Rename one of them.")
        return
    for broken in router.broken.values():
        yield Finding("handlers", "fail", f"{broken.name} does not import: {broken.error}", "signalbox handlers list")
    here = {handler.name for handler in router.handlers()}
    if not here and not router.broken:
        yield Finding("handlers", "warn", "none: events are kept and nothing happens", "docs/handlers.md")
    known = {item["name"]: item for item in registry.list_handlers(_engine(app)) if item["loaded_at"]}
    some_runs = any(item["workers"] for item in known.values())
    paused = sorted(name for name, item in known.items() if item["paused_at"])
    for name in paused:
        yield Finding("handlers", "warn", f"{name} is paused: its jobs wait", f"signalbox handlers resume {name}")
    loaded = {name for name, item in known.items() if item["workers"] or not some_runs}
    new = sorted(here - loaded - {*paused}) if known else []
    if new:
        said = f"not loaded by any worker that runs: {', '.join(new)}"
        yield Finding("handlers", "warn", said, "Restart the worker, or start one with these HANDLERS.")
    if here and not paused and not new:
        yield Finding("handlers", "ok", humanize.count(len(here), "handler"))


def worker(app: Flask) -> Iterator[Finding]:
    """Name every worker that runs, since when, and what it has loaded."""
    seen, now = registry.last_sign(_engine(app)), datetime.now(UTC)
    running = registry.list_workers(_engine(app), now)
    for one in running:
        since = humanize.lasting(humanize.parse(one["started_at"]), now)
        loaded = humanize.count(len(one["handlers"]), "handler")
        of = f" of {', '.join(one['packages'])}" if one["packages"] else ""
        state: State = "fail" if one["broken"] else "ok"
        does_not = f"; {', '.join(one['broken'])} does not import" if one["broken"] else ""
        said = f"process {one['pid']} on {one['host']} {since}, with {loaded}{of}{does_not}"
        yield Finding("worker", state, said, "signalbox handlers list" if one["broken"] else "")
    if running:
        return
    is_production = app.config["ENV"] == "production"
    start = "python wsgi.py worker" if is_production else "signalbox worker (make run starts one)"
    if seen is None:
        yield Finding("worker", "fail", "none has ever run here: events are kept and not handled", start)
    elif now - seen > UNSEEN:
        yield Finding("worker", "fail", f"none runs: the last sign of one was {humanize.ago(seen, now)}", start)
    else:
        yield Finding("worker", "ok", f"alive {humanize.ago(seen, now)}")


def waits(app: Flask) -> Iterator[Finding]:
    """Name what jobs wait for that no running worker has loaded."""
    for one in registry.stranded(_engine(app), datetime.now(UTC)):
        number = humanize.count(one.count.number, "job")
        said = f"{'' if one.count.is_whole else 'at least '}{number} of {one.name}: {one.why}"
        yield Finding("waits", "fail", said, _mend(one))


def _mend(one: registry.Stranded) -> str:
    if one.is_broken:
        return "Mend it, and restart the worker: signalbox handlers list shows where."
    return f"Start a worker that loads it (HANDLERS). Gone for good? signalbox handlers forget {one.name}"


def work(app: Flask) -> Iterator[Finding]:
    """Say how late the oldest event and the oldest job are, what died, and what was refused lately."""
    engine, now = _engine(app), datetime.now(UTC)
    stands = gauges.now(engine, now)
    late = {
        "event that is not routed": stands["oldest_event_seconds"],
        "job that is due and not done": stands["oldest_job_seconds"],
    }
    for what, seconds in late.items():
        if seconds is not None and timedelta(seconds=seconds) > LATE:
            said = f"the oldest {what} waits for {humanize.span(timedelta(seconds=seconds))}"
            yield Finding("work", "fail", said, "Start a worker, or more of them; see whether a handler hangs.")
    if stands["dead_jobs"]:
        many = "+" if "dead_jobs" in stands["capped"] else ""
        said = f"{stands['dead_jobs']:,}{many} dead letters" if stands["dead_jobs"] > 1 else "a dead letter"
        yield Finding("work", "warn", said, "signalbox jobs list --state dead")
    elif not any(seconds is not None and timedelta(seconds=seconds) > LATE for seconds in late.values()):
        yield Finding("work", "ok", "nothing waits for longer than a minute")
    refused = queries.list_rejected(engine, Filters(since=now - LATELY), limit=1).items
    if refused:
        at = refused[0].received_at
        said = f"{refused[0].source} was refused {humanize.ago(at, now)}: {refused[0].reason}"
        yield Finding("deliveries", "warn", said, "signalbox rejected show last")


def runs(app: Flask) -> Iterator[Finding]:
    """Name the handlers that have been running one job for so long that they may hang."""
    now = datetime.now(UTC)
    for long in gauges.look_at_runs(_engine(app), before=now - LONG):
        began = humanize.ago(long.since, now)
        what = "a job that began" if long.count == 1 else f"{long.count} jobs, the first of which began"
        mend = "If it hangs, restart the worker, which repeats what it was running; give it a time limit of its own."
        yield Finding("handlers", "warn", f"{long.handler} runs {what} {began}", mend)


def clock(app: Flask) -> Iterator[Finding]:
    """Compare the clock with the database's, and with what was written before."""
    engine = _engine(app)
    off = _off_from_database(engine)
    with db.reading(engine) as connection:
        newest = search.newest(connection, events)
    ahead = newest.received_at - datetime.now(UTC) if newest else timedelta()
    if abs(off) > SKEWED:
        said = f"{humanize.span(off)} {'ahead of' if off > timedelta() else 'behind'} the database's"
        yield Finding("clock", "fail" if abs(off) > LATE else "warn", said, "Set the clocks right (NTP).")
    elif ahead > SKEWED:
        said = (
            f"the newest event is {humanize.span(ahead)} in the future: this clock was set back, or is behind another"
        )
        yield Finding("clock", "fail" if ahead > LATE else "warn", said, "Set the clocks right (NTP).")
    else:
        yield Finding("clock", "ok", humanize.full(datetime.now(UTC)))


def _off_from_database(engine: sa.Engine) -> timedelta:
    if engine.dialect.name == "sqlite":  # it has ours
        return timedelta()
    with db.reading(engine) as connection:
        theirs: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    return datetime.now(UTC) - theirs


def web(app: Flask, url: str | None) -> Iterator[Finding]:
    """Ask a running web process whether it could keep a delivery, and by the keys that are set now."""
    if url is None and not app.config["PORT"]:
        yield Finding("web", "warn", "PORT is 0, so nobody knows where it listens", "Say it: --url http://127.0.0.1:…")
        return
    base = (url or address(app.config["HOST"], app.config["PORT"])).rstrip("/")
    fingerprint = fingerprint_of_keys(app)
    asked = {KEYS_HEADER: fingerprint} if fingerprint else {}
    try:
        with (
            screen.waiting(base, most=WEB_WITHIN),
            Client(within=WEB_WITHIN, most=MOST_BYTES, by_environment=url is not None) as client,
        ):
            answer = client.fetch("GET", f"{base}/readyz", headers=asked.items())
    except OutboundError as error:
        said = f"no answer from {base} ({str(error).rstrip('.')})"
        is_nobody = error.trouble in (Trouble.UNREACHED, Trouble.NO_ADDRESS)
        mends = "Start it: make run. Or say where it is: --url" if is_nobody else "Is that Signalbox at all? --url"
        yield Finding("web", "fail", said, mends)
        return
    told = _json_of(answer)
    if answer.status == 200 and told.get("status") == "ok":
        yield Finding("web", "ok", f"{base} can keep deliveries")
        if told.get("keys") == "others":
            said = "it was started with other keys, or another SECRET_KEY, than are set here now"
            yield Finding("web", "warn", said, "Restart web: it reads its settings when it starts.")
    else:
        detail = humanize.plain(told.get("detail", "not as Signalbox does"))
        why = f"{base} answers {answer.status} to /readyz: {detail}"
        yield Finding("web", "fail", why, "See its log. Is that Signalbox at all?")


def _json_of(answer: Reply) -> dict[str, Any]:
    try:
        said = read_json(answer)
    except OutboundError:
        return {}
    return said if isinstance(said, dict) else {}


def _engine(app: Flask) -> sa.Engine:
    return service.of(app).engine


# What needs the tables, and is not asked without them.
OF_THE_TABLES: tuple[Callable[[Flask], Iterator[Finding]], ...] = (handlers, worker, waits, work, runs, clock)
