"""What people would use instead, where it is installed: adnanh/webhook, which keeps nothing, and Node-RED."""

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

CONNECTIONS = 32


class Peer(Site):
    """A peer that takes POST /hooks/box and answers 200; nothing that it is sent is looked for afterwards."""

    command: str
    title: str

    def open(self) -> None:
        self.environ["PATH"] += f":{Path(shutil.which(self.command) or '').parent}"
        self.web = self.start(self.line(), "web.log")

    def line(self) -> str:
        """Write what the peer reads at its start, and give the command that starts it."""
        raise NotImplementedError


class Webhook(Peer):
    """Reads each body as JSON and looks at a header that never matches, so that it starts no command."""

    command = "webhook"
    title = "adnanh/webhook"

    def line(self) -> str:
        version = {"source": "header", "name": "BOX-SIGNATURE-VERSION"}
        rule = {"match": {"type": "value", "value": "none", "parameter": version}}
        hooks = self.folder / "hooks.json"
        hooks.write_text(json.dumps([{"id": "box", "execute-command": "/bin/true", "trigger-rule": rule}]))
        return f"webhook -hooks {hooks} -ip 127.0.0.1 -port {self.port} -urlprefix hooks"


class NodeRed(Peer):
    """Reads each body as JSON, adds it as a line to a file, without an fsync, and answers when that is written."""

    command = "node-red"
    title = "Node-RED"

    @property
    def kept(self) -> Path:
        return self.folder / "kept.txt"

    def line(self) -> str:
        self.folder.joinpath("package.json").write_text("{}")  # it looks there for nodes that were added
        self.folder.joinpath("flows.json").write_text(json.dumps(self._flow()))
        settings = self.folder / "settings.js"
        settings.write_text(f"module.exports = {json.dumps(self._settings())}")
        return f"node-red --userDir {self.folder} --settings {settings} --no-telemetry"

    def _flow(self) -> list[dict[str, object]]:
        append = {"filename": str(self.kept), "filenameType": "str", "overwriteFile": "false", "appendNewline": True}
        answer = {"statusCode": "200", "headers": {}}
        # A node without x and y counts as configuration and is connected to nothing (Node-RED 4.1, tried 2026-11-22).
        place = {"z": "tab", "x": 0, "y": 0}
        return [
            {"id": "tab", "type": "tab", "label": "bench"},
            place | {"id": "in", "type": "http in", "method": "post", "url": "/hooks/box", "wires": [["file"]]},
            place | {"id": "file", "type": "file", "wires": [["answer"]]} | append,
            place | {"id": "alive", "type": "http in", "method": "get", "url": "/healthz", "wires": [["answer"]]},
            place | {"id": "answer", "type": "http response", "wires": []} | answer,
        ]

    def _settings(self) -> dict[str, object]:
        return {
            "uiHost": "127.0.0.1",
            "uiPort": self.port,
            "disableEditor": True,
            "httpAdminRoot": False,
            "flowFile": "flows.json",
            "readOnly": True,
            "credentialSecret": False,
            "telemetry": {"enabled": False, "updateNotification": False},
            "externalModules": {"autoInstall": False},
            "logging": {"console": {"level": "warn", "metrics": False, "audit": False}},
        }

    def _answers(self) -> bool:
        return self._status() == 200  # it answers 404 as soon as it listens, and its flow starts after that


KINDS: tuple[type[Peer], ...] = (Webhook, NodeRed)


def peers(stage: Stage) -> Iterator[Row]:
    """The closed model with 32 connections once more, beside the peers: told as remarks, since they have no column."""
    kinds = [kind for kind in KINDS if shutil.which(kind.command)]
    stage.remarks += [f"{kind.title}: not installed, left out" for kind in KINDS if kind not in kinds]
    if not kinds:
        return
    with stage.sides(postgres=False) as (view, ours), ExitStack() as stack:
        others = [_opened(kind, stage, stack) for kind in kinds]
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


def _opened(kind: type[Peer], stage: Stage, stack: ExitStack) -> Peer:
    other = kind(kind.title, stage.room(), stage.driver, stage.deliveries)
    stack.callback(other.remove)
    stack.callback(other.stop)
    other.open()
    other.wait_serving()
    other.warm_up()
    return other


def _speed(site: Site, *, load: Load) -> float:
    run = site.drive(load)
    if run.others():
        raise BenchError(f"{site.name} answered {run.statuses}")
    return run.per_second
