"""Whatever Signalbox writes is for its owner alone, whatever the umask."""

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from receiver import service, signals
from receiver.app import create_app
from receiver.registrations import manifest
from receiver.registrations.rules import Content, Target, Webhook
from receiver.sandbox.store import SandboxStore
from receiver.sources import samples
from receiver.storage import db, private_files
from tests.installation import KEYS, settings


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    """Return the mode of all that lies in a folder, by its path in there."""
    return {str(path.relative_to(folder)): oct(stat.S_IMODE(path.stat().st_mode)) for path in folder.rglob("*")}


def deliver(url: str) -> None:
    app = create_app(settings(url))
    body, headers = samples.forge("box", "FILE.UPLOADED", KEYS["box"], at=datetime.now(UTC), number=1)
    assert app.test_client().post("/hooks/box", data=body, headers=headers).status_code == 200


def test_the_database_and_what_lies_beside_it_are_for_their_owner_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new/var/signalbox.db"
    engine = db.open_engine(url)
    db.upgrade(engine)
    deliver(url)
    database = "new/var/signalbox.db"
    assert modes(tmp_path) == {
        "new": "0o700",
        "new/var": "0o700",
        **{f"{database}{ending}": "0o600" for ending in ("", "-wal", "-shm", "-turn")},
    }
    engine.dispose()


def test_a_database_that_others_could_read_is_taken_from_them_when_it_is_opened(
    tmp_path: Path, template_file: Path
) -> None:
    path = tmp_path / "signalbox.db"
    shutil.copyfile(template_file, path)
    other = sqlite3.connect(path)
    other.executescript("CREATE TABLE other (a); INSERT INTO other VALUES (1)")
    (tmp_path / "signalbox.db-turn").touch()
    assert "0o644" not in modes(tmp_path).values()
    assert set(modes(tmp_path).values()) == {"0o666"}
    deliver(f"sqlite:///{path}")
    assert set(modes(tmp_path).values()) == {"0o600"}
    other.close()


def test_a_folder_that_was_there_stays_as_it_is(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir(mode=0o755)
    private_files.make_folder(there / "new")
    assert modes(tmp_path) == {"there": "0o755", "there/new": "0o700"}


def test_where_the_mode_cannot_be_changed_that_is_said_once_and_work_goes_on(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted", path)

    monkeypatch.setattr(os, "chmod", refuse)
    app = create_app(settings(database_url))
    engine, told = service.of(app).engine, []
    with signals.file_open_to_others.connected_to(lambda _sender, **more: told.append(more["path"])), capture_logs():
        for _ in range(2):
            with db.reading(engine), db.reading(engine):
                pass
            engine.dispose()
    assert told == [database_url.removeprefix("sqlite:///")]


def test_the_state_of_the_sandbox_is_for_its_owner_alone(tmp_path: Path) -> None:
    store = SandboxStore(tmp_path / "state.db")
    with store.change():
        store.write("INSERT INTO notes VALUES ('name', 'value')")
        assert set(modes(tmp_path).values()) == {"0o600"}


@pytest.mark.parametrize(("before", "after"), [(None, "0o600"), (0o640, "0o640")])
def test_the_file_of_registrations_keeps_its_mode_and_a_new_one_is_its_owners(
    tmp_path: Path, before: int | None, after: str
) -> None:
    path = tmp_path / "box_webhooks.toml"
    if before is not None:
        path.touch()
        path.chmod(before)
    content = Content("https://signalbox.example/hooks/box", ("FILE.UPLOADED",))
    manifest.add(path, [Webhook("1", Target("folder", "2"), content)], env="production")
    assert modes(tmp_path) == {"box_webhooks.toml": after}
