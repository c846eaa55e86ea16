"""Sentry is told of unhandled errors and dead jobs, and of nothing that came over the wire."""

from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
import sqlalchemy as sa
from flask import Flask, got_request_exception
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from receiver import signals
from receiver.errors import Discard
from receiver.events import Event
from receiver.inbox.rows import Inbox
from receiver.jobs.routing import Router
from receiver.jobs.worker import Worker
from receiver.observe import sentry
from tests.installation import KEYS, Clock, arrive


class Captured(Transport):
    """Keeps what would leave the machine."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        CAPTURED.clear()

    def capture_envelope(self, envelope: Envelope) -> None:
        CAPTURED.append(envelope)


CAPTURED: list[Envelope] = []


@pytest.fixture
def told() -> Iterator[list[Envelope]]:
    sentry.start("https://public@sentry.invalid/1", environment="test", transport=Captured)
    yield CAPTURED
    got_request_exception.disconnect(sentry._unhandled)
    signals.job_buried.disconnect(sentry._buried)
    signals.registration_died.disconnect(sentry._died)
    sentry_sdk.init()


def sent(told: list[Envelope]) -> tuple[dict[str, Any], str]:
    (envelope,) = told
    event = envelope.get_event()
    assert event is not None
    return dict(event), envelope.serialize().decode("utf-8", "replace")


def test_a_dead_job_is_told_with_its_event_source_type_and_handler(
    told: list[Envelope], engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    @router.on("*", attempts=1)
    def fails(event: Event) -> None:
        raise ValueError

    event_id = arrive(inbox, clock)
    Worker(engine, router, clock=clock).drain()
    event, _ = sent(told)
    assert event["tags"] == {
        "event_id": event_id,
        "source": "box",
        "type": "box:FILE.UPLOADED",
        "handler": router.handlers()[0].name,
        "outcome": "failed",
    }
    assert event["exception"]["values"][-1]["type"] == "ValueError"


def test_no_payload_header_or_key_leaves(
    told: list[Envelope], engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    quoted: list[str] = []

    @router.on("*", attempts=1)
    def quotes(event: Event) -> None:
        words = f"{event.payload['source']['name']} {event.headers['box-delivery-id']} {KEYS['box']['primary']}"
        quoted.extend(word for word in words.split() if len(word) > 3)
        try:
            raise KeyError(words)
        except KeyError as error:
            raise ValueError(words) from error

    arrive(inbox, clock)
    Worker(engine, router, clock=clock).drain()
    _, text = sent(told)
    assert quoted
    assert [word for word in quoted if word in text] == []


def test_a_job_that_will_be_tried_again_is_not_told(
    told: list[Envelope], engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    @router.on("*")
    def fails(event: Event) -> None:
        raise ValueError

    arrive(inbox, clock)
    Worker(engine, router, clock=clock).drain()
    assert told == []


def test_a_discarded_job_is_told_without_its_reason(
    told: list[Envelope], engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    @router.on("*")
    def discards(event: Event) -> None:
        raise Discard("PAYLOAD")

    arrive(inbox, clock)
    Worker(engine, router, clock=clock).drain()
    event, text = sent(told)
    assert event["tags"]["outcome"] == "discarded"
    assert "PAYLOAD" not in text


def test_an_unhandled_error_of_a_request_is_told_without_the_request(told: list[Envelope], app: Flask) -> None:
    @app.post("/broken")
    def broken() -> str:
        raise RuntimeError("PAYLOAD")

    response = app.test_client().post("/broken?q=PAYLOAD", data=b"PAYLOAD", headers={"X-Mark": "PAYLOAD"})
    assert response.status_code == 500
    event, _ = sent(told)
    assert event["exception"]["values"][-1]["type"] == "RuntimeError"
    assert "PAYLOAD" not in event["exception"]["values"][-1]["value"]
    assert not {"request", "user", "breadcrumbs", "extra"} & set(event)


def test_a_webhook_that_box_removed_is_told_by_its_names(told: list[Envelope]) -> None:
    signals.registration_died.send(None, event_id="01EVENT", webhook_id="77", target="folder:1200")
    event, _ = sent(told)
    assert event["message"] == "Box removed a webhook: nothing more comes from it"
    assert event["tags"] == {"event_id": "01EVENT", "source": "box", "webhook_id": "77", "target": "folder:1200"}
