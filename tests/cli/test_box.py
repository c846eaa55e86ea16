"""`signalbox box`: the five operations, and registrations as code, at a stand-in for Box."""

import itertools
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import Result
from flask import Flask
from werkzeug.wrappers import Response

from receiver import service
from receiver.inbox.rows import Inbox
from receiver.registrations import account
from receiver.registrations.rules import Content
from receiver.storage.tables import registrations
from tests.acceptance.service import free_port
from tests.cli.conftest import Signalbox
from tests.registrations.arriving import arrive_from
from tests.registrations.stand_in import ELSEWHERE, StandIn, folder

SECRET = "hunter2-of-the-tests"
HERE = "http://127.0.0.1:8000/hooks/box"
WISH = """
[[registrations]]
target = "folder:1200"
triggers = ["FILE.UPLOADED", "FILE.RENAMED"]

[[development.registrations]]
target = "file:5000"
triggers = ["FILE.DOWNLOADED"]

[[production.registrations]]
target = "file:6000"
triggers = ["FILE.DOWNLOADED"]
"""
Command = Callable[..., Result]


@pytest.fixture
def box(app: Flask) -> Iterator[StandIn]:
    with StandIn().serving() as box:
        app.config["BOX_API_URL"] = box.url
        yield box


@pytest.fixture
def command(box: StandIn, signalbox: Signalbox) -> Command:
    """Run `signalbox box …` at the stand-in."""
    return lambda *words: signalbox("box", *words)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "box_webhooks.toml"
    path.write_text(WISH)
    return path


def outcome(result: Result) -> tuple[int, str]:
    return result.exit_code, result.stderr


def test_without_credentials_production_asks_nobody(app: Flask, signalbox: Signalbox) -> None:
    app.config["ENV"] = "production"
    code, said = outcome(signalbox("box", "list"))
    assert (code, "BOX_CLIENT_ID: must be set" in said) == (1, True)


def test_without_credentials_development_asks_the_sandbox_and_says_so(
    box: StandIn, app: Flask, signalbox: Signalbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.config["BOX_API_URL"] = "https://api.box.com"
    monkeypatch.setattr(account, "SANDBOX_URL", box.url)
    assert outcome(signalbox("box", "create", "folder:1200", "FILE.UPLOADED")) == (
        0,
        f"This is the sandbox at {box.url}, as no credentials of Box are set.\n",
    )
    assert list(box.content()) == ["folder:1200"]


def test_where_no_sandbox_is_the_command_that_starts_one_is_named_and_what_box_wants(
    app: Flask, signalbox: Signalbox
) -> None:
    app.config["BOX_API_URL"] = f"http://127.0.0.1:{free_port()}"
    code, said = outcome(signalbox("box", "list"))
    assert (code, "signalbox sandbox starts one" in said, "BOX_CLIENT_ID" in said) == (1, True, True)


def test_a_webhook_is_made_shown_changed_and_deleted(command: Command, box: StandIn) -> None:
    made = json.loads(command("create", "folder:1200", "FILE.UPLOADED", "--json").stdout)
    assert (made["target"], made["address"]) == ({"type": "folder", "id": "1200"}, HERE)
    assert json.loads(command("get", made["id"], "--json").stdout) == made
    assert "FILE.UPLOADED" in command("get", made["id"]).stdout
    changed = json.loads(command("update", made["id"], "FILE.LOCKED", "--address", ELSEWHERE, "--json").stdout)
    assert (changed["address"], changed["triggers"]) == (ELSEWHERE, ["FILE.LOCKED"])
    assert command("delete", made["id"]).stdout == f"deleted {made['id']}\n"
    assert box.content() == {}


def test_a_list_tells_of_ids_and_targets_and_of_the_rest_when_asked(command: Command, box: StandIn) -> None:
    for number in (1, 2):
        box.make(folder(number))
    listing = json.loads(command("list", "--json").stdout)
    assert listing["next"] is None
    assert [set(item) for item in listing["items"]] == [{"id", "target"}] * 2
    assert len(box.calls) == 1
    full = json.loads(command("list", "--full", "--json").stdout)["items"]
    assert [item["triggers"] for item in full] == [["FILE.UPLOADED"]] * 2
    assert [line.split()[1] for line in command("list").stdout.splitlines()] == ["TARGET", "folder:1", "folder:2"]
    assert "FILE.UPLOADED" in command("list", "--full").stdout


def test_an_empty_list_says_what_makes_one(command: Command) -> None:
    assert "signalbox box create" in command("list").stderr


def test_a_webhook_that_is_not_there_is_one_sentence(command: Command) -> None:
    code, said = outcome(command("get", "12"))
    assert (code, said.splitlines()[1:]) == (1, ["Error: Box has no webhook 12 that this account can see."])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create", "1200", "FILE.UPLOADED"), "write folder:ID or file:ID"),
        (("create", "folder:1200"), "Missing argument"),
        (("get", "x"), "not a valid integer"),
        (("update", "12"), "Name triggers, or --address URL, or both."),
    ],
)
def test_what_is_typed_wrongly_is_a_usage_error(
    command: Command, box: StandIn, words: tuple[str, ...], said: str
) -> None:
    result = command(*words)
    assert (result.exit_code, said in result.stderr, box.calls) == (2, True, [])


