"""The file of registrations: what it wants where, every mistake at once, and how what is at Box is added."""

import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config import ROOT
from receiver.errors import RegistrationError
from receiver.registrations import Reading, add, read
from receiver.registrations.rules import Content, Target, Webhook
from tests.registrations.stand_in import folder

DEVELOPMENT = Reading(env="development", usual_address="https://here.example.com/hooks/box", is_box=True)
PRODUCTION = Reading(env="production", usual_address="https://there.example.com/hooks/box", is_box=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "box_webhooks.toml"


def problems_of(path: Path, text: str, how: Reading = DEVELOPMENT) -> list[str]:
    path.write_text(text)
    with pytest.raises(RegistrationError) as caught:
        read(path, how)
    assert str(caught.value).startswith(f"{path}:\n  ")
    return caught.value.problems


def test_the_file_that_comes_with_us_wants_nothing() -> None:
    for how in (DEVELOPMENT, PRODUCTION):
        assert read(ROOT / "config" / "box_webhooks.toml", how) == []


def test_no_file_wants_nothing(path: Path) -> None:
    assert read(path, DEVELOPMENT) == []


def test_the_examples_in_the_file_that_comes_with_us_are_right(path: Path) -> None:
    lines = (ROOT / "config" / "box_webhooks.toml").read_text().splitlines()
    examples = [line[2:] for line in lines if line.startswith(("# [", "# target", "# triggers", "# address"))]
    path.write_text("\n".join(examples))
    (one,) = read(path, DEVELOPMENT)
    assert one.content.address == "https://a-tunnel.example.com/hooks/box"
    assert [str(one.target) for one in read(path, PRODUCTION)] == ["folder:1200", "file:5000"]


def test_an_address_is_that_of_the_registration_of_the_environment_of_the_file_or_the_usual_one(path: Path) -> None:
    triggers = 'triggers = ["FILE.LOCKED"]\n'
    path.write_text(
        'address = "https://file.example.com/"\n'
        f'[[registrations]]\ntarget = "file:1"\n{triggers}'
        f'[[registrations]]\ntarget = "file:2"\naddress = "https://own.example.com/"\n{triggers}'
        '[production]\naddress = "https://production.example.com/"\n'
        f'[[production.registrations]]\ntarget = "file:3"\n{triggers}'
    )
    assert [one.content.address for one in read(path, DEVELOPMENT)] == [
        "https://file.example.com/",
        "https://own.example.com/",
    ]
    assert [one.content.address for one in read(path, PRODUCTION)] == [
        "https://production.example.com/",
        "https://own.example.com/",
        "https://production.example.com/",
    ]
    path.write_text(f'[[registrations]]\ntarget = "file:1"\n{triggers}')
    assert read(path, PRODUCTION)[0].content.address == "https://there.example.com/hooks/box"


def test_every_mistake_is_told_at_once_with_its_place(path: Path) -> None:
    text = """
        [[registrations]]
        target = "folder:0"
        triggers = ["FILE.UPLODED"]
        [[development.registrations]]
        target = "1200"
        triggers = []
        [[development.registrations]]
        target = "file:7"
        triggers = ["FILE.UPLOADED"]
        address = "http://box.com:80/"
        [[development.registrations]]
        target = "file:7"
        triggers = ["FILE.LOCKED"]
        address = "https://signalbox.example.com/hooks/box"
    """
    assert problems_of(path, text) == [
        "registrations 1 (folder:0): the root folder takes no webhook: name a folder below it.",
        "registrations 1 (folder:0): FILE.UPLODED is not a known trigger; did you mean FILE.UPLOADED or "
        "FILE.UNLOCKED? (--allow-unknown asks for it all the same).",
        "development.registrations 1 (1200): '1200' is not a target: write folder:ID or file:ID, as in folder:1200.",
        "development.registrations 2 (file:7): FILE.UPLOADED cannot be asked for on a file.",
        "development.registrations 2 (file:7): Box calls https addresses only.",
        "development.registrations 2 (file:7): Box calls port 443 only, not 80.",
        "development.registrations 2 (file:7): Box refuses addresses at box.com.",
        "file:7 is there twice: an item has one webhook, with all of its triggers.",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("registrations = 7", "registrations: Not a valid list."),
        ('[[registrations]]\ntarget = "file:1"', "registrations 1.triggers: Missing data for required field."),
        ("[[registration]]\n", "registration: Unknown field."),
        ('[staging]\naddress = "https://x.example.com"', "staging: Unknown field."),
        ("[[registrations]\n", "is not TOML: Expected ']]' at the end of an array declaration (at line 1, column 16)."),
    ],
)
def test_what_has_not_the_form_is_told_by_its_place(path: Path, text: str, problem: str) -> None:
    assert problem in problems_of(path, text)


