"""The sandbox's own time: it begins with the true one, and may pass faster or jump ahead."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

SLOWEST, FASTEST = 0.1, 100_000.0  # faster, the year 9999 would be reached within a month
LONGEST_SKIP = timedelta(days=1000)


def true_time() -> datetime:
    return datetime.now(UTC)


class Clock:
    """Decides when retries, sessions and clean-ups are due; signatures carry the true time, from `wall`."""

    def __init__(
        self, *, speed: float = 1, wall: Callable[[], datetime] = true_time, not_before: datetime | None = None
    ) -> None:
        self.speed = speed
        self.wall = wall
        self._wall_at_start = wall()
        # The file of an earlier run may have a later time than the true one: time never runs back.
        self._start = max(self._wall_at_start, not_before or self._wall_at_start)

    def now(self) -> datetime:
        return self._start + (self.wall() - self._wall_at_start) * self.speed

    def skip(self, span: timedelta) -> None:
        """Jump ahead; a negative span does nothing."""
        self._start += max(span, timedelta(0))

    def true_span(self, span: timedelta) -> timedelta:
        """Return how long a span of the sandbox takes in true time."""
        return max(span, timedelta(0)) / self.speed
