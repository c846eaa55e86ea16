"""Opens everything with the deliveries of a third source, in a process of its own, and prints what came as JSON.

The sources are made once in a process: `tests/sources/test_third_source.py` puts the package beside it and reads this.
"""

import json
import os
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

from click.testing import CliRunner
from flask import Flask
from flask.cli import ScriptInfo
from flask.testing import FlaskClient
from werkzeug.serving import make_server

import wsgi
from receiver import service
from receiver.cli import cli
from receiver.inbox import refusals
from receiver.jobs import store as jobs
from receiver.jobs.retry import Dead
from receiver.jobs.store import Routing
from receiver.sources import PROFILES, SOURCES, TROUBLE, samples
from receiver.sources.spoil import faults_of, spoil
from receiver.web.snippets import copy_as

SOURCE = os.environ["THIRD_SOURCE"]
KINDS = ("events", "rejected", "quarantine")


def deliver(client: FlaskClient) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Send each kind of delivery: accepted, once more, drifted, one with each fault, unreadable."""
    gate = service.of(client.application).gates[SOURCE]
    at, example = datetime.now(UTC), PROFILES[SOURCE].example
    good = samples.forge(SOURCE, example, gate.keys, at=at, number=1)
    odd = {**samples.sample(SOURCE, example, at=at, number=2), "lamp": True}
    sent = {
        "accepted": good,
        "again": good,
        "drifted": samples.forge(SOURCE, odd, gate.keys, at=at),
        "unreadable": samples.forge(SOURCE, {"lamp": True}, gate.keys, at=at),
    }
    for fault in faults_of(SOURCE):
        limits = {"max_age": gate.max_age, "max_skew": gate.max_skew}
        sent[fault] = spoil(SOURCE, good[0], gate.keys, fault, at=at, **limits)
    # What the profile names as signed in another spelling is found by the diagnosis.
    sent["capitals"] = (
        good[0],
        [(name, value.upper() if name != "Content-Type" else value) for name, value in good[1]],
    )
    for what, (body, headers) in sent.items():
        answer = client.post(f"/hooks/{SOURCE}", data=body, headers=headers)
        yield what, answer.status_code, answer.json or {}


def bury(app: Flask, event_id: str) -> None:
    """Let a job of an event end as a dead letter, and write down where its payload drifts."""
    engine, now = service.of(app).engine, datetime.now(UTC)
    drift = [{"path": "lamp", "problem": "Unknown field."}]
    jobs.route(engine, [Routing(event_id, ("handlers.log.log_event",), drift)], now)
    (claim,) = jobs.claim(engine, worker="w", limit=1, now=now, lease=timedelta(seconds=30))
    jobs.finish(engine, [jobs.Finish(claim, "failed", now, Dead("out of attempts"), "OSError: away")], worker="w")


def addresses(ids: dict[str, list[str]]) -> Iterator[str]:
    """Yield every page and every listing that may show a delivery."""
    yield from ("/", "/rejected", "/quarantine", "/stats", "/handlers", "/bins", "/send", "/registrations")
    yield from ("/metrics", "/readyz", "/api/openapi.json", "/api/docs", "/api/stats", "/api/jobs", "/api/handlers")
    yield from ("/api/jobs/1", "/api/jobs?state=dead", f"/send?source={SOURCE}")
    yield f"/?type={SOURCE}:*"
    for root, query in product(("/", "/rejected", "/quarantine"), ("source={}", "q=thing")):
        yield f"{root}?{query.format(SOURCE)}"
    for kind in KINDS:
        yield from (f"/api/{kind}", f"/api/{kind}?source={SOURCE}")
        for one in ids[kind]:
            yield from (f"/{kind}/{one}", f"/api/{kind}/{one}", f"/{kind}/{one}/body", f"/api/{kind}/{one}/body")
            tabs = ("payload", "raw", "headers", "deliveries", "jobs")
            yield from (f"/{kind}/{one}?tab={tab}" for tab in tabs)
    for one in ids["events"]:
        yield from (f"/events/{one}/diff", f"/events/{one}/jobs?view=whole", f"/send?from={one}")
    yield from (f"/rejected/{one}?verified=now" for one in ids["rejected"])
    yield from (f"/quarantine/{one}?read=again" for one in ids["quarantine"])


def forms(client: FlaskClient) -> Iterator[tuple[str, int]]:
    """Send what the page Send can: a check, a sample, one good delivery and one with each fault."""
    payload = samples.sample(SOURCE, PROFILES[SOURCE].example, at=datetime.now(UTC), number=3)
    form = {"source": SOURCE, "name": PROFILES[SOURCE].example, "text": json.dumps(payload), "fresh": "on"}
    yield "check", client.post("/send/check", data=form).status_code
    for fault in ("", *faults_of(SOURCE)):
        yield f"send {fault}", client.post("/send", data={**form, "fault": fault}).status_code


def commands(ids: dict[str, list[str]], base: str) -> Iterator[list[str]]:
    example = PROFILES[SOURCE].example
    yield from (["send", "--list"], ["send", SOURCE, example, "--to", base])
    yield ["send", SOURCE, "thing.new", "--to", base]
    yield ["handlers", "test", "handlers.log.log_event", "--sample", f"{SOURCE}:{example}"]
    yield from (["handlers", "list"], ["jobs", "list"], ["jobs", "show", "1"], ["events", "export"])
    yield ["events", "list", "--type", f"{SOURCE}:*"]
    for kind in KINDS:
        yield from ([kind, "list"], [kind, "list", "--source", SOURCE], [kind, "list", "--json"])
        yield from ([kind, "show", one] for one in ids[kind])
    yield ["rejected", "verify", "--all"]
    yield ["quarantine", "release", "--all", "--yes", "--as", example]
    yield ["rejected", "release", ids["rejected"][0], "--unverified", "--yes"]
    yield ["events", "replay", ids["events"][0]]
    yield ["doctor"]


def run(app: Flask, words: list[str]) -> dict[str, Any]:
    done = CliRunner().invoke(cli, words, obj=ScriptInfo(create_app=lambda: app), prog_name="signalbox")
    crash = repr(done.exception) if done.exception and not isinstance(done.exception, SystemExit) else ""
    return {"exit": done.exit_code, "output": done.output, "crash": crash}


def main() -> dict[str, Any]:
    report: dict[str, Any] = {"sources": list(SOURCES), "trouble": dict(TROUBLE)}
    app = wsgi.build()
    if SOURCE not in SOURCES:
        return report | {"doctor": run(app, ["doctor"]), "page": app.test_client().get("/").status_code}
    client = app.test_client()
    report["gate"] = {
        "keys": dict(service.of(app).gates[SOURCE].keys),
        "max_age": str(service.of(app).gates[SOURCE].max_age),
    }
    report["delivered"] = {what: {"status": status, "said": said} for what, status, said in deliver(client)}
    refusals.write_last()
    bury(app, report["delivered"]["drifted"]["said"]["event"])
    ids = {kind: [one["id"] for one in client.get(f"/api/{kind}").json["items"]] for kind in KINDS}
    report["ids"] = ids
    got = {address: client.get(address) for address in addresses(ids)}
    report["opened"] = {address: answer.status_code for address, answer in got.items()}
    report["texts"] = {address: answer.text for address, answer in got.items() if "/body" not in address}
    event = report["delivered"]["accepted"]["said"]["event"]
    report["copied"] = {form: client.get(f"/events/{event}/copy/{form}").text for form in copy_as.FORMS}
    report["copies"] = {
        f"{kind} {form}": client.get(f"/{kind}/{ids[kind][0]}/copy/{form}").status_code
        for kind in ("events", "rejected")
        for form in copy_as.FORMS
    }
    report["forms"] = dict(forms(client))
    refusals.write_last()
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    report["commands"] = {" ".join(words): run(app, words) for words in commands(ids, base)}
    server.shutdown()
    return report


if __name__ == "__main__":
    answer = json.dumps(main())
    sys.stdout.write(f"\n{answer}\n")