def test_a_file_that_is_not_text_is_said_to_be_none(path: Path) -> None:
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(RegistrationError, match="is not TOML"):
        read(path, DEVELOPMENT)


def test_an_item_has_one_registration(path: Path) -> None:
    one = '[[registrations]]\ntarget = "file:1"\ntriggers = ["FILE.LOCKED"]\n'
    assert problems_of(path, one + one) == ["file:1 is there twice: an item has one webhook, with all of its triggers."]


def test_there_are_a_thousand_in_all(path: Path) -> None:
    text = "".join(f'[[registrations]]\ntarget = "file:{n}"\ntriggers = ["FILE.LOCKED"]\n' for n in range(1, 1002))
    assert problems_of(path, text) == ["1,001 registrations: Box allows 1,000 at most."]


def test_without_any_address_the_setting_is_named(path: Path) -> None:
    nowhere = Reading(env="development", usual_address=None, is_box=True)
    (problem,) = problems_of(path, '[[registrations]]\ntarget = "file:1"\ntriggers = ["FILE.LOCKED"]\n', nowhere)
    assert "PUBLIC_URL" in problem


def test_an_unknown_trigger_may_be_allowed(path: Path) -> None:
    path.write_text('[[registrations]]\ntarget = "file:1"\ntriggers = ["LAMP.LIT"]\n')
    how = Reading(env="development", usual_address="https://a.example.com", is_box=True, allow_unknown=True)
    assert read(path, how)[0].content.triggers == ("LAMP.LIT",)


WEBHOOKS = [
    Webhook("1", folder(1200), Content.of("https://a.example.com/", ["FILE.UPLOADED", "FILE.RENAMED"])),
    Webhook("2", Target("file", "7"), Content.of("https://b.example.com/", ["FILE.LOCKED"])),
]


def test_what_is_added_is_read_as_it_was(path: Path) -> None:
    add(path, WEBHOOKS, env="production")
    wanted = [(one.target, one.content) for one in read(path, PRODUCTION)]
    assert wanted == [(one.target, one.content) for one in WEBHOOKS]
    assert read(path, DEVELOPMENT) == []


@given(address=st.text(min_size=1), triggers=st.lists(st.text(min_size=1), min_size=1))
@example(address='https://a.example.com/\U0001f600\x7f\u202e\x85\r\n\\"', triggers=["\U0001f600"])
def test_any_text_is_added_as_it_is(address: str, triggers: list[str]) -> None:
    content = Content.of(address, triggers)
    with TemporaryDirectory() as folder_name:
        path = Path(folder_name) / "box_webhooks.toml"
        add(path, [Webhook("1", folder(1200), content)], env="production")
        with path.open("rb") as file:
            (item,) = tomllib.load(file)["production"]["registrations"]
    assert item == {"target": "folder:1200", "triggers": list(content.triggers), "address": address}


def test_half_a_character_is_no_text_and_its_webhook_is_named(path: Path) -> None:
    path.write_text("# ours\n")
    with pytest.raises(RegistrationError, match="webhook 7: Box has text for it that is not Unicode"):
        add(
            path,
            [Webhook("7", folder(1), Content.of("https://a.example.com/\ud83d", ["FILE.LOCKED"]))],
            env="production",
        )
    assert path.read_text() == "# ours\n"


def test_what_was_in_the_file_stays_as_it_was(path: Path) -> None:
    old = '# ours\n[production]\naddress = "https://c.example.com/"\n'
    path.write_text(old)
    add(path, WEBHOOKS, env="production")
    assert path.read_text().startswith(old)
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_nothing_can_be_added_to_stays_as_it_was(path: Path) -> None:
    path.write_text("production = { registrations = [] }\n")
    with pytest.raises(RegistrationError, match=r"write it as \[\[production.registrations\]\]"):
        add(path, WEBHOOKS, env="production")
    assert path.read_text() == "production = { registrations = [] }\n"
