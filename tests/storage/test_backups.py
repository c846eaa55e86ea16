"""Backups: whole or not there, whenever they are cut short; and a restore leaves the old database or the new one."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from config import ROOT
from receiver.errors import BackupError
from receiver.inbox.rows import Inbox
from receiver.storage import backups, db
from tests.installation import Clock, arrive

# Ends the process at its n-th step in the file system, as SIGKILL would; 0 when it came to the end.
KILLED = """
import os, signal, sys
from pathlib import Path
from receiver.storage import backups, db
STEPS = {"os.link", "os.rename", "os.remove", "os.chmod", "sqlite3.connect"}
left = [int(sys.argv[1])]
def audit(event, _arguments):
    if event in STEPS:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
engine = db.open_engine(sys.argv[3])
sys.addaudithook(audit)
getattr(backups, sys.argv[2])(engine, Path(sys.argv[4]))
"""


@pytest.fixture
def path(engine: sa.Engine) -> Path:
    return backups.path_of(engine)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def killed_at(step: int, what: str, engine: sa.Engine, file: Path) -> bool:
    words = [sys.executable, "-c", KILLED, str(step), what, str(engine.url), str(file)]
    ended = subprocess.run(words, cwd=ROOT, check=False, capture_output=True)
    assert ended.returncode in (0, -9), ended.stderr
    return ended.returncode == -9


def events_in(file: Path) -> int:
    """Count what somebody finds who opens the file, as a process would; it has to be whole."""
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])


@contextmanager
def under_umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_a_backup_has_what_is_still_in_the_wal_and_is_its_owners_alone(
    engine: sa.Engine, inbox: Inbox, clock: Clock, path: Path, tmp_path: Path
) -> None:
    arrive(inbox, clock)
    assert Path(f"{path}-wal").stat().st_size
    with under_umask(0):
        made = backups.back_up(engine, tmp_path / "backup.db")
    assert (made.rows["events"], events_in(made.file)) == (1, 1)
    assert stat.S_IMODE(made.file.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir() if "backup" in one.name] == ["backup.db"]


def test_a_backup_is_of_one_moment_while_deliveries_come(
    engine: sa.Engine, inbox: Inbox, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "PAGES", 1)
    arrive(inbox, clock)
    numbers = iter(range(2, 10**6))

    def come(_done: int, _all: int) -> None:
        arrive(inbox, clock, number=next(numbers))

    made = backups.back_up(engine, tmp_path / "backup.db", tell=come)
    assert next(numbers) > 10
    assert (made.rows["events"], events_in(made.file)) == (1, 1)


@pytest.mark.parametrize("kind", ["file", "folder", "link to nothing"])
def test_nothing_is_overwritten(kind: str, engine: sa.Engine, tmp_path: Path) -> None:
    target = tmp_path / "backup.db"
    if kind == "link to nothing":
        target.symlink_to("nowhere")
    else:
        (target.mkdir if kind == "folder" else target.touch)()
    with pytest.raises(BackupError, match="exists already"):
        backups.back_up(engine, target)


def test_what_cannot_be_written_is_a_sentence_and_leaves_nothing(engine: sa.Engine, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="No such file or directory"):
        backups.back_up(engine, tmp_path / "nowhere" / "backup.db")
    with pytest.raises(BackupError, match="cannot be copied"):
        backups.back_up(db.open_engine(f"sqlite:///{tmp_path}/other.db"), tmp_path / "backup.db")
    assert not list(tmp_path.glob("backup*"))


def test_a_backup_that_is_killed_at_any_step_leaves_no_file_of_its_name(
    engine: sa.Engine, inbox: Inbox, clock: Clock, tmp_path: Path
) -> None:
    arrive(inbox, clock)
    target, step = tmp_path / "backup.db", 1
    while killed_at(step, "back_up", engine, target):
        assert not target.exists() or events_in(target) == 1
        target.unlink(missing_ok=True)
        step += 1
    assert step > 4
    assert events_in(target) == 1


@pytest.fixture
def backup(engine: sa.Engine, inbox: Inbox, clock: Clock, tmp_path: Path) -> Path:
    """A backup with one event; the database has three of them now, the last two in its -wal."""
    arrive(inbox, clock)
    made = backups.back_up(engine, tmp_path / "backup.db").file
    for number in (2, 3):
        arrive(inbox, clock, number=number)
    return made


def test_a_restore_is_used_at_once_and_what_was_there_is_kept(engine: sa.Engine, backup: Path, path: Path) -> None:
    done = backups.restore(engine, backup)
    assert done.kept_as is not None
    assert (events_in(path), events_in(done.kept_as)) == (1, 3)
    assert db.is_current(engine)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_restore_that_is_killed_at_any_step_leaves_the_old_or_the_new_one_whole(
    engine: sa.Engine, backup: Path, path: Path, tmp_path: Path
) -> None:
    engine.dispose()
    original, found, step = tmp_path / "original.db", [], 1
    backups.back_up(engine, original)
    is_killed = True
    while is_killed:
        is_killed = killed_at(step, "restore", engine, backup)
        found.append(events_in(path))
        assert found[-1] in (1, 3)
        assert {events_in(one) for one in path.parent.glob("*.before-restore-*Z")} <= {3}
        for one in path.parent.glob("signalbox.db*"):
            one.unlink()
        shutil.copyfile(original, path)
        step += 1
    assert set(found) == {1, 3}
    assert len(found) > 4


def test_nothing_is_restored_under_a_process_that_has_the_database_open(
    engine: sa.Engine, backup: Path, path: Path
) -> None:
    engine.dispose()
    reads = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT 1 FROM events').fetchall(); print()"
    )
    reads += "; input()"
    with subprocess.Popen([sys.executable, "-c", reads, str(path)], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(BackupError, match="stop web and worker first"):
            backups.restore(engine, backup)
        assert events_in(path) == 3
        other.communicate("\n")
    assert [one.name for one in path.parent.iterdir() if "restor" in one.name] == []


def test_what_is_damaged_is_put_aside_with_its_wal_and_no_wal_meets_the_new_file(
    engine: sa.Engine, backup: Path, path: Path
) -> None:
    engine.dispose()
    path.write_bytes(b"no database at all, " * 1000)
    Path(f"{path}-wal").write_bytes(b"what it had")
    done = backups.restore(engine, backup)
    assert done.kept_as is not None
    assert Path(f"{done.kept_as}-wal").read_bytes() == b"what it had"
    assert events_in(path) == 1


def test_what_is_damaged_is_not_put_aside_under_a_process_that_has_it_open(
    engine: sa.Engine, backup: Path, path: Path
) -> None:
    # Damaged by the other process: who closes a file loses its own locks of it.
    restoring = (
        "import sys; from pathlib import Path; from receiver.storage import backups, db\n"
        "with open(sys.argv[3], 'rb+') as file: file.write(bytes(100))\n"
        "backups.restore(db.open_engine(sys.argv[1]), Path(sys.argv[2]))"
    )
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1 FROM events").fetchall()
        words = [sys.executable, "-c", restoring, str(engine.url), str(backup), str(path)]
        ended = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True)
    assert "stop web and worker first" in ended.stderr


@pytest.mark.parametrize("kind", ["damaged", "no database", "another's", "with a -wal", "not there", "half"])
def test_what_is_no_whole_backup_is_not_restored(kind: str, engine: sa.Engine, backup: Path, path: Path) -> None:
    whole = backup.read_bytes()
    match kind:
        case "damaged":
            middle = len(whole) // 2
            backup.write_bytes(whole[: middle - 3000] + b"\xff" * 6000 + whole[middle + 3000 :])
        case "no database":
            backup.write_bytes(b"something else")
        case "another's":
            backup.unlink()
            with closing(sqlite3.connect(backup)) as connection:
                connection.execute("CREATE TABLE notes (id INTEGER)")
        case "with a -wal":
            Path(f"{backup}-wal").write_bytes(b"more")
        case "not there":
            backup.unlink()
        case _:
            backup.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BackupError):
        backups.restore(engine, backup)
    engine.dispose()
    assert events_in(path) == 3
    assert [one.name for one in path.parent.iterdir() if "restor" in one.name] == []


def test_a_backup_is_restored_where_there_is_no_database(tmp_path: Path, backup: Path) -> None:
    elsewhere = db.open_engine(f"sqlite:///{tmp_path}/new/signalbox.db")
    assert backups.restore(elsewhere, backup).kept_as is None
    assert db.is_current(elsewhere)
    elsewhere.dispose()