def test_what_box_would_not_take_is_refused_before_it_is_asked(command: Command, box: StandIn) -> None:
    code, said = outcome(command("create", "folder:0", "FILE.UPLODED"))
    assert (code, box.calls) == (1, [])
    assert "root folder" in said
    assert "did you mean FILE.UPLOADED" in said


def test_an_unknown_trigger_is_asked_for_where_that_is_allowed(command: Command, box: StandIn) -> None:
    result = command("create", "folder:1", "LAMP.LIT", "--allow-unknown")
    assert (result.exit_code, box.calls) == (1, ["POST /2.0/webhooks"])


def test_a_change_is_checked_for_the_target_that_the_webhook_has(command: Command, box: StandIn) -> None:
    id_ = box.make(folder(1))
    box.calls.clear()
    result = command("update", id_, "DOCGEN_DOCUMENT_GENERATION_STARTED")
    assert "cannot be asked for on a folder" in result.stderr
    assert box.calls == [f"GET /2.0/webhooks/{id_}"]


def test_a_developer_token_is_warned_of_and_never_shown(command: Command, app: Flask) -> None:
    app.config["BOX_DEVELOPER_TOKEN"] = SECRET
    result = command("list")
    assert "it dies within an hour" in result.stderr
    assert SECRET not in result.output
    assert json.loads(command("list", "--json").stdout) == {"items": [], "next": None}


def test_waiting_is_told(command: Command, box: StandIn) -> None:
    box.world.plan_refusal(status=429, times=1, after=0, retry_after=0.01)
    assert "too many calls: again in 0 s." in command("list").stderr


def test_a_plan_is_a_diff_and_exits_2_and_then_there_is_nothing_to_do(
    command: Command, box: StandIn, file: Path
) -> None:
    plan = command("plan", "--file", str(file))
    assert plan.exit_code == 2
    assert plan.stdout.splitlines()[:4] == [
        "+ create folder:1200  new in the file",
        f"    address  + {HERE}",
        "    triggers + FILE.RENAMED",
        "             + FILE.UPLOADED",
    ]
    applied = command("apply", "--file", str(file))
    assert applied.exit_code == 0
    assert [line.split()[:3] for line in applied.stdout.splitlines()] == [
        ["✓", "created", "folder:1200"],
        ["✓", "created", "file:5000"],
    ]
    assert set(box.content()) == {"folder:1200", "file:5000"}
    assert command("plan", "--file", str(file)).exit_code == 0
    again = command("apply", "--file", str(file))
    assert (again.exit_code, again.stdout, "Nothing to do" in again.stderr) == (0, "", True)


