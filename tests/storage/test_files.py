"""SQLite's file under running processes: moved, deleted, replaced, put back; and whole when they have ended."""

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from receiver.errors import SchemaError, StoreError
from receiver.inbox import rows as inbox_module
from receiver.inbox.rows import Inbox
from receiver.jobs.routing import Router
from receiver.jobs.worker import Worker
from receiver.sources import samples
from receiver.storage import db
from receiver.storage.sqlite_turn import Turn
from tests.installation import KEYS, Clock, arrive


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "var"
    folder.mkdir()
    return folder


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "signalbox.db"


@pytest.fixture
def database_url(path: Path, template_file: Path) -> str:
    shutil.copyfile(template_file, path)
    return f"sqlite:///{path}"


Deliver = Callable[[int], int]


@pytest.fixture
def deliver(client: FlaskClient) -> Deliver:
    """Send the delivery of a number, and give the status of the answer."""

    def send(number: int) -> int:
        body, headers = samples.forge("box", "FILE.UPLOADED", KEYS["box"], at=datetime.now(UTC), number=number)
        return client.post("/hooks/box", data=body, headers=headers).status_code

    return send


def kept_in(path: Path) -> int:
    """Count the events that somebody finds who opens the file and nothing else."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    (count,) = connection.execute("SELECT count(*) FROM events").fetchone()
    connection.close()
    return int(count)


def test_what_comes_while_the_file_is_moved_is_refused_and_what_comes_after_it_is_put_back_is_kept(
    deliver: Deliver, client: FlaskClient, path: Path
) -> None:
    assert deliver(1) == 200
    path.rename(path.with_name("elsewhere.db"))
    assert [deliver(2), client.get("/readyz").status_code] == [503, 503]
    assert not path.exists()
    path.with_name("elsewhere.db").rename(path)
    assert [deliver(2), client.get("/readyz").status_code, kept_in(path)] == [200, 200, 2]


def test_what_comes_after_the_folder_was_deleted_is_refused_until_a_backup_is_in_its_place(
    deliver: Deliver, client: FlaskClient, folder: Path, path: Path, template_file: Path
) -> None:
    assert deliver(1) == 200
    shutil.rmtree(folder)
    assert [deliver(2), client.get("/readyz").status_code, folder.exists()] == [503, 503, False]
    folder.mkdir()
    assert [deliver(3), client.get("/readyz").status_code, path.exists()] == [503, 503, False]
    shutil.copyfile(template_file, path)
    deliver(4)  # this one finds out that it is another
    assert [deliver(5), client.get("/readyz").status_code] == [200, 200]
    assert kept_in(path) >= 1


def test_a_file_that_another_takes_the_place_of_is_used_no_more(
    deliver: Deliver, path: Path, template_file: Path
) -> None:
    assert deliver(1) == 200
    shutil.copyfile(template_file, path.with_name("backup.db"))
    path.with_name("backup.db").replace(path)
    assert [deliver(2), deliver(3), kept_in(path)] == [503, 200, 1]


def test_a_folder_that_a_link_no_longer_leads_to_is_noticed(
    client_with: Callable[..., FlaskClient], folder: Path, tmp_path: Path, template_file: Path
) -> None:
    link = tmp_path / "current"
    link.symlink_to(folder)
    client = client_with(DATABASE_URL=f"sqlite:///{link}/signalbox.db")
    assert client.get("/readyz").status_code == 200
    (tmp_path / "other").mkdir()
    shutil.copyfile(template_file, tmp_path / "other" / "signalbox.db")
    link.unlink()
    link.symlink_to(tmp_path / "other")
    assert [client.get("/readyz").status_code for _ in range(2)] == [503, 200]


@pytest.mark.parametrize("endings", [["-wal"], ["-wal", "-shm"]], ids="".join)
def test_a_deleted_wal_costs_one_answer_and_nothing_that_was_acknowledged(
    deliver: Deliver, path: Path, endings: list[str]
) -> None:
    assert [deliver(1), deliver(2)] == [200, 200]
    for ending in endings:
        Path(f"{path}{ending}").unlink()
    assert [deliver(3), deliver(4)] == [503, 200]
    assert kept_in(path) == 3


def test_what_a_deleted_wal_held_is_kept_where_another_process_has_it_open_too(
    deliver: Deliver, path: Path, inbox: Inbox, clock: Clock
) -> None:
    arrive(inbox, clock, number=1)
    assert deliver(2) == 200
    Path(f"{path}-wal").unlink()
    assert deliver(3) == 503
    with pytest.raises(StoreError, match="was deleted"):
        arrive(inbox, clock, number=4)
    assert deliver(5) == 200
    arrive(inbox, clock, number=6)
    assert kept_in(path) == 4


def test_a_wal_that_belongs_to_the_file_before_is_not_mixed_with_the_one_there_now(
    engine: sa.Engine, inbox: Inbox, clock: Clock, path: Path, template_file: Path
) -> None:
    arrive(inbox, clock, number=1)
    other = db.open_engine(str(engine.url))
    elsewhere = Inbox(other, rejected_max_count=1, rejected_max_bytes=1)
    arrive(elsewhere, clock, number=2)
    path.rename(path.with_name("before.db"))
    shutil.copyfile(template_file, path)
    with pytest.raises(StoreError, match="is not the file that was opened"):
        arrive(inbox, clock, number=3)
    arrive(inbox, clock, number=4)
    with pytest.raises(StoreError, match="is not the file that was opened"):
        arrive(elsewhere, clock, number=5)
    other.dispose()
    arrive(inbox, clock, number=6)
    engine.dispose()
    assert [kept_in(path), kept_in(path.with_name("before.db"))] == [2, 3]
    assert [whole(path), whole(path.with_name("before.db"))] == ["ok", "ok"]


def whole(path: Path) -> str:
    connection = sqlite3.connect(path)
    (said,) = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    return str(said)


def write_directly(engine: sa.Engine, moment: Callable[[], Any]) -> None:
    with db.writing_directly(engine) as cursor:
        cursor.execute("UPDATE events SET deliveries = 9")
        moment()


def write(engine: sa.Engine, moment: Callable[[], Any]) -> None:
    with db.writing(engine) as connection:
        connection.exec_driver_sql("UPDATE events SET deliveries = 9")
        moment()


@pytest.mark.parametrize("writer", [write, write_directly])
@pytest.mark.parametrize("lost", ["", "-wal"], ids=["file", "wal"])
def test_a_commit_to_a_file_that_left_meanwhile_is_acknowledged_to_nobody(
    engine: sa.Engine, path: Path, writer: Callable[..., None], lost: str
) -> None:
    with pytest.raises(StoreError, match="is missing" if not lost else "was deleted"):
        writer(engine, lambda: Path(f"{path}{lost}").rename(f"{path}.gone"))


def test_a_worker_that_loses_the_file_reports_it_and_goes_on_when_it_is_back(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock, path: Path
) -> None:
    ran: list[str] = []

    @router.on("*")
    def note(event: Any) -> None:
        ran.append(event.id)

    arrive(inbox, clock)
    worker = Worker(engine, router, clock=clock)
    path.rename(path.with_name("elsewhere.db"))
    with pytest.raises(StoreError, match="is missing"):
        worker.drain()
    path.with_name("elsewhere.db").rename(path)
    worker.drain()
    assert len(ran) == 1


def test_a_capture_is_refused_while_the_file_is_gone(client: FlaskClient, path: Path) -> None:
    assert client.post("/b/parcels", data=b"1").status_code == 200
    path.rename(path.with_name("elsewhere.db"))
    assert client.post("/b/parcels", data=b"2").status_code == 503
    path.with_name("elsewhere.db").rename(path)
    assert client.post("/b/parcels", data=b"3").status_code == 200


def test_a_file_that_is_not_there_is_made_by_an_upgrade_and_by_nothing_else(folder: Path) -> None:
    engine = db.open_engine(f"sqlite:///{folder}/never.db")
    with pytest.raises(SchemaError, match="signalbox db upgrade"):
        db.require_current(engine)
    with pytest.raises(StoreError, match="signalbox db upgrade"), db.writing(engine):
        pass
    assert not (folder / "never.db").exists()
    assert db.upgrade(engine)
    db.require_current(engine)
    (folder / "never.db").unlink()
    with pytest.raises(StoreError, match="put it back"):
        db.upgrade(engine)
    assert not (folder / "never.db").exists()
    engine.dispose()


def test_two_processes_whose_turn_file_was_deleted_take_turns_again(
    engine: sa.Engine, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Turn, "_LOOK_SECONDS", 0)
    turn = Path(f"{path}-turn")
    with db.turn(engine):
        turn.unlink()
    with db.turn(engine):
        other = os.open(turn, os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


# A commit is on the disk when it returns: what each connection of the inbox is set to, asked in its own transaction.


@pytest.fixture
def asked(inbox: Inbox, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    def ask(pragma: str) -> object:
        found: list[object] = []
        write_arrivals = inbox_module.write_arrivals

        def asking(cursor: Any, *rest: Any) -> Any:
            found.append(cursor.execute(f"PRAGMA {pragma}").fetchone()[0])
            return write_arrivals(cursor, *rest)

        monkeypatch.setattr(inbox_module, "write_arrivals", asking)
        arrive(inbox, clock)
        return found[0]

    return ask


def test_the_inbox_writes_with_synchronous_full(asked: Callable[[str], object]) -> None:
    assert asked("synchronous") == 2


def test_the_inbox_writes_to_a_write_ahead_log(asked: Callable[[str], object]) -> None:
    assert asked("journal_mode") == "wal"


def test_a_child_that_is_forked_keeps_no_turn_beyond_the_end_of_its_parent(engine: sa.Engine, path: Path) -> None:
    with db.writing(engine):
        pass
    turn = Path(f"{path}-turn").stat()
    child = os.fork()
    if child == 0:
        numbers = [int(one) for one in os.listdir("/dev/fd")]  # noqa: PTH208
        held = 0
        for number in numbers:
            try:
                held += os.path.samestat(os.fstat(number), turn)
            except OSError:
                continue  # that of the listing itself
        os._exit(held)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
