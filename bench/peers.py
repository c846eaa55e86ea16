"""What people would use instead, where it is installed: adnanh/webhook, which keeps nothing."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

from bench.driver import Load
from bench.figures import Row
from bench.sites import BenchError, Site
from bench.stage import Stage, everyone, in_turns

NAMES = {"webhook": "adnanh/webhook"}
CONNECTIONS = 32


class Peer(Site):
    """A peer that takes POST /hooks/box and answers 200; nothing that it is sent is looked for afterwards."""

    command: str

    def open(self) -> None:
        self.environ["PATH"] += f":{Path(shutil.which(self.command) or '').parent}"
        self.web = self.start(self.line(), "web.log")

    def line(self) -> str:
        raise NotImplementedError


class Webhook(Peer):
    """Reads each body as JSON and looks at a header that never matches, so that it starts no command."""

    command = "webhook"

    def line(self) -> str:
        version = {"source": "header", "name": "BOX-SIGNATURE-VERSION"}
        rule = {"match": {"type": "value", "value": "none", "parameter": version}}
        hooks = self.folder / "hooks.json"
        hooks.write_text(json.dumps([{"id": "box", "execute-command": "/bin/true", "trigger-rule": rule}]))
        return f"webhook -hooks {hooks} -ip 127.0.0.1 -port {self.port} -urlprefix hooks"


def peers(stage: Stage) -> Iterator[Row]:
    """The closed model with 32 connections once more, beside the peers: told as remarks, since they have no column."""
    kinds: list[type[Peer]] = [kind for kind in (Webhook,) if shutil.which(kind.command)]
    stage.remarks += [f"{name}: not installed, left out" for word, name in NAMES.items() if not shutil.which(word)]
    if not kinds:
        return
    with stage.sides(postgres=False) as (view, ours), ExitStack() as stack:
        others = [kind(NAMES[kind.command], stage.room(), stage.driver, stage.deliveries) for kind in kinds]
        for other in others:
            other.open()
            stack.callback(other.remove)
            stack.callback(other.stop)
            other.wait_serving()
            other.drive(Load(connections=CONNECTIONS, seconds=0.5, count=500))
        measure = partial(_speed, load=Load(connections=CONNECTIONS, seconds=stage.plan.seconds))
        speeds = in_turns([*everyone(view, ours), *others], stage.plan.rounds, measure)
        for one in ours:
            stage.check("peers", one)
    for name, found in speeds.items():
        ratio = median(speed / empty for speed, empty in zip(found, speeds["empty"], strict=True))
        stage.remarks.append(
            f"beside the peers, 32 connections: {name} {median(found):,.0f} requests/s, {ratio:.2f} of empty"
        )
    yield from ()


def _speed(site: Site, *, load: Load) -> float:
    run = site.drive(load)
    if set(run.statuses) - {"200"}:
        raise BenchError(f"{site.name} answered {run.statuses}")
    return run.per_second
