"""What is refused before Box is asked, and that Box's stand-in agrees."""

from itertools import product

import pytest

from receiver.registrations.rules import TRIGGERS, Content, Target, check_address, check_target, check_triggers
from receiver.sandbox import rules as sandbox
from tests.registrations.stand_in import folder

FILE = Target("file", "5000")
ADDRESSES = [
    "https://signalbox.example.com/hooks/box",
    "https://signalbox.example.com:443/hooks/box",
    "https://8.8.8.8/hooks/box",
    "http://signalbox.example.com/hooks/box",
    "https://signalbox.example.com:8443/hooks/box",
    "https://api.box.com/hooks",
    "https://box.com/hooks",
    "https://192.168.1.7/hooks/box",
    "https://intranet/hooks/box",
    "https://user@signalbox.example.com/hooks/box",
    "https://signalbox.example.com/a b",
    "https://signalbox.example.com:0/",
    "ftp://signalbox.example.com/",
    "signalbox.example.com",
    "",
]


@pytest.mark.parametrize("text", ["folder:1200", "file:5000"])
def test_a_target_is_written_as_it_is_read(text: str) -> None:
    assert str(Target.read(text)) == text


@pytest.mark.parametrize("text", ["1200", "folder:", "folder:01", "folder:12a", "Folder:1200", "web:1", "folder:1200 "])
def test_what_is_no_target_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"folder:1200"):
        Target.read(text)


def test_the_root_folder_takes_no_webhook() -> None:
    assert list(check_target(Target("folder", "0"))) == ["the root folder takes no webhook: name a folder below it."]
    assert not list(check_target(Target("file", "0")))


def test_an_unknown_trigger_is_refused_and_what_comes_close_is_named() -> None:
    (problem,) = check_triggers(["file.uplodaed"], folder(1))
    assert "did you mean FILE.UPLOADED" in problem
    assert "--allow-unknown" in problem


def test_a_trigger_that_nothing_comes_close_to_is_refused_too() -> None:
    assert list(check_triggers(["LAMP.LIT"], folder(1))) == [
        "LAMP.LIT is not a known trigger (--allow-unknown asks for it all the same)."
    ]


def test_an_unknown_trigger_may_be_allowed_but_nothing_that_cannot_be_one() -> None:
    assert not list(check_triggers(["LAMP.LIT"], folder(1), allow_unknown=True))
    assert list(check_triggers(["LAMP\x1b[31m"], folder(1), allow_unknown=True))


def test_what_only_a_folder_tells_of_is_refused_for_a_file() -> None:
    assert list(check_triggers(["FILE.UPLOADED", "FILE.LOCKED"], FILE)) == [
        "FILE.UPLOADED cannot be asked for on a file."
    ]


def test_no_trigger_at_all_is_refused() -> None:
    assert list(check_triggers([], FILE)) == ["no trigger is named."]


@pytest.mark.parametrize(("trigger", "type_"), [*product(sorted(TRIGGERS | {"LAMP.LIT"}), ["file", "folder"])])
def test_the_stand_in_takes_the_same_triggers(trigger: str, type_: str) -> None:
    ours = list(check_triggers([trigger], Target(type_, "1")))
    assert bool(ours) == bool(list(sandbox.check_triggers([trigger], type_)))


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_stand_in_takes_the_same_addresses(address: str) -> None:
    assert bool(list(check_address(address, is_box=True))) == bool(list(sandbox.check_address(address)))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "0x7f.1"])
def test_this_machine_is_no_address_for_box_and_one_for_a_stand_in(host: str) -> None:
    address = f"http://{host}:8000/hooks/box"
    assert len(list(check_address(address, is_box=True))) == 3
    assert not list(check_address(address, is_box=False))


def test_the_order_of_triggers_makes_no_difference() -> None:
    assert Content.of("a", ["B", "A", "B"]) == Content.of("a", ["A", "B"])
