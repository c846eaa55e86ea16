"""The Webhooks API of the sandbox: what it makes, what it refuses and in which words, whose is what, how it pages."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from receiver.sandbox import Token, World, world_of
from tests.sandbox.calls import ADDRESS, FOLDER, Box, Controls

FILE = {"id": "1300", "type": "file"}


def test_a_webhook_is_made_as_it_was_asked_for(box: Box) -> None:
    made = box.create(triggers=["FILE.UPLOADED", "FOLDER.CREATED"])
    webhook = made.get_json()
    assert made.status_code == 201
    assert (webhook["type"], webhook["target"], webhook["address"]) == ("webhook", FOLDER, ADDRESS)
    assert webhook["triggers"] == ["FILE.UPLOADED", "FOLDER.CREATED"]
    assert webhook["created_by"]["type"] == "user"
    assert box.call("GET", f"/{webhook['id']}").get_json() == webhook


def test_a_trigger_that_is_asked_for_twice_is_kept_once(box: Box) -> None:
    assert box.create(triggers=["FILE.UPLOADED", "FILE.UPLOADED"]).get_json()["triggers"] == ["FILE.UPLOADED"]


def test_an_update_changes_what_it_names_and_leaves_the_rest(box: Box) -> None:
    id_ = box.register("FILE.UPLOADED")
    changed = box.call("PUT", f"/{id_}", json={"triggers": ["FILE.TRASHED"]})
    assert changed.status_code == 200
    assert changed.get_json()["triggers"] == ["FILE.TRASHED"]
    assert changed.get_json()["address"] == ADDRESS
    assert box.call("GET", f"/{id_}").get_json() == changed.get_json()


def test_an_update_may_move_a_webhook_to_another_item(box: Box) -> None:
    id_ = box.register("FILE.TRASHED")
    assert box.call("PUT", f"/{id_}", json={"target": FILE}).get_json()["target"] == FILE


def test_an_update_of_nothing_changes_nothing(box: Box) -> None:
    id_ = box.register()
    assert box.call("PUT", f"/{id_}", json={}).get_json() == box.call("GET", f"/{id_}").get_json()


def test_a_deleted_webhook_is_gone(box: Box) -> None:
    id_ = box.register()
    deleted = box.call("DELETE", f"/{id_}")
    assert (deleted.status_code, deleted.data) == (204, b"")
    assert box.call("GET", f"/{id_}").status_code == 404
    assert box.call("DELETE", f"/{id_}").status_code == 404


def test_an_error_is_a_client_error_with_all_its_fields(box: Box) -> None:
    error = box.call("GET", "/1").get_json()
    assert set(error) == {"type", "status", "code", "message", "context_info", "help_url", "request_id"}
    assert (error["type"], error["status"], error["code"]) == ("error", 404, "not_found")
    assert error["request_id"] != box.call("GET", "/1").get_json()["request_id"]


@pytest.mark.parametrize("address", ["/2.0/webhooks/1/2", "/2.0/folders/1", "/nowhere"])
def test_what_the_sandbox_does_not_have_is_a_client_error_too(sandbox: Flask, address: str) -> None:
    assert sandbox.test_client().get(address).get_json()["code"] == "not_found"


def test_another_method_is_refused_with_those_that_there_are(box: Box) -> None:
    refused = box.call("PATCH")
    assert (refused.status_code, refused.get_json()["code"]) == (405, "method_not_allowed")
    assert "POST" in refused.headers["Allow"]


def test_the_same_item_cannot_have_two_webhooks_and_the_message_names_the_first(box: Box) -> None:
    id_ = box.register("FILE.UPLOADED")
    refused = box.create(triggers=["FILE.TRASHED"])
    wrong = refused.get_json()["context_info"]["errors"][0]
    assert (refused.status_code, refused.get_json()["code"]) == (409, "conflict")
    assert (wrong["reason"], wrong["name"]) == ("invalid_parameter", "existWebhookId")
    assert wrong["message"] == f"Webhook:{id_} already exists on the specified target."


def test_an_update_to_an_item_that_has_a_webhook_is_a_conflict(box: Box) -> None:
    box.register()
    other = box.register("FILE.TRASHED", target=FILE)
    assert box.call("PUT", f"/{other}", json={"target": FOLDER}).status_code == 409


def test_a_file_and_a_folder_may_have_the_same_id(box: Box) -> None:
    box.register()
    box.register("FILE.TRASHED", target={"id": FOLDER["id"], "type": "file"})


def test_a_user_has_a_thousand_webhooks_at_most(box: Box) -> None:
    for number in range(1000):
        box.register(target={"id": str(5000 + number), "type": "folder"})
    refused = box.create({"id": "9999", "type": "folder"})
    assert (refused.status_code, refused.get_json()["context_info"]["errors"][0]["name"]) == (400, "webhooks")
    assert box.as_("two").create({"id": "9999", "type": "folder"}).status_code == 201


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"address": ADDRESS, "triggers": ["FILE.UPLOADED"]}, "target"),
        ({"target": FOLDER, "triggers": ["FILE.UPLOADED"]}, "address"),
        ({"target": FOLDER, "address": ADDRESS}, "triggers"),
        ({"target": FOLDER, "address": ADDRESS, "triggers": []}, "triggers"),
        ({"target": FOLDER, "address": ADDRESS, "triggers": "FILE.UPLOADED"}, "triggers"),
        ({"target": FOLDER, "address": ADDRESS, "triggers": ["FILE.INVENTED"]}, "triggers"),
        ({"target": FOLDER, "address": ADDRESS, "triggers": ["NO_ACTIVE_SESSION"]}, "triggers"),
        ({"target": {"id": "1200"}, "address": ADDRESS, "triggers": ["FILE.UPLOADED"]}, "target.type"),
        ({"target": {"type": "folder"}, "address": ADDRESS, "triggers": ["FILE.UPLOADED"]}, "target.id"),
        ({"target": {"id": 1200, "type": "folder"}, "address": ADDRESS, "triggers": ["FILE.UPLOADED"]}, "target"),
        ({"target": {"id": "1", "type": "web_link"}, "address": ADDRESS, "triggers": ["FILE.UPLOADED"]}, "target"),
        ({"target": {"id": "0", "type": "folder"}, "address": ADDRESS, "triggers": ["FILE.UPLOADED"]}, "target"),
        ({"target": FILE, "address": ADDRESS, "triggers": ["FILE.UPLOADED"]}, "triggers"),
        ({"target": FILE, "address": ADDRESS, "triggers": ["COLLABORATION.CREATED"]}, "triggers"),
    ],
)
def test_what_is_wrong_with_a_request_is_named(box: Box, body: dict[str, Any], field: str) -> None:
    refused = box.call("POST", json=body)
    assert (refused.status_code, refused.get_json()["code"]) == (400, "bad_request")
    assert [wrong["name"] for wrong in refused.get_json()["context_info"]["errors"]] == [field]


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b"[" * 5000, b'{"target": NaN}', b"\xff"])
def test_a_body_that_cannot_be_read_is_refused(box: Box, body: bytes) -> None:
    assert box.call("POST", data=body, headers={"Content-Type": "application/json"}).status_code == 400


def test_a_body_that_is_not_announced_as_json_is_refused(box: Box) -> None:
    assert box.call("POST", data=b"{}", headers={"Content-Type": "text/plain"}).status_code == 400


def test_a_body_of_more_than_a_megabyte_is_refused(box: Box) -> None:
    refused = box.call("POST", data=b" " * 1_100_000, headers={"Content-Type": "application/json"})
    assert (refused.status_code, refused.get_json()["type"]) == (413, "error")


@pytest.mark.parametrize("id_", ["abc", "-1", "01", "1" * 30, "٣"])
def test_an_id_that_no_item_can_have_is_not_found(box: Box, id_: str) -> None:
    assert box.create({"id": id_, "type": "folder"}).status_code == 404


def test_an_item_that_was_trashed_takes_no_webhook(box: Box, controls: Controls) -> None:
    controls.do("create", "Depot")
    item = controls.get("/items")["items"][-1]
    controls.do("trash", "Depot")
    assert box.create({"id": item["id"], "type": "folder"}).status_code == 404


def test_a_strict_sandbox_has_only_what_was_made(make: Callable[..., Flask]) -> None:
    app = make(strict=True)
    box, controls = Box(app.test_client()), Controls(app.test_client())
    assert box.create().status_code == 404
    made = controls.post("/actions", action="create", item="Depot")["set_off"][0]["item"]
    assert box.create({"id": made["id"], "type": "folder"}).status_code == 201


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer"}, {"Authorization": "Basic b25l"}])
def test_without_a_bearer_token_the_answer_is_401(sandbox: Flask, headers: dict[str, str]) -> None:
    refused = sandbox.test_client().get("/2.0/webhooks", headers=headers)
    assert (refused.status_code, refused.get_json()["code"]) == (401, "unauthorized")
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")


def test_every_token_is_a_user_with_webhooks_of_its_own(box: Box) -> None:
    id_ = box.register()
    other = box.as_("two")
    assert other.call("GET", f"/{id_}").status_code == 404
    assert other.call("DELETE", f"/{id_}").status_code == 404
    assert other.call("GET").get_json()["entries"] == []
    assert other.register() != id_


def test_once_tokens_are_listed_no_other_is_taken(make: Callable[..., Flask]) -> None:
    box = Box(make(tokens=[Token(name="ada", token="one")]).test_client())
    assert box.create().get_json()["created_by"]["name"] == "ada"
    assert box.as_("two").call("GET").status_code == 401


def test_a_token_that_came_before_tokens_were_listed_is_refused_afterwards(box: Box, controls: Controls) -> None:
    box.register()
    controls.post("/tokens", name="ada", token="listed", expect=201)
    assert box.call("GET").status_code == 401
    assert box.as_("listed").call("GET").status_code == 200


def test_two_tokens_of_one_user_see_the_same(make: Callable[..., Flask]) -> None:
    tokens = [Token(name="ada", token="one"), Token(name="ada", token="two")]
    box = Box(make(tokens=tokens).test_client())
    id_ = box.register()
    assert box.as_("two").call("GET", f"/{id_}").status_code == 200


def test_a_token_without_the_scope_is_answered_403(make: Callable[..., Flask]) -> None:
    box = Box(make(tokens=[Token(name="ada", token="one", has_scope=False)]).test_client())
    for refused in (box.create(), box.call("GET"), box.call("DELETE", "/1")):
        assert (refused.status_code, refused.get_json()["code"]) == (403, "insufficient_scope")


def test_a_developer_token_lasts_an_hour(make: Callable[..., Flask]) -> None:
    app = make(tokens=[Token(name="ada", token="one", is_developers=True)])
    box = Box(app.test_client())
    world_of(app).courier.pass_time(timedelta(minutes=59))
    assert box.call("GET").status_code == 200
    world_of(app).courier.pass_time(timedelta(minutes=1))
    assert box.call("GET").status_code == 401


def test_a_list_holds_minis(box: Box) -> None:
    id_ = box.register()
    page = box.call("GET").get_json()
    assert page["entries"] == [{"id": id_, "type": "webhook", "target": FOLDER}]
    assert (page["limit"], page["next_marker"]) == (100, "")


def all_pages(box: Box, limit: int) -> list[list[str]]:
    pages, marker = [], ""
    while True:
        page = box.call("GET", query_string={"limit": limit, "marker": marker}).get_json()
        pages.append([one["id"] for one in page["entries"]])
        marker = page["next_marker"]
        if not marker:
            return pages


@pytest.mark.parametrize(("limit", "lengths"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (1000, [5])])
def test_markers_lead_through_all_pages(box: Box, limit: int, lengths: list[int]) -> None:
    ids = [box.register(target={"id": str(number), "type": "folder"}) for number in range(1, 6)]
    pages = all_pages(box, limit)
    assert [len(page) for page in pages] == lengths
    assert [id_ for page in pages for id_ in page] == ids


def test_what_is_deleted_between_two_pages_shifts_nothing(box: Box) -> None:
    ids = [box.register(target={"id": str(number), "type": "folder"}) for number in range(1, 5)]
    marker = box.call("GET", query_string={"limit": 2}).get_json()["next_marker"]
    box.call("DELETE", f"/{ids[0]}")
    page = box.call("GET", query_string={"limit": 2, "marker": marker}).get_json()
    assert [one["id"] for one in page["entries"]] == ids[2:]


@pytest.mark.parametrize(
    ("end", "page"), [("empty", {"next_marker": ""}), ("null", {"next_marker": None}), ("absent", {})]
)
def test_the_last_page_ends_in_each_way_that_box_was_seen_to_use(
    make: Callable[..., Flask], end: str, page: dict[str, Any]
) -> None:
    answer = Box(make(last_page=end).test_client()).call("GET").get_json()
    assert answer == {"limit": 100, "entries": []} | page


@pytest.mark.parametrize("query", ["limit=1001", "limit=x", "limit=1.5", "limit=1&limit=2", "marker=no", "marker=%00"])
def test_a_query_that_cannot_be_followed_is_refused(box: Box, query: str) -> None:
    assert box.call("GET", query_string=query).status_code == 400


@pytest.mark.parametrize("limit", [0, -5])
def test_a_limit_of_nothing_is_none(box: Box, limit: int) -> None:
    assert box.call("GET", query_string={"limit": limit}).get_json()["limit"] == 100


def test_refusals_come_when_they_were_planned(box: Box, controls: Controls) -> None:
    controls.post("/refusals", status=429, times=2, after=1, retry_after=0.5)
    seen = [box.call("GET") for _ in range(4)]
    assert [answer.status_code for answer in seen] == [200, 429, 429, 200]
    assert (seen[1].headers["Retry-After"], seen[1].get_json()["code"]) == ("0.5", "too_many_requests")


def test_the_token_endpoint_gives_tokens_that_are_taken(sandbox: Flask, box: Box) -> None:
    form = {
        "grant_type": "client_credentials",
        "client_id": "app",
        "client_secret": "any",
        "box_subject_type": "enterprise",
        "box_subject_id": "77",
    }
    token = sandbox.test_client().post("/oauth2/token", data=form).get_json()["access_token"]
    made = box.as_(token).create().get_json()
    assert made["created_by"]["name"] == "enterprise 77"
    assert box.as_(token).call("GET").status_code == 200
    sandbox.test_client().post("/oauth2/revoke", data={"token": token})
    assert box.as_(token).call("GET").status_code == 401


def test_two_applications_of_one_user_may_watch_the_same_item(sandbox: Flask, box: Box) -> None:
    for application in ("first", "second"):
        form = {"grant_type": "client_credentials", "client_id": application, "box_subject_id": "77"}
        token = sandbox.test_client().post("/oauth2/token", data=form).get_json()["access_token"]
        assert box.as_(token).create().status_code == 201


@pytest.mark.parametrize(
    "assertion", ["", "a.b.c", "a." + "e30" + ".c", "x.eyJzdWIiOiAiNSIsICJib3hfc3ViX3R5cGUiOiAidXNlciJ9.y"]
)
def test_a_jwt_is_taken_whatever_is_in_it(sandbox: Flask, assertion: str) -> None:
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
    assert sandbox.test_client().post("/oauth2/token", data=form).status_code == 200


def test_another_grant_is_refused_in_words(sandbox: Flask) -> None:
    refused = sandbox.test_client().post("/oauth2/token", data={"grant_type": "password"})
    assert (refused.status_code, refused.get_json()["error"]) == (400, "unsupported_grant_type")


def test_the_state_tells_of_users_without_their_tokens(box: Box, world: World) -> None:
    box.as_("a-token-of-mine").register()
    assert "a-token-of-mine" not in str(world.state())
    assert [user["name"] for user in world.state()["users"]] == ["guest 1"]
