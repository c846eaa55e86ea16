"""The threads of a worker: they take jobs off a queue and run them. One that ends is noticed, with its job.

An exception that is thrown into a thread from outside may arrive anywhere: before, in and after the handler, and in any
clean-up code (`PyThreadState_SetAsyncExc`, docs.python.org/3/c-api/init.html). So no thread is trusted to report its
own end: the worker's loop checks them.
"""

import queue
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from receiver.errors import WorkerError
from receiver.jobs.store import Claim, Finish


def key_of(claim: Claim) -> tuple[int, int]:
    return claim.job_id, claim.attempt


@dataclass(eq=False, slots=True)
class Seat:
    """The place of one thread; a thread that replaces it gets a new place."""

    number: int
    thread: threading.Thread | None = None
    ended_by: BaseException | None = None


@dataclass(eq=False, slots=True)
class Hand:
    """What takes one claim off the queue: a thread's seat, or None if the worker takes the claim back."""

    seat: Seat | None


@dataclass(frozen=True, slots=True)
class Fall:
    """The end of a thread: the exception that ended it, if known, and the claims that it had not finished."""

    thread: str
    error: BaseException | None
    held: list[Claim]


class Crew:
    """Runs the claims put into `begun` in threads, and puts the results into `ended`.

    `running` has the claims that this worker holds, by job and attempt: a job that was lost or replayed may be claimed
    again while its first run still goes on here.
    """

    def __init__(self, attempt: Callable[[Claim], Finish]) -> None:
        self.running: dict[tuple[int, int], Claim] = {}
        self.begun: queue.SimpleQueue[Claim | None] = queue.SimpleQueue()
        self.ended: queue.SimpleQueue[Finish | None] = queue.SimpleQueue()
        self._attempt = attempt
        self._seats: list[Seat] = []
        # Which hand has taken a claim: the first that `setdefault` writes here. In CPython that is one step no other
        # thread can interrupt.
        self._taken: dict[int, Hand] = {}

    def start(self, threads: int) -> None:
        """Start so many threads; WorkerError if the system cannot start one."""
        self._seats = [self._fill(Seat(number)) for number in range(threads)]

    def _fill(self, seat: Seat) -> Seat:
        # Daemons: a handler that hangs for ever must not keep the process from exiting. Python waits at its exit for
        # all threads but daemons: docs.python.org/3/library/threading.html.
        name = f"handler-{seat.number}"
        seat.thread = threading.Thread(target=self._serve, args=(seat,), name=name, daemon=True)
        try:
            seat.thread.start()
        except RuntimeError as error:
            raise WorkerError(f"the thread {name} cannot be started ({error}): lower WORKER_THREADS") from error
        return seat

    def _serve(self, seat: Seat) -> None:
        try:
            while (claim := self.begun.get()) is not None:
                if not self._take(claim, Hand(seat)):
                    continue
                if self.running.get(key_of(claim)) is claim:
                    self.ended.put(self._attempt(claim))
                else:
                    del self._taken[id(claim)]
        except BaseException as error:  # noqa: BLE001 - whatever was thrown in here: the loop of the worker reports it
            seat.ended_by = error

    def _take(self, claim: Claim, hand: Hand) -> bool:
        return self._taken.setdefault(id(claim), hand) is hand

    def add(self, claim: Claim) -> None:
        """Queue a claim for the next thread that is free."""
        self.running[key_of(claim)] = claim
        self._taken.pop(id(claim), None)  # of an earlier claim whose object had the same id()
        self.begun.put(claim)

    def forget(self, claim: Claim) -> None:
        """Stop holding a claim: its result is written, or it was given back."""
        self.running.pop(key_of(claim), None)
        self._taken.pop(id(claim), None)

    def take_back(self) -> list[Claim]:
        """Return the claims that no thread has begun, and remove them from the queue: no thread will begin them now."""
        return [claim for claim in self._empty_queue() if self._take(claim, Hand(None))]

    def add_again(self, claims: Collection[Claim]) -> None:
        """Put claims that were taken back into the queue again."""
        for claim in claims:
            self._taken.pop(id(claim), None)
            self.begun.put(claim)

    def _empty_queue(self) -> list[Claim]:
        queued = []
        with suppress(queue.Empty):
            while (claim := self.begun.get_nowait()) is not None:
                queued.append(claim)
        return queued

    def fallen(self) -> list[Seat]:
        """Return the places whose threads have ended; none ever should."""
        return [seat for seat in self._seats if seat.thread is not None and not seat.thread.is_alive()]

    def replace(self, fallen: Collection[Seat], ended: Collection[Finish]) -> list[Fall]:
        """Start a thread in each of these places; return for each ended thread the claims that it held.

        Claims in `ended` are left out: they have results. A claim that was on its way from the queue into a thread is
        held by neither, and is put into the queue again.
        """
        done = {id(finish.claim) for finish in ended}
        open_claims = [claim for claim in self.running.values() if id(claim) not in done]
        falls = [self._fall(seat, open_claims) for seat in fallen]
        for claim in {id(claim): claim for claim in [*self._empty_queue(), *open_claims]}.values():
            if id(claim) not in self._taken:
                self.begun.put(claim)
        for seat in fallen:
            self._seats[seat.number] = self._fill(Seat(seat.number))
        return falls

    def _fall(self, seat: Seat, open_claims: Collection[Claim]) -> Fall:
        held = [claim for claim in open_claims if (hand := self._taken.get(id(claim))) and hand.seat is seat]
        return Fall(f"handler-{seat.number}", seat.ended_by, held)
