"""`/metrics`: what Prometheus reads."""

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from receiver import service
from receiver.app import create_app
from receiver.inbox.rows import Inbox
from receiver.observe.metrics import Tally
from tests.installation import Clock, arrive, settings


@pytest.fixture
def tally(engine: sa.Engine) -> Tally:
    return Tally(engine)


def scrape(client: FlaskClient) -> dict[str, float]:
    """Give every sample as Prometheus would read it, its labels in the order of their names."""
    answer = client.get("/metrics")
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    return {
        f"{sample.name}{{{','.join(f'{name}={value}' for name, value in sorted(sample.labels.items()))}}}": sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_counters_are_those_of_all_processes(client: FlaskClient, engine: sa.Engine) -> None:
    for process in (Tally(engine), Tally(engine)):
        process.count("source", "box", "accepted", 2.0)
        process.count("handler", "handlers.log.log_event", "failed", 2.0)
        process.write_out()
        process.stop()
    found = scrape(client)
    assert found["signalbox_deliveries_total{outcome=accepted,source=box}"] == 2
    assert found["signalbox_attempts_total{handler=handlers.log.log_event,outcome=failed}"] == 2


def test_a_histogram_adds_up(client: FlaskClient, tally: Tally) -> None:
    for milliseconds, outcome in ((0.05, "accepted"), (3.0, "accepted"), (40.0, "rejected"), (90_000.0, "accepted")):
        tally.count("source", "box", outcome, milliseconds)
    tally.write_out()
    tally.stop()
    found = scrape(client)
    name = "signalbox_ack_seconds"
    at_most = {end: found[f"{name}_bucket{{le={end},source=box}}"] for end in ("0.0001", "0.0032", "0.0512", "+Inf")}
    assert at_most == {"0.0001": 1, "0.0032": 2, "0.0512": 3, "+Inf": 4}
    assert found[f"{name}_count{{source=box}}"] == 4
    assert found[f"{name}_sum{{source=box}}"] == pytest.approx(90.04305)


def test_gauges_say_how_things_stand(client: FlaskClient, inbox: Inbox) -> None:
    arrive(inbox, Clock(datetime.now(UTC)))
    found = scrape(client)
    assert found["signalbox_unrouted_events{}"] == 1
    assert found["signalbox_oldest_job_seconds{}"] == 0
    assert {name for name in found if name.startswith("signalbox_jobs")} == {
        f"signalbox_jobs{{state={state}}}" for state in ("waiting", "paused", "running", "dead")
    }


def test_the_release_is_told(client: FlaskClient) -> None:
    assert any(name.startswith("signalbox_build_info{") and "version=0" in name for name in scrape(client))


def test_a_hostile_name_is_escaped(client: FlaskClient, tally: Tally) -> None:
    name = 'a"} 1\nsignalbox_jobs{state="dead"} 99 \\'
    tally.count("handler", name, "done", 1.0)
    tally.write_out()
    tally.stop()
    found = scrape(client)
    assert found[f"signalbox_attempts_total{{handler={name},outcome=done}}"] == 1
    assert found["signalbox_jobs{state=dead}"] == 0


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=junk", "text/plain; version=", "*/*", ""])
def test_whatever_is_asked_for_is_answered_in_the_plain_format(client: FlaskClient, accept: str) -> None:
    answer = client.get("/metrics", headers={"Accept": accept})
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_a_scraper_shows_its_token_in_production(database_url: str) -> None:
    token = "token-of-the-tests-of-signalbox"
    app: Flask = create_app(
        settings(database_url, ENV="production", ADMIN_PASSWORD="open-sesame-of-the-tests", API_TOKEN=token)
    )
    client = app.test_client()
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    service.of(app).engine.dispose()


def test_figures_that_cannot_be_read_are_a_503_with_the_reason(client: FlaskClient, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE tallies")
    answer = client.get("/metrics")
    assert answer.status_code == 503
    assert "tallies" in answer.get_json()["detail"]
