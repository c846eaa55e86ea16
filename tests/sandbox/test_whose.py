"""Whose webhook is whose: what is another user's, or the same user's in another application, is not there at all."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from receiver.sandbox import Token, World, registrations, world_of
from tests.sandbox.calls import ADDRESS, FOLDER, Box, Controls, Post

FILE = {"id": "1300", "type": "file"}


def issued(sandbox: Flask, application: str, user: str) -> Box:
    """Give a caller with a token of an application for a user."""
    form = {"grant_type": "client_credentials", "client_id": application, "box_subject_id": user}
    answer = sandbox.test_client().post("/oauth2/token", data=form).get_json()
    return Box(sandbox.test_client(), answer["access_token"])


@pytest.fixture(params=["another user", "another application"])
def other(request: pytest.FixtureRequest, sandbox: Flask) -> Box:
    """Somebody who shares with `mine` either the application or the user, and not both."""
    return issued(sandbox, "ours", "78") if request.param == "another user" else issued(sandbox, "theirs", "77")


@pytest.fixture
def mine(sandbox: Flask) -> Box:
    return issued(sandbox, "ours", "77")


def seen(box: Box, id_: str) -> Any:
    return box.call("GET", f"/{id_}").get_json()


def test_a_webhook_cannot_be_read_by_anybody_else(mine: Box, other: Box) -> None:
    id_ = mine.register()
    refused = other.call("GET", f"/{id_}")
    assert refused.status_code == 404
    assert ADDRESS not in refused.get_data(as_text=True)


def test_a_webhook_that_is_anothers_is_refused_as_one_that_is_not_there(mine: Box, other: Box) -> None:
    id_ = mine.register()
    told = [other.call("GET", path).get_json() for path in (f"/{id_}", f"/{int(id_) + 1000}")]
    for one in told:
        one.pop("request_id")
    assert told[0] == told[1]


@pytest.mark.parametrize("change", [{}, {"address": f"{ADDRESS}/x"}, {"triggers": ["FILE.TRASHED"]}, {"target": FILE}])
def test_a_webhook_cannot_be_changed_by_anybody_else(mine: Box, other: Box, change: dict[str, Any]) -> None:
    id_ = mine.register()
    was = seen(mine, id_)
    assert other.call("PUT", f"/{id_}", json=change).status_code == 404
    assert seen(mine, id_) == was


def test_a_change_of_one_webhook_leaves_all_others_as_they_were(mine: Box, other: Box) -> None:
    first, second, theirs = mine.register(), mine.register("FILE.TRASHED", target=FILE), other.register()
    was = [seen(mine, second), seen(other, theirs)]
    changed = mine.call("PUT", f"/{first}", json={"address": f"{ADDRESS}/x", "triggers": ["FOLDER.CREATED"]})
    assert changed.status_code == 200
    assert [seen(mine, second), seen(other, theirs)] == was


def test_a_webhook_cannot_be_deleted_by_anybody_else(mine: Box, other: Box) -> None:
    id_ = mine.register()
    assert other.call("DELETE", f"/{id_}").status_code == 404
    assert seen(mine, id_)["id"] == id_


def test_a_deletion_takes_no_other_webhook_with_it(mine: Box, other: Box) -> None:
    first, second, theirs = mine.register(), mine.register("FILE.TRASHED", target=FILE), other.register()
    assert mine.call("DELETE", f"/{first}").status_code == 204
    assert (seen(mine, second)["id"], seen(other, theirs)["id"]) == (second, theirs)


def test_each_lists_its_own_on_every_page(mine: Box, other: Box) -> None:
    ids: dict[Box, list[str]] = {mine: [], other: []}
    for number in range(1, 4):
        for box in (mine, other):
            ids[box].append(box.register(target={"id": str(number), "type": "folder"}))
    for box in (mine, other):
        found: list[str] = []
        marker = ""
        while len(found) <= 3:
            page = box.call("GET", query_string={"limit": 1, "marker": marker}).get_json()
            found += [one["id"] for one in page["entries"]]
            if not (marker := page["next_marker"]):
                break
        assert found == ids[box]


def test_an_item_that_somebody_else_watches_is_free(mine: Box, other: Box) -> None:
    mine.register()
    made = other.create()
    assert made.status_code == 201
    moved = other.register("FILE.TRASHED", target=FILE)
    assert other.call("DELETE", f"/{made.get_json()['id']}").status_code == 204
    assert other.call("PUT", f"/{moved}", json={"target": FOLDER}).status_code == 200


def test_a_conflict_names_ones_own_webhook(mine: Box, other: Box) -> None:
    mine.register()
    id_ = other.register()
    assert id_ in other.create().get_json()["context_info"]["errors"][0]["message"]


def test_what_others_have_does_not_count_against_the_most_that_one_may_have(
    mine: Box, other: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registrations, "MOST_REGISTRATIONS", 2)
    for box in (mine, other):
        box.register()
        box.register("FILE.TRASHED", target=FILE)
    assert mine.create({"id": "9", "type": "folder"}).status_code == 400


def test_the_end_of_a_session_is_its_own_users_alone(make: Callable[..., Flask], sent: list[Post]) -> None:
    app = make(tokens=[Token(name="ada", token="one"), Token(name="ben", token="two")])
    ada, controls = Box(app.test_client()), Controls(app.test_client())
    ids = [ada.register(), ada.as_("two").register()]
    assert controls.post("/tokens/expire", name="ada") == {"webhooks": 1}
    assert [box.call("GET").status_code for box in (ada, ada.as_("two"))] == [401, 200]
    controls.do("upload", "1200/a.pdf")
    world_of(app).courier.run_due()
    told = {post.payload["webhook"]["id"]: post.name for post in sent}
    assert told == {ids[0]: "NO_ACTIVE_SESSION", ids[1]: "FILE.UPLOADED"}


def test_the_end_of_a_session_is_its_own_applications_alone(
    sandbox: Flask, mine: Box, controls: Controls, world: World, sent: list[Post]
) -> None:
    theirs = issued(sandbox, "theirs", "77")
    ids = [mine.register(), theirs.register()]
    sandbox.test_client().post("/oauth2/revoke", data={"token": mine.token})
    assert [box.call("GET").status_code for box in (mine, theirs)] == [401, 200]
    controls.do("upload", "1200/a.pdf")
    world.courier.run_due()
    told = {post.payload["webhook"]["id"]: post.name for post in sent}
    assert told == {ids[0]: "NO_ACTIVE_SESSION", ids[1]: "FILE.UPLOADED"}
