"""The JSON API: what it gives, what it does, what it refuses; and its documentation."""

import base64
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from marshmallow import RAISE, Schema, ValidationError

from receiver import service
from receiver.app import create_app
from receiver.events import Delivery, Headers, Reason, Refused, Verified
from receiver.inbox.rows import Inbox
from receiver.jobs import store as jobs
from receiver.sources import SOURCES
from receiver.web.api.reference import Reference
from receiver.web.schemas import bins as bin_shapes
from receiver.web.schemas import deliveries as delivery_shapes
from receiver.web.schemas import handlers as handler_shapes
from receiver.web.schemas import jobs as job_shapes
from receiver.web.schemas import shape as common_shapes
from receiver.web.schemas import stats as stats_shapes
from receiver.web.schemas.fields import EARLIEST, LATEST, Since
from tests import listings
from tests.installation import Clock, arrive, delivery, settings
from tests.stock import NO_MESSAGE, stock

HALF = '{"type": "webhook_event", "name": "\\ud800"}'
MODULES = (bin_shapes, delivery_shapes, handler_shapes, job_shapes, common_shapes, stats_shapes)
SHAPES = {name: found for module in MODULES for name, found in vars(module).items() if isinstance(found, type)}


@pytest.fixture
def stocked(engine: sa.Engine, clock: Clock) -> dict[str, list[str]]:
    return stock(engine, clock)


def addresses(known: dict[str, list[str]]) -> dict[str, type[Schema]]:
    """Give an address of every operation that reads JSON, with the shape of what it gives."""
    capture = f"/api/bins/orders/captures/{known['captures'][0]}"
    return {
        "/api/events": common_shapes.page_of(delivery_shapes.EventLine, common_shapes.Searched),
        f"/api/events/{known['events'][0]}": delivery_shapes.Event,
        "/api/jobs": common_shapes.page_of(job_shapes.JobLine),
        "/api/jobs/1": job_shapes.Job,
        "/api/rejected": common_shapes.page_of(delivery_shapes.RejectedLine, common_shapes.Searched),
        f"/api/rejected/{known['rejected'][0]}": delivery_shapes.Rejected,
        "/api/quarantine": common_shapes.page_of(delivery_shapes.QuarantinedLine, common_shapes.Searched),
        f"/api/quarantine/{known['quarantined'][0]}": delivery_shapes.Quarantined,
        "/api/bins": common_shapes.page_of(bin_shapes.Bin),
        "/api/bins/orders": bin_shapes.Bin,
        "/api/bins/orders/captures": common_shapes.page_of(bin_shapes.CaptureLine),
        capture: bin_shapes.Capture,
        "/api/handlers": common_shapes.page_of(handler_shapes.HandlerLine),
        "/api/handlers/tests.stock.note": handler_shapes.Handler,
        "/api/stats": stats_shapes.Stats,
    }


# What is given


def test_every_answer_has_the_fields_that_are_described_and_no_others(
    client: FlaskClient, stocked: dict[str, list[str]]
) -> None:
    for address, shape in addresses(stocked).items():
        answer = client.get(address)
        assert (answer.status_code, answer.mimetype) == (200, "application/json"), address
        assert shape(unknown=RAISE).validate(answer.get_json()) == {}, address


def test_events_are_given_as_the_command_line_gives_them(
    client: FlaskClient, engine: sa.Engine, stocked: dict[str, list[str]]
) -> None:
    assert client.get("/api/events").get_json() == listings.list_events(engine)
    event = stocked["events"][0]
    assert client.get(f"/api/events/{event}").get_json() == listings.show_event(engine, event)


def test_filters_narrow_a_listing(client: FlaskClient, stocked: dict[str, list[str]]) -> None:
    ids = [item["id"] for item in client.get("/api/events?source=filestack&since=2020-01-01").get_json()["items"]]
    assert ids == stocked["events"][-1:]
    assert client.get("/api/events?type=box:FOLDER.*").get_json()["items"] == []
    assert [item["state"] for item in client.get("/api/jobs?state=dead").get_json()["items"]] == ["dead"]
    its_jobs = client.get(f"/api/jobs?event={stocked['events'][1]}").get_json()["items"]
    assert {item["event"] for item in its_jobs} == {stocked["events"][1]}


