"""Listeners of the service's own signals: whatever one does, who tells it goes on, and so do the others."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from blinker import Signal
from flask.testing import FlaskClient

from receiver import signals
from receiver.errors import HandlerError
from receiver.events import Event
from receiver.inbox.rows import Inbox
from receiver.jobs.routing import Router
from receiver.jobs.worker import Worker
from receiver.observe import logs
from receiver.signals import Notice
from receiver.sources import samples
from receiver.storage.tables import jobs
from tests.installation import KEYS, Clock, arrive

NOTICES = {name: one for name, one in vars(signals).items() if isinstance(one, Signal)}


@pytest.fixture(autouse=True)
def told() -> Iterator[list[dict[str, Any]]]:
    """What is told of listeners that fail."""
    complaints: list[dict[str, Any]] = []
    signals._complaints.clear()

    def note(_sender: object, **words: Any) -> None:
        complaints.append(words)

    with signals.listener_failed.connected_to(note):
        yield complaints


def raises(_sender: object, *, error: BaseException, **_told: Any) -> None:
    raise error


def fails(_sender: object, **_told: Any) -> None:
    raise ValueError("secret")


def test_each_signal_is_a_notice() -> None:
    assert NOTICES
    assert {type(one) for one in NOTICES.values()} == {Notice}


@pytest.mark.parametrize("error", [ValueError("secret"), SystemExit(3)], ids=repr)
def test_a_listener_that_raises_stops_neither_who_tells_it_nor_the_others(
    told: list[dict[str, Any]], error: BaseException
) -> None:
    notice, heard = Notice("notice", ""), []
    listeners = [partial(raises, error=error), lambda _sender, **_told: heard.append(1)] * 2
    for listener in listeners:
        notice.connect(listener, weak=False)
    notice.send()
    assert len(heard) == 1
    (complaint,) = told
    where = complaint.pop("where")
    assert complaint == {"listener": f"{__name__}.raises", "signal": "notice", "error": type(error).__name__}
    assert where.startswith(f"{__file__}:")


def test_a_listener_that_always_raises_is_told_of_once_for_each_kind_of_error(told: list[dict[str, Any]]) -> None:
    notice, errors = Notice("notice", ""), [ValueError(), ValueError(), KeyError()]

    def fails(_sender: object) -> None:
        raise errors.pop()

    notice.connect(fails)
    for _ in range(3):
        notice.send()
    assert [one["error"] for one in told] == ["KeyError", "ValueError"]


def test_who_listens_for_failing_listeners_may_fail_too() -> None:
    with signals.listener_failed.connected_to(fails), signals.worker_troubled.connected_to(fails):
        signals.worker_troubled.send(error=ValueError())


def test_an_async_listener_is_refused() -> None:
    async def never(_sender: object) -> None: ...

    with pytest.raises(HandlerError, match="never is async: a listener is a plain function"):
        Notice("notice", "").connect(never)


@pytest.mark.parametrize("notice", NOTICES.values(), ids=NOTICES.keys())
def test_a_worker_whose_listeners_raise_works_all_the_same(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock, notice: Notice
) -> None:
    @router.on("*", attempts=1)
    def fails_once(event: Event) -> None:
        raise ValueError

    @router.on("*")
    def fine(event: Event) -> None: ...

    with notice.connected_to(fails):
        arrive(inbox, clock)
        Worker(engine, router, clock=clock).drain()
    with engine.connect() as connection:
        assert sorted(connection.execute(sa.select(jobs.c.state)).scalars()) == ["dead", "done"]


@pytest.mark.parametrize("notice", NOTICES.values(), ids=NOTICES.keys())
def test_web_answers_as_ever_where_its_listeners_raise(client: FlaskClient, notice: Notice) -> None:
    came = [samples.forge("box", "FILE.UPLOADED", KEYS["box"], at=datetime.now(UTC), number=1)] * 2
    unreadable = samples.forge("box", "FILE.UPLOADED", KEYS["box"], at=datetime.now(UTC), number=2)
    with notice.connected_to(fails):
        statuses = [client.post("/hooks/box", data=body, headers=headers).status_code for body, headers in came]
        statuses.append(client.post("/hooks/box", data=b"{}", headers=unreadable[1]).status_code)
    assert statuses == [200, 200, 401]


def test_the_log_names_the_listener_and_not_what_it_said(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(form="json")
    with signals.worker_troubled.connected_to(fails):
        signals.worker_troubled.send(error=ValueError("away"))
    logs.LINES.write_out()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (line,) = [line for line in lines if line["event"] == "listener"]
    assert (line["listener"], line["signal"], line["error"]) == (f"{__name__}.fails", "worker-troubled", "ValueError")
    assert "secret" not in str(lines)


def test_a_child_that_a_listener_forks_goes_no_further_than_the_listener() -> None:
    notice, children = Notice("notice", ""), []
    out, into = os.pipe()

    def forks(_sender: object) -> None:
        children.append(os.fork())

    notice.connect(forks)
    notice.send()
    if children[0] == 0:
        os.write(into, b"I run on")
        os._exit(9)
    os.close(into)
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
    assert os.read(out, 100) == b""
    os.close(out)
