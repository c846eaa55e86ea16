"""The threads of a worker: they take jobs off a queue and run them. One that ends is noticed, with the job it held.

An exception that is thrown into a thread from outside may come anywhere: before, in and after the handler, and in
whatever would have cleared up after it. So no thread is trusted with its own end: the worker's loop looks after them.
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
    """The place of one thread; another thread gets another one."""

    number: int
    thread: threading.Thread | None = None
    ended_by: BaseException | None = None


@dataclass(eq=False, slots=True)
class Hand:
    """What takes one claim off the queue: a thread's, or None's where the worker takes it back."""

    seat: Seat | None


@dataclass(frozen=True, slots=True)
class Fall:
    """The end of a thread: by which exception, if it could still be seen, and what it had taken and not ended."""

    thread: str
    error: BaseException | None
    held: list[Claim]


class Crew:
    """Runs what is put into `begun` in threads, and puts how it went into `ended`.

    `running` has what this worker holds, by job and attempt: a job that was lost, or replayed, may be held again while
    it still runs here.
    """

    def __init__(self, attempt: Callable[[Claim], Finish]) -> None:
        self.running: dict[tuple[int, int], Claim] = {}
        self.begun: queue.SimpleQueue[Claim | None] = queue.SimpleQueue()
        self.ended: queue.SimpleQueue[Finish | None] = queue.SimpleQueue()
        self._attempt = attempt
        self._seats: list[Seat] = []
        # Who has taken a claim: the first who writes a hand in here, in one step that nothing comes between.
        self._taken: dict[int, Hand] = {}

    def start(self, threads: int) -> None:
        """Begin so many threads; WorkerError where the system has none left."""
        self._seats = [self._fill(Seat(number)) for number in range(threads)]

    def _fill(self, seat: Seat) -> Seat:
        # Daemons: a handler that hangs for ever must not keep the process from stopping.
        name = f"handler-{seat.number}"
        seat.thread = threading.Thread(target=self._serve, args=(seat,), name=name, daemon=True)
        try:
            seat.thread.start()
        except RuntimeError as error:
            raise WorkerError(f"the thread {name} cannot be begun ({error}): lower WORKER_THREADS") from error
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
        except BaseException as error:  # noqa: BLE001 - whatever was thrown in here: the loop of the worker tells of it
            seat.ended_by = error

    def _take(self, claim: Claim, hand: Hand) -> bool:
        return self._taken.setdefault(id(claim), hand) is hand

    def add(self, claim: Claim) -> None:
        """Have a claim run by the next thread that is free."""
        self.running[key_of(claim)] = claim
        self._taken.pop(id(claim), None)  # of a claim that was once in the same place
        self.begun.put(claim)

    def forget(self, claim: Claim) -> None:
        """Hold a claim no longer: how it ended is written down, or it was given back."""
        self.running.pop(key_of(claim), None)
        self._taken.pop(id(claim), None)

    def take_back(self) -> list[Claim]:
        """Take the claims that no thread has begun off the queue: none will begin them from here on."""
        return [claim for claim in self._empty_queue() if self._take(claim, Hand(None))]

    def add_again(self, claims: Collection[Claim]) -> None:
        """Put what was taken back into the queue again."""
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
        """Give the places whose threads have ended; none ever should."""
        return [seat for seat in self._seats if seat.thread is not None and not seat.thread.is_alive()]

    def replace(self, fallen: Collection[Seat], ended: Collection[Finish]) -> list[Fall]:
        """Begin a thread in each of these places, and give what the last ones held that is not among what `ended`.

        A claim that was on its way from the queue into a thread is with neither: it is put into the queue again.
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