def test_paging_while_events_arrive_neither_skips_nor_repeats_one(
    client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    there = [arrive(inbox, clock, number=number) for number in range(1, 8)]
    seen, cursor = [], None
    for number in range(100, 110):
        page = client.get("/api/events", query_string={"limit": 2} | ({"cursor": cursor} if cursor else {})).get_json()
        seen += [item["id"] for item in page["items"]]
        arrive(inbox, clock, number=number)
        if (cursor := page["next"]) is None:
            break
    assert seen == there[::-1]


@pytest.mark.parametrize("kind", ["events", "rejected", "quarantine"])
def test_a_body_is_given_byte_for_byte_and_as_nothing_that_a_browser_would_show(
    client: FlaskClient, stocked: dict[str, list[str]], kind: str
) -> None:
    whole = client.get(f"/api/{kind}/last").get_json()
    answer = client.get(f"/api/{kind}/{whole['id']}/body")
    assert answer.data == client.get(f"/api/{kind}/last/body").data
    assert whole["body_base64"] == base64.b64encode(answer.data).decode()
    assert answer.mimetype == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"].startswith("attachment")


def test_bytes_that_are_no_text_come_through(client: FlaskClient, stocked: dict[str, list[str]]) -> None:
    assert client.get(f"/api/quarantine/{stocked['quarantined'][0]}/body").data == NO_MESSAGE


def test_no_secret_is_given(client: FlaskClient, stocked: dict[str, list[str]]) -> None:
    for address in addresses(stocked):
        assert "a-secret-of-the-tests" not in client.get(address).text, address
    assert "•••" in client.get(f"/api/quarantine/{stocked['quarantined'][0]}").get_json()["headers"][1]


def test_a_payload_with_half_of_a_character_can_be_given(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    body = HALF.replace('"name"', '"id": "7", "trigger": "FILE.UPLOADED", "name"').encode()
    came = Delivery(source="box", body=body, headers=Headers(), received_at=clock())
    event = inbox.accept(came, SOURCES["box"].parse(came), Verified("primary")).event_id
    assert "\\ud800" in client.get(f"/api/events/{event}").text


# What is done


def test_an_event_is_replayed_to_all_its_handlers_or_to_one(
    client: FlaskClient, engine: sa.Engine, stocked: dict[str, list[str]]
) -> None:
    fresh = stocked["events"][2]
    assert client.post(f"/api/events/{fresh}/replay").get_json() == {"event": fresh, "handler": None, "jobs": 2}
    said = client.post(f"/api/events/{stocked['events'][4]}/replay", json={"handler": "tests.stock.note"}).get_json()
    assert (said["handler"], said["jobs"]) == ("tests.stock.note", 1)
    assert listings.show_event(engine, fresh)["state"] == "accepted"


def test_a_replay_to_a_handler_that_nobody_has_loaded_is_refused(
    client: FlaskClient, stocked: dict[str, list[str]]
) -> None:
    answer = client.post("/api/events/last/replay", json={"handler": "tests.stock.notes"})
    assert answer.status_code == 404
    assert "tests.stock.note" in answer.get_json()["detail"]


def test_what_runs_now_is_left_alone(client: FlaskClient, stocked: dict[str, list[str]]) -> None:
    (running,) = client.get("/api/jobs?state=running").get_json()["items"]
    assert client.post(f"/api/jobs/{running['id']}/replay").status_code == 409
    replay = client.post(f"/api/events/{running['event']}/replay", json={"handler": running["handler"]})
    assert replay.status_code == 409
    assert "running" in replay.get_json()["detail"]


def test_a_dead_job_runs_again_and_a_waiting_one_is_discarded_with_its_reason(
    client: FlaskClient, stocked: dict[str, list[str]]
) -> None:
    (dead,) = client.get("/api/jobs?state=dead").get_json()["items"]
    assert client.post(f"/api/jobs/{dead['id']}/replay").get_json()["state"] == "waiting"
    buried = client.post(f"/api/jobs/{dead['id']}/discard", json={"reason": "the folder is gone"}).get_json()
    assert (buried["state"], buried["reason"], buried["discarded_at"]) == ("dead", "the folder is gone", None)
    put_away = client.post(f"/api/jobs/{dead['id']}/discard", json={"reason": "forget it"}).get_json()
    assert (put_away["reason"], put_away["discarded_reason"]) == ("the folder is gone", "forget it")
    assert put_away["discarded_at"] is not None
    assert client.post(f"/api/jobs/{dead['id']}/discard").status_code == 409


def test_dead_letters_run_again_by_filter_and_never_all_by_a_slip(
    client: FlaskClient, stocked: dict[str, list[str]]
) -> None:
    for answer in (client.post("/api/jobs/replay", json={}), client.post("/api/jobs/replay")):
        assert (answer.status_code, list(answer.get_json()["errors"])) == (422, ["type"])
    assert client.post("/api/jobs/replay", json={"type": "filestack:*"}).get_json() == {"jobs": 0}
    assert client.post("/api/jobs/replay", json={"type": "*", "since": "2026-05-04"}).get_json() == {"jobs": 1}
    assert client.get("/api/jobs?state=dead").get_json()["items"] == []


def test_dead_letters_are_discarded_by_filter_and_never_all_by_a_slip(
    client: FlaskClient, stocked: dict[str, list[str]]
) -> None:
    for asked in ({}, {"reason": "no filter"}):
        answer = client.post("/api/jobs/discard", json=asked)
        assert (answer.status_code, list(answer.get_json()["errors"])) == (422, ["type"])
    assert client.post("/api/jobs/discard", json={"type": "filestack:*"}).get_json() == {"jobs": 0}
    assert client.post("/api/jobs/discard", json={"type": "*", "reason": "over"}).get_json() == {"jobs": 1}
    assert client.get("/api/jobs?state=dead").get_json()["items"] == []
    (away,) = client.get("/api/jobs?state=discarded").get_json()["items"]
    assert away["discarded_reason"] == "over"


def test_a_rejected_delivery_is_verified_again_and_let_in(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    kept = inbox.reject(
        delivery("box", "FILE.UPLOADED", at=clock()), Refused(Reason.SIGNATURE_MISMATCH, "No key matches.")
    )
    verdict = client.post(f"/api/rejected/{kept}/verify").get_json()
    assert verdict == {"id": kept, "verifies": True, "verified_by": "primary", "reason": None, "detail": None}
    became = client.post(f"/api/rejected/{kept}/release").get_json()
    assert became == {"status": "accepted", "event": became["event"], "quarantined": None, "errors": {}}
    assert client.get(f"/api/events/{became['event']}").get_json()["verified_by"] == "primary"
    assert client.post(f"/api/rejected/{kept}/release").status_code == 404


def test_what_does_not_verify_is_let_in_only_where_that_is_said(
    client: FlaskClient, inbox: Inbox, clock: Clock
) -> None:
    came = Delivery(source="box", body=b'{"trigger": "A.B"}', headers=Headers(), received_at=clock())
    kept = inbox.reject(came, Refused(Reason.SIGNATURE_MISSING, "None."))
    assert client.post(f"/api/rejected/{kept}/verify").get_json()["reason"] == "signature_missing"
    assert client.post(f"/api/rejected/{kept}/release", json={"any_age": True}).status_code == 409
    assert client.post(f"/api/rejected/{kept}/release", json={"unverified": 1}).status_code == 422
    assert client.post(f"/api/rejected/{kept}/release", json={"unverified": True}).get_json()["status"] == "accepted"
    assert client.get("/api/events/last").get_json()["verified_by"] == "nobody"


def test_a_quarantined_delivery_is_let_in_under_a_name(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    came = Delivery(source="box", body=b'{"a": 1}', headers=Headers(), received_at=clock())
    kept = inbox.quarantine(came, Verified("primary"), {"trigger": ["Missing."]})
    answer = client.post(f"/api/quarantine/{kept}/release")
    assert (answer.status_code, list(answer.get_json()["errors"])) == (409, ["trigger"])
    assert client.post(f"/api/quarantine/{kept}/release", json={"as": "A B"}).status_code == 409
    assert client.post(f"/api/quarantine/{kept}/release", json={"as": "A.B"}).get_json()["status"] == "accepted"
    assert client.get("/api/events/last").get_json()["type"] == "box:A.B"


def test_a_bin_is_made_set_up_and_deleted(client: FlaskClient) -> None:
    made = client.post("/api/bins", json={"name": "orders", "body": "thänks", "status": 201})
    assert (made.status_code, made.headers["Location"]) == (201, "/api/bins/orders")
    assert made.get_json()["body_base64"] == "dGjDpG5rcw=="
    assert client.post("/api/bins", json={"name": "orders"}).status_code == 409
    changed = client.patch("/api/bins/orders", json={"body_base64": "/wA=", "delay_seconds": 0.5}).get_json()
    assert (changed["body_base64"], changed["delay_seconds"], changed["status"]) == ("/wA=", 0.5, 201)
    client.put("/b/orders/below", data=b"\x00\xff")
    assert client.get("/api/bins/orders/captures/last/body").data == b"\x00\xff"
    assert client.delete("/api/bins/orders/captures").get_json() == {"bin": "orders", "captures": 1}
    assert client.delete("/api/bins/orders").get_json() == {"bin": "orders", "captures": 0}
    assert client.get("/api/bins/orders").status_code == 404


def test_a_bin_without_a_name_gets_one(client: FlaskClient) -> None:
    made = client.post("/api/bins").get_json()
    assert client.get(f"/api/bins/{made['name']}").get_json() == made


@pytest.mark.parametrize(
    ("setup", "field"),
    [
        ({"status": 99}, "status"),
        ({"status": "201"}, "status"),
        ({"status": True}, "status"),
        ({"headers": [["Content-Length", "3"]]}, "headers"),
        ({"headers": [["X"]]}, "headers.0"),
        ({"body_base64": "no"}, "body_base64"),
        ({"body": "a", "body_base64": "YQ=="}, "body_base64"),
        ({"delay_seconds": 31}, "delay_seconds"),
        ({"colour": "red"}, "colour"),
        ({}, "json"),
    ],
)
def test_what_a_bin_cannot_be_is_named(client: FlaskClient, setup: dict[str, Any], field: str) -> None:
    client.post("/api/bins", json={"name": "orders"})
    answer = client.patch("/api/bins/orders", json=setup)
    assert (answer.status_code, list(answer.get_json()["errors"])) == (422, [field])


def test_a_handler_is_paused_and_resumed(client: FlaskClient, stocked: dict[str, list[str]]) -> None:
    assert client.post("/api/handlers/tests.stock.note/pause").get_json()["paused_at"] is not None
    assert client.get("/api/handlers/tests.stock.note").get_json()["jobs"]["waiting"] > 0
    assert client.post("/api/handlers/tests.stock.note/resume").get_json()["paused_at"] is None
    assert client.post("/api/handlers/tests.stock.nobody/pause").status_code == 404


# What is refused


@pytest.mark.parametrize(
    ("address", "parameter"),
    [
        ("/api/events?stat=dead", "stat"),
        ("/api/events/last?limit=5", "limit"),
        ("/api/handlers?limit=5", "limit"),
        ("/api/events?source=dropbox", "source"),
        ("/api/events?type=FILE.UPLOADED", "type"),
        ("/api/events?state=", "state"),
        ("/api/events?limit=0", "limit"),
        ("/api/events?limit=201", "limit"),
        ("/api/events?limit=1e2", "limit"),
        ("/api/events?limit=%201", "limit"),
        ("/api/events?limit=99999999999999999999999", "limit"),
        ("/api/events?cursor=-1", "cursor"),
        ("/api/events?cursor=9999999999999999999", "cursor"),
        ("/api/events?cursor=%D9%A1", "cursor"),
        ("/api/events?source=box&source=filestack", "source"),
        ("/api/events?since=yesterday", "since"),
        ("/api/rejected?state=dead", "state"),
        ("/api/jobs?event=short", "event"),
        ("/api/stats?window=2h", "window"),
    ],
)
def test_a_parameter_that_is_not_understood_is_refused_and_named(
    client: FlaskClient, address: str, parameter: str
) -> None:
    answer = client.get(address)
    assert answer.status_code == 422
    assert list(answer.get_json()["errors"]) == [parameter]


@pytest.mark.parametrize(
    "address",
    [
        "/api/events/01KQT0R5V0ZX3M8N6B1C9D7F2G",
        "/api/events/01KQT0",
        "/api/events/%00",
        "/api/events/%ED%A0%80/body",
        "/api/jobs/0",
        "/api/jobs/-1",
        "/api/jobs/9223372036854775808",
        "/api/jobs/" + "9" * 5000,
        "/api/jobs?event=01KQT0R5V0ZX3M8N6B1C9D7F2G",
        "/api/rejected/last",
        "/api/quarantine/last/body",
        "/api/bins/NONE",
        "/api/bins/orders/captures",
        "/api/handlers/x%00y",
        "/api/nothing",
    ],
)
def test_what_is_not_there_is_404_in_json_even_for_a_browser(client: FlaskClient, address: str) -> None:
    answer = client.get(address, headers={"Accept": "text/html"})
    assert (answer.status_code, answer.mimetype) == (404, "application/json")
    assert common_shapes.Refusal().validate(answer.get_json()) == {}


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"reason": NaN}', "application/json", 400),
        (b'{"reason": "\xff"}', "application/json", 400),
        (HALF.encode(), "application/json", 400),
        (b'{"a":' * 100_000, "application/json", 400),
        (b'{"reason": ' + b"9" * 100_000 + b"}", "application/json", 400),
        (b'{"reason": 1e999}', "application/json", 400),
        (b'{"reason": "x"}', "text/plain", 415),
        (b"reason=x", "application/x-www-form-urlencoded", 415),
        (b'{"reason": "x"}', None, 415),
        (b'{"reason": null}', "application/json", 422),
        (b'{"reason": ""}', "application/json", 422),
        (b'{"why": "x"}', "application/json", 422),
        (b'{"reason": "' + b"x" * 5_000_000 + b'"}', "application/json", 413),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    client: FlaskClient, stocked: dict[str, list[str]], body: bytes, content_type: str | None, status: int
) -> None:
    answer = client.post("/api/jobs/3/discard", data=body, content_type=content_type)
    assert (answer.status_code, answer.mimetype) == (status, "application/json")
    assert common_shapes.Refusal().validate(answer.get_json()) == {}
    assert client.get("/api/jobs/3").get_json()["state"] == "waiting"


def test_a_method_that_is_not_there_is_405_and_says_which_are(client: FlaskClient) -> None:
    answer = client.delete("/api/events")
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_trouble_with_the_database_is_503_without_its_words(app: Flask, client: FlaskClient) -> None:
    with service.of(app).engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE captures")
    client.post("/api/bins", json={"name": "orders"})
    answer = client.get("/api/bins/orders")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert "captures" not in answer.text


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-05-04T12:00:00Z", datetime(2026, 5, 4, 12, tzinfo=UTC)),
        ("2026-05-04t14:00:00.5+02:00", datetime(2026, 5, 4, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-05-04", datetime(2026, 5, 4, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00+23:59", EARLIEST),
        ("9999-12-31T23:59:60Z", LATEST),
        ("999999w", EARLIEST),
    ],
)
def test_times_are_read_as_they_are_written_in_json(text: str, at: datetime) -> None:
    assert Since("").deserialize(text) == at


def test_a_span_is_so_long_before_now() -> None:
    at: Any = Since("").deserialize("90m")
    assert abs(datetime.now(UTC) - at - timedelta(minutes=90)) < timedelta(seconds=5)


@pytest.mark.parametrize("text", ["", "now", "2026-13-01", "2026-05-04 12:00", "2026-05-04T12:00", "-2h", "2h\n", "٢h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="No time"):
        Since("").deserialize(text)


# What has not changed


def test_an_answer_that_has_not_changed_costs_304(
    client: FlaskClient, engine: sa.Engine, stocked: dict[str, list[str]]
) -> None:
    for address in ("/api/events", f"/api/events/{stocked['events'][4]}", "/api/rejected/last/body"):
        tag = client.get(address).headers["ETag"]
        again = client.get(address, headers={"If-None-Match": tag})
        assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
    address = f"/api/events/{stocked['events'][4]}"
    tag = client.get(address).headers["ETag"]
    jobs.route(engine, [jobs.Routing(stocked["events"][4], ["tests.stock.note"])], datetime.now(UTC))
    assert client.get(address, headers={"If-None-Match": tag}).status_code == 200


# Its documentation


@pytest.fixture
def document(client: FlaskClient) -> Any:
    return client.get("/api/openapi.json").get_json()


def operations(document: Any) -> Iterator[Any]:
    for item in document["paths"].values():
        yield from (item[method] for method in item if method != "parameters")


def test_every_operation_says_that_it_needs_a_login_and_how_it_refuses(document: Any) -> None:
    assert document["security"] == [{"token": []}, {"login": []}]
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for operation in operations(document):
        assert {"401", "403", "422", "503"} <= set(operation["responses"]), operation["operationId"]
        assert operation["summary"].endswith(".")


def test_everything_under_api_is_described(app: Flask, document: Any) -> None:
    rules = {
        re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/")
    }
    assert rules - {"/api/docs", "/api/openapi.json"} == set(document["paths"])


def test_the_examples_are_of_the_shapes_that_they_are_examples_of(document: Any) -> None:
    for shape in Reference(document, address="http://localhost", needs_token=True).shapes():
        if not shape.name.endswith("Page"):
            assert SHAPES[shape.name](unknown=RAISE).validate(json.loads(shape.example)) == {}, shape.name


def test_the_examples_of_what_is_asked_are_taken(document: Any) -> None:
    for section in Reference(document, address="http://localhost", needs_token=True).sections():
        for operation in section.operations:
            if operation.body is not None:
                described = document["paths"][operation.path][operation.method.lower()]["requestBody"]
                name = described["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
                assert SHAPES[name]().validate(json.loads(operation.body.example)) == {}, operation.id


def test_the_page_shows_every_operation_and_its_links_lead_somewhere(client: FlaskClient, document: Any) -> None:
    page = client.get("/api/docs").text
    ids = set(re.findall(r'id="([^"]+)"', page))
    assert {operation["operationId"] for operation in operations(document)} <= ids
    assert set(re.findall(r'href="#([^"]+)"', page)) <= ids
    assert " style=" not in page
    assert not re.search(r" on\w+=", page)


def test_the_examples_name_the_token_only_where_one_is_needed(client: FlaskClient, database_url: str) -> None:
    assert "$API_TOKEN" not in client.get("/api/docs").text
    guarded = create_app(settings(database_url, API_TOKEN="token-of-the-tests-of-signalbox"))
    answer = guarded.test_client().get("/api/docs")
    assert "Bearer $API_TOKEN" in answer.text
    assert "token-of-the-tests" not in answer.text


def test_in_production_a_program_is_told_of_the_token_and_a_reader_led_to_the_login(database_url: str) -> None:
    production = create_app(settings(database_url, ENV="production", ADMIN_PASSWORD="x" * 20, API_TOKEN="t" * 30))
    client = production.test_client()
    answer = client.get("/api/events")
    assert (answer.status_code, common_shapes.Refusal().validate(answer.get_json())) == (401, {})
    assert client.get("/api/docs").headers["Location"] == "/login?next=/api/docs"
