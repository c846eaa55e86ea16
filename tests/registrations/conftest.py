"""Fixtures: a stand-in for Box over HTTP, and a client of it."""

from collections.abc import Iterator

import pytest

from receiver.registrations.client import WebhookClient
from tests.registrations.stand_in import StandIn


@pytest.fixture
def box() -> Iterator[StandIn]:
    with StandIn().serving() as box:
        yield box


@pytest.fixture
def client(box: StandIn) -> Iterator[WebhookClient]:
    with box.client() as client:
        yield client