def test_a_plan_shows_what_is_changed_deleted_and_left_alone(command: Command, box: StandIn, file: Path) -> None:
    command("apply", "--file", str(file))
    file.write_text(WISH.replace("FILE.RENAMED", "FILE.TRASHED").replace("file:5000", "file:5001"))
    box.make(folder(7))
    lines = command("plan", "--file", str(file)).stdout.splitlines()
    ids = box.ids()
    assert f"- delete file:5000  webhook {ids['file:5000']}  it is not in the file any more" in lines
    assert f"~ change folder:1200  webhook {ids['folder:1200']}  the file says otherwise" in lines
    assert lines[5:8] == ["    triggers - FILE.RENAMED", "             + FILE.TRASHED", "               FILE.UPLOADED"]
    assert "1 to create, 1 to change, 1 to delete, 0 as wanted; 3 webhooks at Box." in lines
    assert lines[-1].startswith("1 webhook at Box, neither in the file nor made from it")


def test_a_plan_as_json_is_one_document(command: Command, file: Path) -> None:
    result = command("plan", "--file", str(file), "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 2
    assert document["steps"][0] == {
        "do": "create",
        "why": "new",
        "target": "folder:1200",
        "id": None,
        "before": None,
        "after": {"address": HERE, "triggers": ["FILE.RENAMED", "FILE.UPLOADED"]},
    }
    done = json.loads(command("apply", "--file", str(file), "--json").stdout)
    assert [(step["id"] is not None, step["error"]) for step in done["steps"]] == [(True, None)] * 2


def test_in_production_the_part_for_production_counts(command: Command, app: Flask, file: Path) -> None:
    app.config["ENV"] = "production"
    app.config["PUBLIC_URL"] = "https://signalbox.example.com/"
    steps = json.loads(command("plan", "--file", str(file), "--json").stdout)["steps"]
    assert [step["target"] for step in steps] == ["folder:1200", "file:6000"]
    assert steps[0]["after"]["address"] == "https://signalbox.example.com/hooks/box"


def test_mistakes_in_the_file_are_told_before_box_is_asked(command: Command, box: StandIn, file: Path) -> None:
    file.write_text(WISH.replace("FILE.RENAMED", "FILE.RENAMD"))
    for word in ("plan", "apply"):
        result = command(word, "--file", str(file))
        assert (result.exit_code, "did you mean FILE.RENAMED" in result.stderr, box.calls) == (1, True, [])


def test_an_apply_of_which_a_part_fails_says_which_and_exits_1(command: Command, box: StandIn, file: Path) -> None:
    box.world.plan_refusal(status=404, times=1, after=1, retry_after=None)
    result = command("apply", "--file", str(file))
    assert result.exit_code == 1
    assert "✗ create folder:1200  Box has no folder:1200 that this account can see." in result.stdout
    assert "1 step of 2 could not be taken." in result.stderr
    assert command("apply", "--file", str(file)).exit_code == 0


def test_what_was_made_by_hand_after_a_refusal_is_not_deleted_once_the_file_is_emptied(
    command: Command, box: StandIn, file: Path
) -> None:
    box.world.plan_refusal(status=403, times=1, after=1, retry_after=None)
    assert command("apply", "--file", str(file)).exit_code == 1
    command("create", "folder:1200", "FILE.TRASHED")
    file.write_text("")
    assert command("apply", "--file", str(file)).exit_code == 0
    assert box.content() == {"folder:1200": Content.of(HERE, ["FILE.TRASHED"])}


def test_what_is_at_box_is_imported_and_then_there_is_nothing_to_do(command: Command, box: StandIn, file: Path) -> None:
    box.make(folder(1200), Content.of(HERE, ["FILE.RENAMED", "FILE.UPLOADED"]))
    box.make(folder(7), Content.of(ELSEWHERE, ["FILE.TRASHED"]))
    file.write_text(WISH.replace("development", "production"))
    assert command("import", "--file", str(file)).stdout == f"1 registration added to {file} for development.\n"
    assert file.read_text().startswith(WISH.replace("development", "production").rstrip("\n"))
    assert command("plan", "--file", str(file)).exit_code == 0
    assert command("import", "--file", str(file)).stdout.startswith("0 registrations added")


def test_an_address_with_an_emoji_is_imported(command: Command, box: StandIn, file: Path) -> None:
    whole = {"id": "7", "type": "webhook", "target": {"id": "5", "type": "folder"}, "triggers": ["FILE.UPLOADED"]}
    whole |= {"address": "https://x.example.com/\U0001f600", "created_at": "2026-01-01T00:00:00Z"}
    box.instead = Response(json.dumps(whole | {"entries": [whole], "next_marker": None}), mimetype="application/json")
    assert command("import", "--file", str(file)).stdout == f"1 registration added to {file} for development.\n"
    assert "https://x.example.com/\U0001f600" in file.read_text(encoding="utf-8")


def test_prune_deletes_what_is_not_in_the_file(command: Command, box: StandIn, file: Path) -> None:
    box.make(folder(7))
    assert "- delete folder:7" in command("plan", "--prune", "--file", str(file)).stdout
    command("apply", "--prune", "--file", str(file))
    assert set(box.content()) == {"folder:1200", "file:5000"}


def test_the_file_is_the_one_in_config_unless_another_is_named(command: Command, app: Flask, file: Path) -> None:
    assert "0 as wanted" in command("plan").stdout
    app.config["BOX_WEBHOOKS_FILE"] = file
    assert "2 to create" in command("plan").stdout


def test_the_doctor_says_when_each_last_delivered_and_that_all_is_well(
    command: Command, box: StandIn, inbox: Inbox
) -> None:
    id_ = box.make(folder(1200))
    arrive_from(inbox, id_, "FILE.UPLOADED", at=datetime.now(UTC))
    result = command("doctor")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split()[:2] == [id_, "folder:1200"]
    assert "nothing looks wrong" in result.stdout
    (item,) = json.loads(command("doctor", "--json").stdout)["items"]
    assert (item["id"], item["last"]["name"], item["problems"]) == (id_, "FILE.UPLOADED", [])


def test_the_doctor_exits_1_where_something_is_wrong(command: Command, box: StandIn, inbox: Inbox) -> None:
    arrive_from(inbox, box.make(folder(1200)), "NO_ACTIVE_SESSION", at=datetime.now(UTC))
    result = command("doctor")
    assert (result.exit_code, "✗ folder:1200: The login" in result.stdout) == (1, True)


def test_a_registration_that_box_removed_is_in_the_plan(
    command: Command, box: StandIn, file: Path, inbox: Inbox, app: Flask
) -> None:
    from receiver.registrations import Sentinel

    command("apply", "--file", str(file))
    id_ = box.ids()["folder:1200"]
    command("delete", id_)
    event_id = arrive_from(inbox, id_, "WEBHOOK.DELETED", at=datetime.now(UTC), info={"reason": "auto_cleanup"})
    Sentinel(service.of(app).engine, clock=lambda: datetime.now(UTC)).heed(event_id)
    title = command("plan", "--file", str(file)).stdout.splitlines()[0]
    assert title.startswith("+ create folder:1200  Box removed it ")
    assert title.endswith("(auto_cleanup), and it is made again")


def test_every_state_of_a_registration_can_be_shown(
    command: Command, box: StandIn, engine: sa.Engine, file: Path
) -> None:
    now = datetime.now(UTC)
    (there,) = [box.make(folder(1200))]
    moments = (None, now - timedelta(days=400), now + timedelta(minutes=118))
    rows = [
        {
            "target_type": "folder",
            "target_id": str(1200 + number),
            "address": HERE if is_ours else "https://elsewhere.example/hooks",
            "triggers": triggers,
            "webhook_id": webhook_id,
            "state": state,
            "is_ours": is_ours,
            "noted_at": now,
            "seen_at": seen_at,
            "died_at": died_at,
            "reason": reason,
        }
        for number, (state, webhook_id, is_ours, triggers, seen_at, died_at, reason) in enumerate(
            itertools.product(
                ("live", "making", "dead"),
                (there, "999", None),
                (True, False),
                ([], ["FILE.UPLOADED", "SOME.DAY"]),
                moments,
                moments,
                (None, "a\x1b[31mreason"),
            )
        )
    ]
    with engine.begin() as connection:
        connection.execute(sa.insert(registrations), rows)
    for words in ("list", f"get {there}", f"plan --file {file}", "doctor", f"import --file {file}"):
        for form in ([], ["--json"]):
            result = command(*words.split(), *form)
            assert result.exit_code in (0, 1, 2), (words, result.exception)
            assert result.output
            assert "\x1b[31mreason" not in result.output
            if form and result.stdout:
                json.loads(result.stdout)
