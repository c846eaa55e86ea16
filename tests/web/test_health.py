"""Is the process up, and could it keep a delivery now?"""

from flask import Flask
from flask.testing import FlaskClient

from receiver.app import create_app
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
    with app.extensions["signalbox.engine"].begin() as connection:
        connection.exec_driver_sql("DROP TABLE pulse")
    assert (client.get("/healthz").status_code, client.get("/readyz").status_code) == (200, 503)
