"""When each source retries, and which statuses it counts as delivered. Pure."""

from collections.abc import Mapping
from datetime import timedelta

BOX = "box"
FILESTACK_DEFAULT = "docs"


def _minutes(*minutes: float) -> tuple[timedelta, ...]:
    return tuple(timedelta(minutes=span) for span in minutes)


# Spans after the first delivery.
#
# Box: "up to 12 times over a period of 2 hours", https://developer.box.com/guides/webhooks/v2/ (as of 2026). When
# within these two hours is not published; here the waiting grows.
#
# Filestack documents three schedules, and which of them is live nobody has shown. `legacy` is on
# https://www.filestack.com/docs/box-integration; `docs` on https://www.filestack.com/docs/api/webhooks/; `production`
# in filestack/filestack-claude-plugin, skills/filestack-webhook-setup (2026), which says that it is the real one.
SCHEDULES: Mapping[str, tuple[timedelta, ...]] = {
    BOX: _minutes(0.25, 0.5, 1, 2, 4, 8, 15, 25, 40, 60, 90, 120),
    "legacy": _minutes(5, 60, 12 * 60),
    "docs": _minutes(5, 30, 12 * 60),
    "production": _minutes(10 / 60, 1, 5, 15, 60),
}
FILESTACK_SCHEDULES = tuple(name for name in SCHEDULES if name != BOX)


def counts(source: str, status: int | None) -> bool:
    """Return whether the source counts a status as delivered: Box any 2xx, Filestack 200, 201 and 204 only."""
    if status is None:
        return False
    return 200 <= status < 300 if source == "box" else status in (200, 201, 204)
