"""What the sandbox delivers for Filestack: every action is accepted, retries follow each of the three schedules."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from filestack.helpers import verify_webhook_signature

from receiver.events import Delivery, Headers
from receiver.sandbox import World
from receiver.sandbox.filestack_events import KINDS
from receiver.sources import filestack as source
from tests import listings
from tests.installation import FILESTACK_KEYS, Clock
from tests.sandbox.calls import Controls, Post
from tests.waiting import until

NEVER = [500] * 1000
WAYS = [(name, way) for name, kind in KINDS.items() for way in kind.ways or ("",)]


@pytest.mark.parametrize(("action", "way"), WAYS)
def test_every_action_is_delivered_accepted_and_as_its_schema_says(
    controls: Controls, world: World, sent: list[Post], engine: sa.Engine, action: str, way: str
) -> None:
    answer = controls.post("/filestack", action=action, way=way)
    world.courier.run_due()
    kept = listings.list_events(engine)["items"]
    assert len(kept) == len(sent) == len(answer["set_off"])
    for post in sent:
        delivery = Delivery(
            source="filestack", body=post.body, headers=Headers(post.headers.items()), received_at=Clock().now
        )
        assert source.drift(source.parse(delivery)) == []


def test_the_official_sdk_verifies_what_is_delivered(controls: Controls, world: World, sent: list[Post]) -> None:
    controls.post("/filestack", action="upload", filename="é 🚦.png")
    world.courier.run_due()
    is_valid, _ = verify_webhook_signature(FILESTACK_KEYS["secret 1"], sent[0].body, dict(sent[0].headers))
    assert is_valid


def test_a_symlink_is_told_with_five_fields(controls: Controls, world: World, sent: list[Post]) -> None:
    controls.post("/filestack", action="upload", way="symlink", client="Box", filename="lamp.png")
    world.courier.run_due()
    text = sent[0].payload["text"]
    assert set(text) == {"url", "client", "filename", "type", "size"}
    assert (text["client"], text["filename"]) == ("Box", "lamp.png")


def test_an_upload_to_other_storage_is_told_in_transit_and_then_stored(
    controls: Controls, world: World, sent: list[Post]
) -> None:
    controls.post("/filestack", action="upload", way="transit")
    world.courier.run_due()
    assert [post.payload["text"]["status"] for post in sent] == ["InTransit", "Stored"]
    assert sent[0].payload["text"]["url"] == sent[1].payload["text"]["url"]
    assert sent[0].payload["id"] != sent[1].payload["id"]


def test_a_transcoding_is_told_pending_and_then_completed(controls: Controls, world: World, sent: list[Post]) -> None:
    controls.post("/filestack", action="transcode")
    world.courier.run_due()
    assert [post.payload["status"] for post in sent] == ["pending", "completed"]
    assert len({post.payload["uuid"] for post in sent}) == 1


def test_a_conversion_names_the_drive_of_its_original(controls: Controls, world: World, sent: list[Post]) -> None:
    controls.post("/filestack", action="conversion", client="Dropbox", filename="x.jpg")
    world.courier.run_due()
    assert sent[0].payload["action"] == "fp.converse"
    assert sent[0].payload["text"]["link"]["provider"] == "Dropbox"


def test_every_event_has_an_id_of_its_own(controls: Controls, world: World, sent: list[Post]) -> None:
    controls.post("/filestack", action="upload", count=3)
    controls.post("/filestack", action="delete", count=3)
    world.courier.run_due()
    assert len({post.payload["id"] for post in sent}) == 6


@pytest.mark.parametrize(
    ("schedule", "minutes"),
    [("legacy", [5, 60, 720]), ("docs", [5, 30, 720]), ("production", [10 / 60, 1, 5, 15, 60]), ("", [5, 30, 720])],
)
def test_retries_follow_the_schedule_that_was_chosen(
    controls: Controls, world: World, answers: list[int], schedule: str, minutes: list[float]
) -> None:
    answers += NEVER
    more: dict[str, Any] = {"schedule": schedule} if schedule else {}
    controls.post("/filestack", action="upload", **more)
    began = world.clock.now()
    world.courier.pass_time(timedelta(days=2))
    times = [row["sent_at"] - began.timestamp() for row in world.store.rows("SELECT sent_at FROM deliveries")]
    assert times == pytest.approx([0, *(60 * span for span in minutes)], abs=1)


@pytest.mark.parametrize(("status", "deliveries"), [(200, 1), (201, 1), (204, 1), (202, 2), (302, 2), (206, 2)])
def test_only_three_answers_count_as_delivered(
    controls: Controls, world: World, sent: list[Post], answers: list[int], status: int, deliveries: int
) -> None:
    answers += [status]
    controls.post("/filestack", action="upload")
    world.courier.pass_time(timedelta(hours=13))
    assert len(sent) == deliveries


@pytest.mark.parametrize("fault", ["wrong_key", "reserialise"])
def test_a_delivery_that_is_spoilt_on_the_way_is_rejected(
    controls: Controls, world: World, engine: sa.Engine, fault: str
) -> None:
    controls.post("/filestack", action="upload", faults={fault: True})
    world.courier.run_due()
    kept = until(lambda: listings.list_rejected(engine)["items"], "the refusal is written")
    assert [item["reason"] for item in kept] == ["signature_mismatch"]


def test_an_action_may_go_to_another_address(controls: Controls, world: World, sent: list[Post]) -> None:
    controls.post("/filestack", action="upload", to=["http://a.example/1", "http://b.example/2"])
    world.courier.run_due()
    assert [post.address for post in sent] == ["http://a.example/1", "http://b.example/2"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"action": "sing"}, "no action 'sing'"),
        ({"action": "upload", "way": "sung"}, "store, symlink, transit"),
        ({"action": "export", "way": "store"}, "only one way"),
        ({"action": "upload", "to": ["nowhere"]}, "not an HTTP address"),
        ({"action": "upload", "schedule": "never"}, "schedule"),
        ({"action": "upload", "faults": {"rotating": "primary"}}, "one secret only"),
        ({"action": "upload", "filename": "\ud800"}, "invisible characters"),
    ],
)
def test_what_cannot_happen_is_refused_in_words(controls: Controls, asked: dict[str, object], words: str) -> None:
    assert words in controls.refused("/filestack", **asked)
