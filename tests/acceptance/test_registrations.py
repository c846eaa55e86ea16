"""Registrations as code, by real processes: killed at its calls, among a thousand, removed by Box and made again."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import Popen

import pytest
import sqlalchemy as sa

from receiver.registrations import list_kept
from receiver.sandbox.actions import Order
from receiver.sandbox.faults import Faults
from tests import listings
from tests.acceptance.service import Service
from tests.registrations.stand_in import RENAMED, UPLOADED, StandIn, folder
from tests.waiting import PATIENCE_SECONDS, until

PLAN_COMMAND = "python wsgi.py box plan --file {}"
PRODUCTION = {
    "SECRET_KEY": "a-secret-key-of-the-tests",
    "ADMIN_PASSWORD": "a-password-of-the-tests",
    "API_TOKEN": "a-token-of-the-tests",
}
APPLY_COMMAND = "python wsgi.py box apply --file {}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "box_webhooks.toml"


def wish(file: Path, **triggers: str) -> None:
    """`wish(file, f1="FILE.UPLOADED")` wants that of folder 1."""
    file.write_text(
        "".join(
            f'[[registrations]]\ntarget = "folder:{name[1:]}"\ntriggers = ["{one}"]\n' for name, one in triggers.items()
        )
    )


@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_apply_that_is_killed_once_box_has_done_a_call_is_ended_by_the_next(
    service: Service, engine: sa.Engine, box: StandIn, file: Path, at: int
) -> None:
    """It lists, and makes two; each call in turn is the last that the process lives for."""
    wish(file, f1="FILE.UPLOADED", f2="FILE.RENAMED")
    running: list[Popen[bytes]] = []
    box.after = lambda number: service.kill(running[0]) if number == at else None
    running.append(service.start(APPLY_COMMAND.format(file), "apply.log"))
    running[0].wait(PATIENCE_SECONDS)
    assert len(box.calls) == at
    service.run(APPLY_COMMAND.format(file))
    assert box.content() == {
        "folder:1": replace(UPLOADED, address=f"{service.url}/hooks/box"),
        "folder:2": replace(RENAMED, address=f"{service.url}/hooks/box"),
    }
    rows = list_kept(engine).values()
    assert {str(row.target): row.webhook_id for row in rows} == box.ids()
    assert all(row.is_ours and row.state == "live" for row in rows)


def test_among_a_thousand_two_pages_are_asked_for_and_what_the_file_names(
    service: Service, box: StandIn, file: Path
) -> None:
    for number in range(1, 999):
        box.make(folder(number), RENAMED)
    wish(file, f5000="FILE.UPLOADED", f6000="FILE.UPLOADED")
    service.run(APPLY_COMMAND.format(file))
    for command in (PLAN_COMMAND, APPLY_COMMAND):
        box.calls.clear()
        service.run(command.format(file))
        ids = box.ids()
        assert sorted(box.calls) == [
            "GET /2.0/webhooks",
            "GET /2.0/webhooks",
            f"GET /2.0/webhooks/{ids['folder:5000']}",
            f"GET /2.0/webhooks/{ids['folder:6000']}",
        ]


@pytest.fixture
def delivering(box: StandIn) -> Iterator[None]:
    box.world.start()
    yield
    box.world.stop()


def names(engine: sa.Engine) -> list[str]:
    """Give what came, oldest first."""
    return [item["name"] for item in reversed(listings.list_events(engine)["items"])]


def upload(box: StandIn, path: str) -> None:
    box.world.act(Order(action="upload", item=path), faults=Faults())


def removed_by_box(service: Service, engine: sa.Engine, box: StandIn, file: Path) -> str:
    """Have a webhook that delivers, and have Box remove it; gives the id that it had."""
    wish(file, f1200="FILE.UPLOADED")
    service.run(APPLY_COMMAND.format(file))
    upload(box, "1200/lamp.pdf")
    until(lambda: names(engine) == ["FILE.UPLOADED"], "the event")
    old = box.ids()["folder:1200"]
    box.world.courier.give_up(int(old))
    return old


@pytest.mark.usefixtures("delivering")
def test_a_webhook_that_box_removed_is_made_again_by_the_worker_where_that_is_wanted(
    service: Service, engine: sa.Engine, box: StandIn, file: Path
) -> None:
    service.environ["AUTO_REREGISTER"] = "true"
    service.web()
    service.worker()
    old = removed_by_box(service, engine, box, file)
    until(lambda: box.ids().get("folder:1200", old) != old, "the new webhook")
    until(lambda: "made again" in service.log("worker.log"), "the line that says so")
    upload(box, "1200/second.pdf")
    until(lambda: names(engine) == ["FILE.UPLOADED", "WEBHOOK.DELETED", "FILE.UPLOADED"], "deliveries again")


def test_a_worker_that_is_to_register_and_has_no_credentials_does_not_start(service: Service) -> None:
    service.environ |= {"AUTO_REREGISTER": "true", "ENV": "production", **PRODUCTION}
    done = service.run("python wsgi.py worker", check=False)
    assert (done.returncode, "BOX_CLIENT_ID: must be set" in done.stderr) == (1, True)


def test_a_command_that_does_not_speak_to_box_does_not_load_its_sdk(service: Service) -> None:
    done = service.run("python -X importtime wsgi.py box -h")
    assert "box_sdk_gen" not in done.stderr
    assert "receiver.registrations" in done.stderr
