"""What the sandbox delivers for Box: our own application accepts every trigger, and retries are as Box makes them."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from box_sdk_gen.managers.webhooks import WebhooksManager
from flask import Flask

from receiver.events import Delivery, Headers
from receiver.registrations.rules import TRIGGERS, fits
from receiver.sandbox import Token, World, world_of
from receiver.sources import box as source
from tests import listings
from tests.installation import BOX_KEYS, Clock
from tests.sandbox.calls import FOLDER, Box, Controls, Post
from tests.waiting import until

NEVER = [500] * 10_000

# What sets off each trigger: the actions before it, and the one that does it.
ACTIONS: dict[str, list[tuple[str, ...]]] = {
    "FILE.UPLOADED": [("upload", "1200/a.pdf")],
    "FILE.PREVIEWED": [("upload", "1200/a.pdf"), ("preview", "1200/a.pdf")],
    "FILE.DOWNLOADED": [("upload", "1200/a.pdf"), ("download", "1200/a.pdf")],
    "FILE.TRASHED": [("upload", "1200/a.pdf"), ("trash", "1200/a.pdf")],
    "FILE.DELETED": [("upload", "1200/a.pdf"), ("delete", "1200/a.pdf")],
    "FILE.RESTORED": [("upload", "1200/a.pdf"), ("trash", "1200/a.pdf"), ("restore", "1200/a.pdf")],
    "FILE.COPIED": [("upload", "1200/a.pdf"), ("create", "1200/b"), ("copy", "1200/a.pdf", "1200/b")],
    "FILE.MOVED": [("upload", "1200/a.pdf"), ("create", "1200/b"), ("move", "1200/a.pdf", "1200/b")],
    "FILE.LOCKED": [("upload", "1200/a.pdf"), ("lock", "1200/a.pdf")],
    "FILE.UNLOCKED": [("upload", "1200/a.pdf"), ("lock", "1200/a.pdf"), ("unlock", "1200/a.pdf")],
    "FILE.RENAMED": [("upload", "1200/a.pdf"), ("rename", "1200/a.pdf", "été 🚂.pdf")],
    "FOLDER.CREATED": [("create", "1200/b")],
    "FOLDER.RENAMED": [("create", "1200/b"), ("rename", "1200/b", "c")],
    "FOLDER.DOWNLOADED": [("create", "1200/b"), ("download", "1200/b")],
    "FOLDER.RESTORED": [("create", "1200/b"), ("trash", "1200/b"), ("restore", "1200/b")],
    "FOLDER.DELETED": [("create", "1200/b"), ("delete", "1200/b")],
    "FOLDER.COPIED": [("create", "1200/b"), ("create", "1200/c"), ("copy", "1200/b", "1200/c")],
    "FOLDER.MOVED": [("create", "1200/b"), ("create", "1200/c"), ("move", "1200/b", "1200/c")],
    "FOLDER.TRASHED": [("create", "1200/b"), ("trash", "1200/b")],
}
STEPS = {
    "COMMENT": ("comment", ["CREATED", "UPDATED", "DELETED"]),
    "TASK_ASSIGNMENT": ("task", ["CREATED", "UPDATED"]),
    "METADATA_INSTANCE": ("metadata", ["CREATED", "UPDATED", "DELETED"]),
    "SHARED_LINK": ("share", ["CREATED", "UPDATED", "DELETED"]),
    "COLLABORATION": ("collaborate", ["CREATED", "ACCEPTED", "REJECTED", "REMOVED", "UPDATED"]),
    "SIGN_REQUEST": (
        "sign",
        ["COMPLETED", "DECLINED", "EXPIRED", "SIGNER_EMAIL_BOUNCED", "SIGNER_SIGNED", "SIGNATURE_REQUESTED",
         "ERROR_FINALIZING"],
    ),
}  # fmt: skip
BY_STEP = {f"{family}.{verb}": (action, verb) for family, (action, verbs) in STEPS.items() for verb in verbs}
ONLY_SET_OFF = TRIGGERS - set(ACTIONS) - set(BY_STEP) - {"WEBHOOK.DELETED"}


def act(controls: Controls, trigger: str) -> None:
    """Do what sets off a trigger."""
    for action, item, *to in ACTIONS.get(trigger, [("upload", "1200/a.pdf")]):
        controls.do(action, item, *to)
    if trigger in BY_STEP:
        action, verb = BY_STEP[trigger]
        if action != "sign" and verb != "CREATED":
            controls.do(action, "1200/a.pdf")
        controls.do(action, "1200/a.pdf", step=verb.lower())
    elif trigger not in ACTIONS:
        controls.do("set-off", "1200/a.pdf", trigger)


def kept(engine: sa.Engine) -> list[str]:
    return [item["type"] for item in reversed(listings.list_events(engine)["items"])]


@pytest.mark.parametrize("trigger", sorted(TRIGGERS - {"WEBHOOK.DELETED"}))
def test_every_trigger_is_delivered_accepted_and_as_its_schema_says(
    box: Box, controls: Controls, world: World, sent: list[Post], engine: sa.Engine, trigger: str
) -> None:
    if fits(trigger, "folder"):
        id_ = box.register(trigger)
    else:
        file = controls.post("/actions", action="upload", item="1200/a.pdf")["set_off"][-1]["item"]
        id_ = box.register(trigger, target={"id": file["id"], "type": "file"})
    act(controls, trigger)
    world.courier.run_due()
    assert kept(engine) == [f"box:{trigger}"]
    post = sent[-1]
    assert post.payload["webhook"] == {"id": id_, "type": "webhook"}
    delivery = Delivery(source="box", body=post.body, headers=Headers(post.headers.items()), received_at=Clock().now)
    assert source.drift(source.parse(delivery)) == []


def test_only_what_has_no_action_is_merely_set_off() -> None:
    assert {name.partition("_GEN")[0] for name in ONLY_SET_OFF} == {
        "DOCGEN_DOCUMENT",
        "SIGN_REQUEST.SIGN_DOCUMENT_CREATED",
        "SIGN_REQUEST.SIGN_ERROR_FINALIZING",
        "SIGN_REQUEST.SIGN_SIGNER_SIGNED",
    }


def test_the_official_sdk_verifies_what_is_delivered(
    box: Box, controls: Controls, world: World, sent: list[Post]
) -> None:
    box.register("FILE.UPLOADED")
    controls.do("upload", "1200/Fahrplan é 🚂.pdf")
    world.courier.run_due()
    headers = {name.lower(): value for name, value in sent[0].headers.items()}
    for primary, secondary in ((BOX_KEYS["primary"], None), ("another", BOX_KEYS["secondary"])):
        assert WebhooksManager.validate_message(sent[0].body.decode(), headers, primary, secondary_key=secondary)


def test_the_body_is_written_as_php_writes_it(box: Box, controls: Controls, world: World, sent: list[Post]) -> None:
    box.register("FILE.UPLOADED")
    controls.do("upload", "1200/é 🚂.pdf")
    world.courier.run_due()
    assert rb"\u00e9 \ud83d\ude82.pdf" in sent[0].body
    assert b'": ' not in sent[0].body


def test_the_source_is_the_item_as_it_is_on_the_drive(
    box: Box, controls: Controls, world: World, sent: list[Post]
) -> None:
    box.register("FILE.UPLOADED", "FILE.RENAMED", "FILE.MOVED", "FILE.TRASHED")
    controls.do("upload", "1200/deep/a.pdf", size=77)
    controls.do("rename", "1200/deep/a.pdf", "b.pdf", by="Ben Ruiz")
    controls.do("move", "1200/deep/b.pdf", "1200")
    controls.do("trash", "1200/b.pdf")
    world.courier.run_due()
    uploaded, renamed, moved, trashed = (post.payload for post in sent)
    file = uploaded["source"]
    assert (file["name"], file["size"], file["parent"]["name"]) == ("a.pdf", 77, "deep")
    assert [folder["name"] for folder in file["path_collection"]["entries"]] == ["All Files", "Folder 1200", "deep"]
    assert (renamed["source"]["name"], renamed["additional_info"]) == ("b.pdf", {"old_name": "a.pdf"})
    assert renamed["created_by"]["name"] == "Ben Ruiz"
    assert moved["additional_info"]["before"]["id"] == file["parent"]["id"]
    assert moved["additional_info"]["after"]["id"] == "1200"
    assert trashed["source"] == {"id": file["id"], "type": "file"}


def test_a_webhook_hears_of_everything_below_its_folder_and_of_nothing_beside_it(
    box: Box, controls: Controls, world: World, sent: list[Post]
) -> None:
    high = box.register("FILE.UPLOADED")
    controls.do("create", "1200/low")
    low_id = next(item["id"] for item in controls.get("/items")["items"] if item["name"] == "low")
    low = box.register("FILE.UPLOADED", target={"id": low_id, "type": "folder"})
    box.register("FILE.TRASHED", target={"id": "77", "type": "folder"})
    controls.do("upload", "1200/low/a.pdf")
    controls.do("upload", "1200/b.pdf")
    controls.do("upload", "elsewhere/c.pdf")
    world.courier.run_due()
    assert [post.payload["webhook"]["id"] for post in sent] == [high, low, high]
    assert len({post.payload["id"] for post in sent}) == 3


def test_a_webhook_on_a_file_hears_of_that_file_only(
    box: Box, controls: Controls, world: World, sent: list[Post]
) -> None:
    controls.do("upload", "1200/a.pdf")
    controls.do("upload", "1200/b.pdf")
    file = next(item["id"] for item in controls.get("/items")["items"] if item["name"] == "a.pdf")
    box.register("FILE.TRASHED", target={"id": file, "type": "file"})
    controls.do("trash", "1200/a.pdf")
    controls.do("trash", "1200/b.pdf")
    world.courier.run_due()
    assert [post.payload["source"]["id"] for post in sent] == [file]


def test_what_is_moved_into_a_folder_is_an_upload_for_it(
    box: Box, controls: Controls, world: World, sent: list[Post]
) -> None:
    box.register("FILE.UPLOADED", "FILE.MOVED")
    controls.do("upload", "elsewhere/a.pdf")
    controls.do("move", "elsewhere/a.pdf", "1200")
    world.courier.run_due()
    assert [post.name for post in sent] == ["FILE.MOVED", "FILE.UPLOADED"]


def test_a_copy_is_an_upload_too(box: Box, controls: Controls, world: World, sent: list[Post]) -> None:
    box.register("FILE.UPLOADED", "FILE.COPIED")
    controls.do("upload", "1200/a.pdf")
    controls.do("create", "1200/b")
    controls.do("copy", "1200/a.pdf", "1200/b")
    world.courier.run_due()
    assert [post.name for post in sent] == ["FILE.UPLOADED", "FILE.COPIED", "FILE.UPLOADED"]
    assert sent[0].payload["source"]["id"] == sent[1].payload["source"]["id"] != sent[2].payload["source"]["id"]


def test_only_the_triggers_that_a_webhook_asks_for_are_sent(
    box: Box, controls: Controls, world: World, sent: list[Post]
) -> None:
    box.register("FILE.TRASHED")
    assert controls.do("upload", "1200/a.pdf") == ["FILE.UPLOADED"]
    assert (world.courier.run_due(), sent) == (0, [])


def test_twelve_retries_within_two_hours_and_then_no_more(
    box: Box, controls: Controls, world: World, sent: list[Post], answers: list[int]
) -> None:
    box.register("FILE.UPLOADED")
    answers += NEVER
    controls.do("upload", "1200/a.pdf")
    world.courier.pass_time(timedelta(hours=1, minutes=59))
    assert len(sent) == 12
    world.courier.pass_time(timedelta(minutes=2))
    assert len(sent) == 13
    world.courier.pass_time(timedelta(days=2))
    assert len(sent) == 13
    assert controls.get("/events")["items"][0]["state"] == "failed"


def test_a_retry_has_the_same_body_a_new_delivery_id_and_a_signature_that_holds(
    box: Box, controls: Controls, world: World, sent: list[Post], answers: list[int], engine: sa.Engine
) -> None:
    box.register("FILE.UPLOADED")
    answers += [500, 404, 302]
    controls.do("upload", "1200/a.pdf")
    world.courier.pass_time(timedelta(hours=2))
    assert len({post.body for post in sent}) == 1
    assert len({post.headers["BOX-DELIVERY-ID"] for post in sent}) == len(sent) == 4
    assert kept(engine) == ["box:FILE.UPLOADED"]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_counts_as_delivered(
    box: Box, controls: Controls, world: World, sent: list[Post], answers: list[int], status: int
) -> None:
    box.register("FILE.UPLOADED")
    answers += [status]
    controls.do("upload", "1200/a.pdf")
    world.courier.pass_time(timedelta(hours=2))
    assert len(sent) == 1


def test_a_receiver_that_was_down_for_ninety_minutes_gets_everything_once(
    box: Box, controls: Controls, world: World, sent: list[Post], answers: list[int], engine: sa.Engine
) -> None:
    box.register("FILE.UPLOADED")
    answers += NEVER
    for number in range(5):
        controls.do("upload", f"1200/{number}.pdf")
        world.courier.pass_time(timedelta(minutes=15))
    world.courier.pass_time(timedelta(minutes=15))
    answers.clear()
    world.courier.pass_time(timedelta(hours=2))
    assert len(kept(engine)) == 5
    assert {event["state"] for event in controls.get("/events")["items"]} == {"delivered"}


def test_a_webhook_that_reaches_nobody_is_removed_and_says_so(
    box: Box, controls: Controls, world: World, sent: list[Post], answers: list[int], engine: sa.Engine
) -> None:
    id_ = box.register("FILE.UPLOADED")
    answers += NEVER
    world.courier.pass_time(timedelta(days=15))
    controls.do("upload", "1200/a.pdf")
    world.courier.pass_time(timedelta(days=14))
    assert box.call("GET", f"/{id_}").status_code == 200
    answers.clear()
    world.courier.pass_time(timedelta(days=1))
    assert box.call("GET", f"/{id_}").status_code == 404
    last = sent[-1].payload
    assert (last["trigger"], last["webhook"]["id"]) == ("WEBHOOK.DELETED", id_)
    assert last["additional_info"] == {"reason": "auto_cleanup"}
    assert kept(engine) == ["box:WEBHOOK.DELETED"]


def test_a_webhook_that_nothing_sets_off_stays(box: Box, world: World) -> None:
    id_ = box.register()
    world.courier.pass_time(timedelta(days=400))
    assert box.call("GET", f"/{id_}").status_code == 200


def test_a_webhook_that_delivers_now_and_then_stays(
    box: Box, controls: Controls, world: World, answers: list[int]
) -> None:
    id_ = box.register("FILE.UPLOADED")
    for _ in range(4):
        answers += [500] * 13
        controls.do("upload", "1200/a.pdf")
        world.courier.pass_time(timedelta(days=10))
        controls.do("upload", "1200/a.pdf")
        world.courier.pass_time(timedelta(days=10))
    assert box.call("GET", f"/{id_}").status_code == 200


def test_after_its_removal_an_item_can_have_a_webhook_again(box: Box, controls: Controls) -> None:
    id_ = box.register()
    controls.post(f"/webhooks/{id_}/give-up")
    assert box.register() != id_


def test_what_a_removed_webhook_had_not_delivered_is_dropped(
    box: Box, controls: Controls, world: World, sent: list[Post], answers: list[int]
) -> None:
    id_ = box.register("FILE.UPLOADED")
    answers += [500]
    controls.do("upload", "1200/a.pdf")
    world.courier.run_due()
    box.call("DELETE", f"/{id_}")
    world.courier.pass_time(timedelta(hours=2))
    assert len(sent) == 1
    assert controls.get("/events")["items"][0]["state"] == "dropped"


def test_revoked_tokens_take_their_webhooks_with_them(
    box: Box, controls: Controls, world: World, sent: list[Post]
) -> None:
    box.register()
    box.register("FILE.TRASHED", target={"id": "5", "type": "file"})
    box.as_("two").register()
    assert len(controls.post("/tokens/revoke", name="guest 1")["events"]) == 2
    world.courier.run_due()
    assert [post.name for post in sent] == ["WEBHOOK.DELETED"] * 2
    assert len(world.registrations.all()) == 1


def test_after_a_developer_tokens_hour_no_more_is_told_than_that(
    make: Callable[..., Flask], sent: list[Post], engine: sa.Engine
) -> None:
    app = make(tokens=[Token(name="ada", token="one", is_developers=True)])
    box, controls, world = Box(app.test_client()), Controls(app.test_client()), world_of(app)
    id_ = box.register("FILE.UPLOADED")
    controls.do("upload", "1200/a.pdf")
    world.courier.pass_time(timedelta(hours=1))
    controls.do("upload", "1200/b.pdf")
    world.courier.run_due()
    last = sent[-1].payload
    assert (last["trigger"], last["webhook"]["id"]) == ("NO_ACTIVE_SESSION", id_)
    assert set(last["source"]) == {"id", "type"}
    assert kept(engine) == ["box:FILE.UPLOADED", "box:NO_ACTIVE_SESSION"]


def test_with_a_live_token_again_everything_is_told_again(
    box: Box, controls: Controls, world: World, sent: list[Post]
) -> None:
    controls.post("/tokens", name="ada", token="one", expect=201)
    box.register("FILE.UPLOADED")
    controls.post("/tokens/expire", name="ada")
    controls.do("upload", "1200/a.pdf")
    controls.post("/tokens", name="ada", token="new", expect=201)
    controls.do("upload", "1200/b.pdf")
    world.courier.run_due()
    assert [post.name for post in sent] == ["NO_ACTIVE_SESSION", "FILE.UPLOADED"]


@pytest.mark.parametrize(("slot", "by"), [("primary", "secondary"), ("secondary", "primary")])
def test_in_the_middle_of_a_rotation_the_other_key_still_verifies(
    box: Box, controls: Controls, world: World, engine: sa.Engine, slot: str, by: str
) -> None:
    box.register("FILE.UPLOADED")
    controls.do("upload", "1200/a.pdf", faults={"rotating": slot})
    world.courier.run_due()
    assert listings.show_event(engine, "last")["verified_by"] == by


@pytest.mark.parametrize("fault", ["wrong_key", "reserialise"])
def test_a_delivery_that_is_spoilt_on_the_way_is_rejected(
    box: Box, controls: Controls, world: World, engine: sa.Engine, fault: str
) -> None:
    box.register("FILE.UPLOADED")
    controls.do("upload", "1200/é.pdf", faults={fault: True})
    world.courier.run_due()
    kept = until(lambda: listings.list_rejected(engine)["items"], "the refusal is written")
    assert [item["reason"] for item in kept] == ["signature_mismatch"]
    assert controls.get("/deliveries")["items"][0]["status"] == 401


def test_duplicates_are_one_event(
    box: Box, controls: Controls, world: World, sent: list[Post], engine: sa.Engine
) -> None:
    box.register("FILE.UPLOADED")
    controls.do("upload", "1200/a.pdf", faults={"duplicates": 2})
    world.courier.run_due()
    assert len(sent) == 3
    assert listings.show_event(engine, "last")["deliveries"] == 3


def test_a_lost_answer_brings_the_event_again(
    box: Box, controls: Controls, world: World, sent: list[Post], engine: sa.Engine
) -> None:
    box.register("FILE.UPLOADED")
    controls.do("upload", "1200/a.pdf", faults={"lost_answers": 2})
    world.courier.pass_time(timedelta(hours=2))
    assert len(sent) == 3
    assert listings.show_event(engine, "last")["deliveries"] == 3


def test_what_is_delayed_is_overtaken(box: Box, controls: Controls, world: World, sent: list[Post]) -> None:
    box.register("FILE.UPLOADED", "FILE.TRASHED")
    controls.do("upload", "1200/a.pdf", faults={"delay": 60})
    controls.do("trash", "1200/a.pdf")
    world.courier.pass_time(timedelta(minutes=2))
    assert [post.name for post in sent] == ["FILE.TRASHED", "FILE.UPLOADED"]


def test_reordered_events_of_one_action_come_last_first(
    box: Box, controls: Controls, world: World, sent: list[Post]
) -> None:
    box.register("FOLDER.CREATED", "FILE.UPLOADED")
    controls.do("upload", "1200/b/a.pdf", faults={"reorder": True})
    world.courier.pass_time(timedelta(seconds=1))
    assert [post.name for post in sent] == ["FILE.UPLOADED", "FOLDER.CREATED"]


def test_retries_may_carry_the_signature_of_the_first(
    box: Box, controls: Controls, world: World, sent: list[Post], answers: list[int]
) -> None:
    box.register("FILE.UPLOADED")
    answers += [500, 500]
    controls.do("upload", "1200/a.pdf", faults={"same_signature": True})
    world.courier.pass_time(timedelta(hours=1))
    assert len({post.headers["BOX-SIGNATURE-PRIMARY"] for post in sent}) == 1


def test_standing_faults_hold_until_they_are_ended(
    sandbox: Flask, box: Box, controls: Controls, world: World, sent: list[Post]
) -> None:
    box.register("FILE.UPLOADED")
    for faults in ({"duplicates": 1}, {}):
        sandbox.test_client().put("/sandbox/faults", json=faults)
        controls.do("upload", "1200/a.pdf")
    world.courier.run_due()
    assert len(sent) == 3


def test_the_log_tells_of_each_delivery_its_answer_and_the_next(
    box: Box, controls: Controls, world: World, answers: list[int]
) -> None:
    id_ = box.register("FILE.UPLOADED")
    answers += [503]
    controls.do("upload", "1200/a.pdf")
    world.courier.run_due()
    only = controls.get("/deliveries")["items"][0]
    assert (only["name"], only["webhook"], only["status"], only["delivered"]) == ("FILE.UPLOADED", id_, 503, False)
    assert (only["number"], only["state"]) == (1, "waiting")
    assert 14 <= only["next_in_seconds"] <= 15
    world.courier.pass_time(timedelta(minutes=1))
    last, first = controls.get("/deliveries")["items"]
    assert (last["status"], last["delivered"], last["next_at"]) == (200, True, None)
    assert first["next_in_seconds"] is None


def test_the_log_is_read_page_by_page(box: Box, controls: Controls, world: World) -> None:
    box.register("FILE.UPLOADED")
    controls.do("upload", "1200/a.pdf", count=5)
    world.courier.run_due()
    page = controls.get("/deliveries?limit=3")
    rest = controls.get(f"/deliveries?limit=3&before={page['next']}")
    assert [one["id"] for one in page["items"] + rest["items"]] == [5, 4, 3, 2, 1]
    assert rest["next"] is None


def test_a_sandbox_that_is_started_again_goes_on_where_it_stopped(
    make: Callable[..., Flask], tmp_path: Path, sent: list[Post], answers: list[int], engine: sa.Engine
) -> None:
    first = make(state=tmp_path / "state.db")
    id_ = Box(first.test_client()).register("FILE.UPLOADED")
    answers += [500] * 8
    Controls(first.test_client()).do("upload", "1200/a.pdf")
    world_of(first).courier.pass_time(timedelta(minutes=20))
    world_of(first).close()
    answers.clear()
    again = make(state=tmp_path / "state.db")
    assert world_of(again).courier.run_due() == 0
    world_of(again).courier.pass_time(timedelta(hours=2))
    assert kept(engine) == ["box:FILE.UPLOADED"]
    assert Box(again.test_client()).call("GET", f"/{id_}").status_code == 200
    assert Controls(again.test_client()).do("trash", "1200/a.pdf") == ["FILE.TRASHED"]


def test_bodies_of_one_event_to_two_webhooks_differ_in_webhook_and_id_only(
    box: Box, controls: Controls, world: World, sent: list[Post]
) -> None:
    box.register("FILE.UPLOADED")
    box.as_("two").register("FILE.UPLOADED")
    controls.do("upload", f"{FOLDER['id']}/a.pdf")
    world.courier.run_due()
    one, two = (json.loads(post.body) for post in sent)
    for payload in (one, two):
        del payload["webhook"], payload["id"]
    assert one["source"]["id"] == two["source"]["id"]
