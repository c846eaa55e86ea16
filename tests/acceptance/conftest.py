"""A service of real processes for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.service import Service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service with its tables made and nothing started."""
    service = Service(tmp_path)
    service.signalbox("db upgrade")
    yield service
    service.stop()
