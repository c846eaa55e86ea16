"""A service of real processes for each test, and what is Box for it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from receiver.sandbox.post import post
from receiver.storage import db
from tests.acceptance.service import Service
from tests.registrations.stand_in import StandIn


@pytest.fixture
def service(tmp_path: Path, template_file: Path) -> Iterator[Service]:
    """A service with its tables made and nothing started."""
    service = Service(tmp_path)
    shutil.copyfile(template_file, tmp_path / "signalbox.db")
    yield service
    service.stop()


@pytest.fixture
def box(service: Service) -> Iterator[StandIn]:
    """Box, as far as the service knows."""
    with StandIn(post=post).serving() as box:
        service.environ["BOX_API_URL"] = box.url
        yield box


@pytest.fixture
def engine(service: Service) -> Iterator[sa.Engine]:
    """The service's own database, as it sees it."""
    engine = db.open_engine(service.environ["DATABASE_URL"])
    yield engine
    engine.dispose()
