"""Is the process up, and could it keep a delivery now?"""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from receiver import service
from receiver.app import create_app, create_app_without_web
from receiver.observe import logs
from receiver.service import KEYS_HEADER, fingerprint_of_keys
from tests.installation import settings


def test_a_process_that_is_up_says_so(client: FlaskClient) -> None:
    assert client.get("/healthz").get_json() == {"status": "ok"}


def test_a_service_that_can_commit_is_ready(client: FlaskClient) -> None:
    assert client.get("/readyz").status_code == 200


def test_a_service_whose_tables_are_not_made_is_not_ready_and_names_the_command(tmp_path: str) -> None:
    client = create_app(settings(f"sqlite:///{tmp_path}/empty.db")).test_client()
    response = client.get("/readyz")
    assert response.status_code == 503
    assert "signalbox db upgrade" in response.get_json()["detail"]


def test_a_service_that_cannot_commit_is_alive_but_not_ready(app: Flask, client: FlaskClient) -> None:
    with service.of(app).engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE pulse")
    assert (client.get("/healthz").status_code, client.get("/readyz").status_code) == (200, 503)


def test_why_a_service_is_not_ready_is_said_in_the_log_and_not_to_anybody(capsys: pytest.CaptureFixture[str]) -> None:
    url = "postgresql+psycopg://signalbox:hush@127.0.0.1:1/box"
    response = create_app(settings(url)).test_client().get("/readyz")
    logs.LINES.write_out()
    assert (response.status_code, response.headers["Retry-After"]) == (503, "10")
    assert response.get_json()["detail"] == "The database cannot be reached or written; the log says why."
    assert "127.0.0.1" in capsys.readouterr().err


def test_who_knows_the_secret_key_hears_whether_the_keys_are_the_same(app: Flask, client: FlaskClient) -> None:
    fingerprint = fingerprint_of_keys(app) or ""
    assert client.get("/readyz", headers={KEYS_HEADER: fingerprint}).get_json() == {"status": "ok", "keys": "same"}
    for other in ("", "é", fingerprint[:-1]):
        assert client.get("/readyz", headers={KEYS_HEADER: other}).get_json()["keys"] == "others"


def test_a_fingerprint_is_of_the_keys_and_of_the_secret_key(database_url: str) -> None:
    changes: tuple[dict[str, Any], ...] = (
        {},
        {"SECRET_KEY": "another"},
        {"BOX_PRIMARY_KEY": "another"},
        {"FILESTACK_SECRETS": ()},
    )
    prints = [fingerprint_of_keys(create_app_without_web(settings(database_url, **one))) for one in changes]
    assert len(set(prints)) == len(changes)
    assert fingerprint_of_keys(create_app_without_web(settings(database_url, SECRET_KEY=None))) is None
