"""Workers whose handlers differ, and packages that do not import, with real processes: no event misses a handler."""

import json
import signal
from collections import Counter
from typing import Any

from tests.acceptance.service import Service
from tests.waiting import PATIENCE_SECONDS, until

NOTES = """
import os
from receiver import on

@on("box:FILE.UPLOADED")
def note(event):
    with open(os.environ["NOTES"], "ab", buffering=0) as file:
        file.write(f"{__name__} {event.id}\\n".encode())
"""


def noted(service: Service) -> Counter[str]:
    return Counter(line.split()[0] for line in service.log("notes").splitlines())


def listed(service: Service, what: str) -> list[dict[str, Any]]:
    return list(json.loads(service.signalbox(f"{what} --json"))["items"])


def send(service: Service, count: int) -> None:
    items = json.loads(service.signalbox(f"send box FILE.UPLOADED --count {count} --json"))["items"]
    assert [item["status"] for item in items] == [200] * count


def package(service: Service, name: str, files: dict[str, str]) -> None:
    folder = service.folder / name
    folder.mkdir(exist_ok=True)
    for file, text in ({"__init__": ""} | files).items():
        (folder / f"{file}.py").write_text(text)


def test_what_comes_while_a_package_is_broken_is_handled_once_it_is_mended(service: Service) -> None:
    service.environ |= {"NOTES": str(service.folder / "notes"), "HANDLERS": "acme"}
    package(service, "acme", {"__init__": "import a_library_that_is_missing", "billing": NOTES})
    service.web()
    worker = service.worker()
    send(service, 3)
    waiting = until(lambda: listed(service, "jobs list --handler acme --state waiting"), "the jobs of the package wait")
    until(lambda: len(listed(service, "jobs list --handler acme")) == 3, "each event has one")
    assert {(job["waits_for"], job["last_attempt"]) for job in waiting} == {("the module acme does not import", None)}
    doctor = service.run("python wsgi.py doctor", check=False)
    assert (doctor.returncode, "3 jobs of acme: the module acme does not import" in doctor.stdout) == (1, True)
    (service.folder / "acme" / "__init__.py").write_text("")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE_SECONDS) == 0
    service.worker()
    until(lambda: noted(service)["acme.billing"] == 3, "each is billed")
    until(lambda: not listed(service, "jobs list --state waiting"), "nothing waits")
    assert {job["state"] for job in listed(service, "jobs list --handler acme")} == {"done"}


def test_two_workers_with_different_handlers_share_all_events_and_nothing_fails(service: Service) -> None:
    service.environ |= {"NOTES": str(service.folder / "notes"), "HANDLERS": "acme"}
    for name in ("acme", "beta"):
        package(service, name, {"notes": NOTES})
    service.web()
    service.worker()
    service.environ["HANDLERS"] = "beta"
    beta = service.worker()
    until(lambda: service.log("worker.log").count("started") == 2, "both workers run")
    send(service, 201)
    until(lambda: noted(service) == {"acme.notes": 201, "beta.notes": 201}, "each handler has had each event")
    until(lambda: not listed(service, "jobs list --state running"), "nothing runs")
    assert listed(service, "jobs list --state waiting") == []
    for name in ("acme.notes.note", "beta.notes.note"):
        found = listed(service, f"jobs list --handler {name} --limit 300")
        assert Counter(len_of_history(service, job) for job in found[:3]) == {1: 3}
        assert (len(found), {job["last_attempt"]["outcome"] for job in found}) == (201, {"done"})
    document = json.loads(service.signalbox("handlers list --json"))
    assert {"name": "acme.notes.note", "workers": 1} in document["elsewhere"]
    assert {item["name"]: item["workers"] for item in document["items"]}["handlers.log.log_event"] == 2

    service.kill(beta)
    send(service, 2)
    until(lambda: noted(service)["acme.notes"] == 203, "the other worker goes on")
    service.worker()
    until(lambda: noted(service)["beta.notes"] == 203, "the one that is back has what came meanwhile")


def len_of_history(service: Service, job: dict[str, Any]) -> int:
    return len(json.loads(service.signalbox(f"jobs show {job['id']} --json"))["attempts"])
