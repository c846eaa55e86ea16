"""A small installation for tests: settings, keys, a clock that tests move, and deliveries by the samples."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from receiver.events import Delivery, Headers, Verified
from receiver.inbox.rows import Inbox
from receiver.sources import SOURCES, samples

ROOT = Path(__file__).resolve().parents[1]
BOX_KEYS = {"primary": "primary-key-of-the-tests", "secondary": "secondary-key-of-the-tests"}
FILESTACK_KEYS = {"secret 1": "first-secret-of-the-tests", "secret 2": "second-secret-of-the-tests"}
KEYS = {"box": BOX_KEYS, "filestack": FILESTACK_KEYS}


def settings(database_url: str, **changed: Any) -> dict[str, Any]:
    return {
        "ENV": "development",
        "HOST": "127.0.0.1",
        "PORT": 8000,
        "DATABASE_URL": database_url,
        "SECRET_KEY": "secret-key-of-the-tests",
        "ADMIN_PASSWORD": None,
        "API_TOKEN": None,
        "AUTO_BINS": True,
        "BOX_PRIMARY_KEY": BOX_KEYS["primary"],
        "BOX_SECONDARY_KEY": BOX_KEYS["secondary"],
        "FILESTACK_SECRETS": tuple(FILESTACK_KEYS.values()),
        "BOX_MAX_AGE": timedelta(minutes=10),
        "FILESTACK_MAX_AGE": timedelta(hours=24),
        "CLOCK_SKEW": timedelta(seconds=60),
        "MAX_BODY_BYTES": 1024 * 1024,
        "RETENTION": timedelta(days=30),
        "REJECTED_MAX_COUNT": 10_000,
        "REJECTED_MAX_BYTES": 256 * 1024 * 1024,
        "PUBLIC_URL": None,
        "BOX_API_URL": "https://api.box.com",
        "BOX_CLIENT_ID": None,
        "BOX_CLIENT_SECRET": None,
        "BOX_ENTERPRISE_ID": None,
        "BOX_USER_ID": None,
        "BOX_JWT_CONFIG": None,
        "BOX_DEVELOPER_TOKEN": None,
        "BOX_WEBHOOKS_FILE": ROOT / "config" / "box_webhooks.toml",
        "AUTO_REREGISTER": False,
        "HANDLERS": ("handlers",),
        "WORKER_THREADS": 4,
        "CELERY_BROKER_URL": None,
        "LEASE": timedelta(seconds=30),
        "STALL": timedelta(seconds=120),
        "LOG_LEVEL": "info",
        "LOG_FORMAT": "json",
        "SENTRY_DSN": None,
        "WEB_CONCURRENCY": 2,
    } | changed


@dataclass
class Clock:
    """A clock that stands still until a test moves it."""

    now: datetime = field(default_factory=lambda: datetime(2026, 5, 4, 12, 0, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **span: float) -> None:
        self.now += timedelta(**span)


def delivery(source: str, name: str, *, at: datetime, number: int = 1) -> Delivery:
    """Give a signed delivery of a sample, received the moment that it was signed."""
    body, lines = samples.forge(source, name, KEYS[source], at=at, number=number)
    return Delivery(source=source, body=body, headers=Headers(lines), received_at=at)


def arrive(inbox: Inbox, clock: Clock, source: str = "box", name: str = "FILE.UPLOADED", number: int = 1) -> str:
    """Keep a delivery of a sample, and give the id of its event."""
    came = delivery(source, name, at=clock(), number=number)
    return inbox.accept(came, SOURCES[source].parse(came), Verified("primary")).event_id
