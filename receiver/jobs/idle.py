"""When an idle worker may skip its queries: how long it rests, and which due jobs it knows to be others'."""

from collections.abc import Callable
from datetime import datetime, timedelta

from receiver.jobs.doorbell import Doorbell

LOOK_ANYWAY = timedelta(seconds=1)  # how often a resting worker looks if no bell rings and no job becomes due
LOOK_WHOLE = timedelta(seconds=30)  # how often it looks at all due jobs, however many of them are other workers'
LATE = timedelta(seconds=15)  # how late a job may become visible after its time: a slow commit, or clocks that differ


class Rest:
    """The rest of a worker that found nothing to do. It ends when somebody calls, or the next job is due."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._since: datetime | None = None
        self._until: datetime | None = None
        self._is_called = False

    def call(self) -> None:
        """End the rest, from another thread or a signal handler: there is something to do."""
        self._is_called = True

    def end(self) -> None:
        """End the rest before a look at the database; a call during the look ends the next rest."""
        self._is_called, self._since = False, None

    def begin(self, now: datetime, *, until: datetime | None) -> None:
        """Begin a rest: there was nothing to do at `now`, and the next job is due at `until`."""
        self._since, self._until = now, until

    def is_over(self, bell: Doorbell) -> bool:
        """Return whether it is time to look at the database; a rest that is over stays over."""
        if self._since is None:
            return True
        since, now = self._since, self._clock()
        is_due = self._until is not None and self._until <= now
        if self._is_called or is_due or not timedelta() <= now - since < LOOK_ANYWAY or not bell.is_quiet():
            self._since = None
        return self._since is None


class Clear:
    """The time up to which all due jobs are known to belong to other workers; there may be very many of them."""

    def __init__(self) -> None:
        self._to: datetime | None = None
        self._whole_at: datetime | None = None
        self._elsewhere: frozenset[str] = frozenset()

    def until(self, now: datetime, elsewhere: frozenset[str]) -> datetime | None:
        """Return that time, or None if all due jobs must be looked at."""
        if self._to is None or self._whole_at is None or elsewhere != self._elsewhere or now < self._to:
            return None
        return self._to - LATE if now - self._whole_at < LOOK_WHOLE else None

    def note(self, now: datetime, elsewhere: frozenset[str], *, is_whole: bool) -> None:
        """Record that no job that was due at `now` is for this worker."""
        if not elsewhere:
            self._to = None  # the first due job is for this worker: there is nothing to skip
            return
        self._to, self._elsewhere = now, elsewhere
        self._whole_at = now if is_whole else self._whole_at
