"""One commit for all deliveries that arrive together: the first one leads, and writes for all that join it."""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Generic, TypeVar

from receiver.errors import StoreError
from receiver.storage import patience

Came = TypeVar("Came")
Said = TypeVar("Said")


class Batch(Generic[Came, Said]):
    """The arrivals that share a commit, and its outcome."""

    __slots__ = ("arrivals", "ended", "outcomes", "size")

    def __init__(self) -> None:
        self.arrivals: list[Came] = []
        self.size = 0
        self.ended = threading.Event()
        self.outcomes: Sequence[Said | StoreError] = ()


class Group(Generic[Came, Said]):
    """Commits together what arrives together: an arrival during a commit shares the next one.

    The first of a batch leads: it lets those join that are already waiting, waits for its turn, and writes for all. It
    is made for gevent, where a commit blocks the whole process, so batches grow by themselves with the load. It works
    in threads as well. The queue is bounded: beyond the bound a sender is asked to retry.
    """

    OF = "deliveries"
    MOST_WAITING = 1000
    MOST_WAITING_BYTES = 64 * 1024 * 1024
    PATIENCE_SECONDS = 0.001
    NAP_SECONDS = 0.0005

    def __init__(
        self, write: Callable[[Callable[[], Sequence[Came]]], list[Said]], *, limit: timedelta | None = None
    ) -> None:
        self._write = write
        self._limit = limit or patience.LIMIT
        self._open: Batch[Came, Said] = Batch()
        self._joining = threading.Lock()
        self._leading = threading.Lock()
        self._last_size = 0

    @property
    def is_waited_for(self) -> bool:
        """Return whether any arrival here waits for the database."""
        return bool(self._open.arrivals) or self._leading.locked()

    def keep(self, arrival: Came, *, size: int) -> Said:
        """Return the receipt once the arrival is on disk; StoreError if it cannot be stored, or too many wait."""
        with self._joining:
            batch = self._open
            place = len(batch.arrivals)
            if place >= self.MOST_WAITING or (batch.size + size > self.MOST_WAITING_BYTES and place > 0):
                raise StoreError(f"too many {self.OF} are waiting for the database")
            batch.arrivals.append(arrival)
            batch.size += size
        if place == 0:
            self._lead(batch)
        else:
            batch.ended.wait()
        outcome = batch.outcomes[place]
        if isinstance(outcome, StoreError):
            raise outcome
        return outcome

    def _lead(self, batch: Batch[Came, Said]) -> None:
        # Whatever ends this thread, such as GreenletExit: those that joined must not wait for ever.
        try:
            # The first arrived before all others, so no other waits longer than it does.
            with patience.within(self._limit):
                self._gather(batch)
                batch.outcomes = self._commit_in_turn(batch)
        finally:
            cut_short = StoreError("the commit was interrupted")
            batch.outcomes = batch.outcomes or [cut_short] * len(self._close(batch))
            self._last_size = len(batch.arrivals)
            batch.ended.set()

    def _commit_in_turn(self, batch: Batch[Came, Said]) -> Sequence[Said | StoreError]:
        if not self._leading.acquire(timeout=patience.seconds_left()):
            late = StoreError("the database has spent too long on the deliveries before these")
            return [late] * len(self._close(batch))
        try:
            return self._commit(batch)
        finally:
            self._leading.release()

    def _gather(self, batch: Batch[Came, Said]) -> None:
        """Let others join: all that are waiting now, then up to the size of the last batch, for PATIENCE at most."""
        time.sleep(0)
        deadline = time.monotonic() + self.PATIENCE_SECONDS
        while len(batch.arrivals) < self._last_size and time.monotonic() < deadline:
            time.sleep(self.NAP_SECONDS)

    def _close(self, batch: Batch[Came, Said]) -> Sequence[Came]:
        """Close the batch to others, and return the arrivals in it."""
        with self._joining:
            if self._open is batch:
                self._open = Batch()
        return batch.arrivals

    def _commit(self, batch: Batch[Came, Said]) -> Sequence[Said | StoreError]:
        # Closed only when the database is ready to write: others join while it waits for that.
        try:
            return self._write(lambda: self._close(batch))
        except StoreError as error:
            arrivals = self._close(batch)
            if not error.is_about_a_row:
                return [error] * len(arrivals)
        # One row is poison, and nobody says which: each is written by itself, so that it fails alone.
        return [self._commit_alone(arrival) for arrival in arrivals]

    def _commit_alone(self, arrival: Came) -> Said | StoreError:
        try:
            return self._write(lambda: [arrival])[0]
        except StoreError as error:
            return error
