"""What spares an idle worker its questions: how long it may rest, and up to when no job that is due is its own."""

from collections.abc import Callable
from datetime import datetime, timedelta

from receiver.jobs.doorbell import Doorbell

LOOK_ANYWAY = timedelta(seconds=1)  # how often is looked where no bell rings and nothing falls due
LOOK_WHOLE = timedelta(seconds=30)  # how often at all that is due, however much of it is other workers'
LATE = timedelta(seconds=15)  # by how much a job may come after its time: a slow commit, and clocks that differ


class Rest:
    """The rest of a worker that found nothing to do. It ends when it is rung for, or the next job is due."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._since: datetime | None = None
        self._until: datetime | None = None
        self._is_called = False

    def call(self) -> None:
        """End it from another thread, or a signal handler: something came."""
        self._is_called = True

    def end(self) -> None:
        """End it to look what there is to do; whoever calls from here on is heard after the look."""
        self._is_called, self._since = False, None

    def begin(self, now: datetime, *, until: datetime | None) -> None:
        """Begin to rest: there was nothing to do at `now`, and there will be something at `until`."""
        self._since, self._until = now, until

    def is_over(self, bell: Doorbell) -> bool:
        """Say whether to look what there is to do; where it is over once, it stays over."""
        if self._since is None:
            return True
        since, now = self._since, self._clock()
        is_due = self._until is not None and self._until <= now
        if self._is_called or is_due or not timedelta() <= now - since < LOOK_ANYWAY or not bell.is_quiet():
            self._since = None
        return self._since is None


class Clear:
    """Up to when all jobs that are due are known to be other workers': there may be very many of them."""

    def __init__(self) -> None:
        self._to: datetime | None = None
        self._whole_at: datetime | None = None
        self._elsewhere: frozenset[str] = frozenset()

    def until(self, now: datetime, elsewhere: frozenset[str]) -> datetime | None:
        """Return when that was, or None where all jobs are to be looked at."""
        if self._to is None or self._whole_at is None or elsewhere != self._elsewhere or now < self._to:
            return None
        return self._to - LATE if now - self._whole_at < LOOK_WHOLE else None

    def note(self, now: datetime, elsewhere: frozenset[str], *, is_whole: bool) -> None:
        """Note that no job that was due at `now` is for here."""
        if not elsewhere:
            self._to = None  # the first job that is due is one for here: nothing needs to be spared
            return
        self._to, self._elsewhere = now, elsewhere
        self._whole_at = now if is_whole else self._whole_at
