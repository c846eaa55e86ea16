"""How an answer looks where the database is away: a page in words to who reads pages, JSON to a program."""

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from receiver.observe import logs

AWAY = "postgresql+psycopg://signalbox:hush@127.0.0.1:1/box"
SAID = "The database could not do it now."


@pytest.fixture
def client(client_with: Callable[..., FlaskClient]) -> FlaskClient:
    return client_with(DATABASE_URL=AWAY)


@pytest.mark.parametrize("address", ["/", "/bins", "/handlers", "/registrations", "/events/01JTDEGR8000000000000000"])
def test_a_page_says_that_the_database_is_away_and_when_to_come_back(client: FlaskClient, address: str) -> None:
    response = client.get(address, headers={"Accept": "text/html"})
    assert (response.status_code, response.headers["Retry-After"]) == (503, "10")
    assert f"<p>{SAID}" in response.text
    assert "127.0.0.1" not in response.text


def test_a_program_that_asks_for_a_page_is_told_the_same_in_json(client: FlaskClient) -> None:
    response = client.get("/bins")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "10")
    assert response.get_json()["detail"].startswith(SAID)


def test_the_log_says_why(client_with: Callable[..., FlaskClient], capsys: pytest.CaptureFixture[str]) -> None:
    client_with(DATABASE_URL=AWAY).get("/bins")
    logs.LINES.write_out()
    assert "127.0.0.1" in capsys.readouterr().err
