"""The pretend drive: where things are found, what is refused and in which words, what an action sets off."""

import pytest

from receiver.sandbox.actions import ACTIONS
from tests.sandbox.calls import Controls


def paths(controls: Controls) -> dict[str, str]:
    return {item["path"]: item["state"] for item in controls.get("/items")["items"] if item["path"] != "/"}


def test_folders_on_the_way_to_a_file_are_made(controls: Controls) -> None:
    assert controls.do("upload", "a/b/c.pdf") == ["FOLDER.CREATED", "FOLDER.CREATED", "FILE.UPLOADED"]
    assert controls.do("upload", "a/b/d.pdf") == ["FILE.UPLOADED"]
    assert list(paths(controls)) == ["a", "a/b", "a/b/c.pdf", "a/b/d.pdf"]


def test_the_same_path_again_is_a_new_version(controls: Controls) -> None:
    controls.do("upload", "a.pdf", size=1)
    controls.do("upload", "a.pdf", size=2)
    file = controls.get("/items")["items"][-1]
    assert (file["version"], file["size"]) == (2, 2)


def test_a_number_is_the_id_of_an_item_that_has_always_been_there(controls: Controls) -> None:
    assert controls.do("upload", "4711/a.pdf") == ["FILE.UPLOADED"]
    assert controls.do("trash", "file:815") == ["FILE.TRASHED"]
    assert paths(controls) == {"Folder 4711": "active", "Folder 4711/a.pdf": "active", "File 815": "trashed"}


def test_an_id_finds_what_was_made(controls: Controls) -> None:
    made = controls.post("/actions", action="upload", item="a.pdf")["set_off"][0]["item"]
    assert controls.do("preview", made["id"]) == ["FILE.PREVIEWED"]
    assert controls.do("preview", f"file:{made['id']}") == ["FILE.PREVIEWED"]


def test_what_is_trashed_is_found_by_restore_and_by_nothing_else(controls: Controls) -> None:
    controls.do("upload", "a/b.pdf")
    controls.do("trash", "a/b.pdf")
    assert "no a/b.pdf" in controls.refused("/actions", action="preview", item="a/b.pdf")
    assert controls.do("restore", "a/b.pdf") == ["FILE.RESTORED"]
    assert controls.do("preview", "a/b.pdf") == ["FILE.PREVIEWED"]


def test_what_is_deleted_is_gone_for_good(controls: Controls) -> None:
    controls.do("upload", "a.pdf")
    controls.do("trash", "a.pdf")
    assert controls.do("delete", "a.pdf") == ["FILE.DELETED"]
    assert "trash" in controls.refused("/actions", action="restore", item="a.pdf")
    assert paths(controls) == {}


def test_a_folder_is_copied_with_all_that_is_in_it(controls: Controls) -> None:
    controls.do("upload", "a/b/c.pdf")
    controls.do("create", "z")
    assert controls.do("copy", "a", "z") == ["FOLDER.COPIED"]
    assert "z/a/b/c.pdf" in paths(controls)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"action": "fly", "item": "a"}, "no action 'fly'"),
        ({"action": "preview", "item": "none.pdf"}, "signalbox sandbox do upload none.pdf"),
        ({"action": "rename", "item": "file.pdf"}, "second argument, NAME"),
        ({"action": "rename", "item": "file.pdf", "to": "a/b"}, "not a valid name"),
        ({"action": "rename", "item": "file.pdf", "to": "file.pdf"}, "already"),
        ({"action": "move", "item": "file.pdf", "to": "nowhere"}, "no nowhere"),
        ({"action": "move", "item": "folder", "to": "folder/inner"}, "below it"),
        ({"action": "copy", "item": "folder", "to": "folder"}, "itself"),
        ({"action": "move", "item": "folder", "to": "file.pdf"}, "is a file"),
        ({"action": "upload", "item": "folder"}, "is a folder"),
        ({"action": "upload", "item": "file.pdf/x"}, "is a file"),
        ({"action": "upload", "item": "/"}, "Name what to make"),
        ({"action": "create", "item": "folder"}, "already"),
        ({"action": "trash", "item": "/"}, "root"),
        ({"action": "lock", "item": "folder"}, "takes a file"),
        ({"action": "unlock", "item": "file.pdf"}, "unlocked already"),
        ({"action": "comment", "item": "file.pdf", "step": "deleted"}, "do comment file.pdf makes it"),
        ({"action": "comment", "item": "file.pdf", "step": "sung"}, "has the steps created, updated, deleted"),
        ({"action": "preview", "item": "file.pdf", "step": "sung"}, "no steps"),
        ({"action": "set-off", "item": "file.pdf", "to": "FILE.SUNG"}, "not a trigger"),
        ({"action": "set-off", "item": "file.pdf", "to": "FILE.LOKED"}, "did you mean FILE.LOCKED"),
        ({"action": "set-off", "item": "file.pdf", "to": "FOLDER.CREATED"}, "not a trigger"),
        ({"action": "set-off", "item": "folder", "to": "FILE.LOCKED"}, "happens to a file"),
        ({"action": "set-off", "item": "file.pdf", "to": "WEBHOOK.DELETED"}, "give-up"),
        ({"action": "preview", "item": "a\u202eb"}, "invisible characters"),
        ({"action": "preview"}, "item: Missing"),
        ({"action": "preview", "item": "file.pdf", "count": 0}, "count"),
        ({"action": "preview", "item": "file.pdf", "faults": {"sung": 1}}, "faults"),
        ({"action": "preview", "item": "file.pdf", "faults": {"rotating": "third"}}, "faults"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(controls: Controls, asked: dict[str, object], words: str) -> None:
    controls.do("upload", "file.pdf")
    controls.do("create", "folder/inner")
    before = paths(controls)
    assert words in controls.refused("/actions", **asked)
    assert paths(controls) == before


def test_a_file_and_a_folder_of_one_id_have_to_be_told_apart(controls: Controls) -> None:
    controls.do("preview", "file:5")
    controls.do("download", "folder:5")
    assert "file:5 or folder:5" in controls.refused("/actions", action="trash", item="5")


def test_a_shared_link_is_made_once(controls: Controls) -> None:
    controls.do("upload", "a.pdf")
    controls.do("share", "a.pdf")
    assert "already" in controls.refused("/actions", action="share", item="a.pdf")
    assert controls.do("share", "a.pdf", step="deleted") == ["SHARED_LINK.DELETED"]
    assert controls.do("share", "a.pdf") == ["SHARED_LINK.CREATED"]


def test_an_action_that_fails_half_way_leaves_nothing(controls: Controls) -> None:
    controls.do("upload", "a.pdf")
    assert "locked already" in controls.refused("/actions", action="lock", item="a.pdf", count=2)
    assert controls.do("lock", "a.pdf") == ["FILE.LOCKED"]


def test_every_action_says_what_it_does() -> None:
    assert all(action.help.endswith(".") for action in ACTIONS.values())
