"""When a job is tried again and when it stops: a pure decision, with time and chance as arguments."""

from dataclasses import dataclass
from datetime import datetime, timedelta

DEFAULT_ATTEMPTS = 10
LONGEST_WAIT = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Policy:
    """How often a handler is tried, and how long apart.

    The default waits 10 s, 30 s, 90 s, … 18 h: ten attempts over 27 hours, so that a service that is down for a
    night is met again. Each wait is moved by up to a fifth either way, so that jobs that failed together do not
    come back together.
    """

    attempts: int = DEFAULT_ATTEMPTS
    first_wait: timedelta = timedelta(seconds=10)
    factor: float = 3.0
    longest_wait: timedelta = timedelta(hours=18)
    jitter: float = 0.2

    def wait(self, attempt: int, *, chance: float) -> timedelta:
        """Give the wait after the given failed attempt (from 1); `chance` lies in [0, 1)."""
        exponent = min(attempt - 1, 64)
        seconds = min(self.first_wait.total_seconds() * self.factor**exponent, self.longest_wait.total_seconds())
        return timedelta(seconds=seconds * (1 + self.jitter * (2 * chance - 1)))


@dataclass(frozen=True, slots=True)
class Again:
    """Try again, not before `at`."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Dead:
    """Do not try again."""

    reason: str


def decide(policy: Policy, *, spent: int, now: datetime, chance: float, after: timedelta | None = None) -> Again | Dead:
    """Say what becomes of a job whose attempt number `spent` just failed.

    `after` is the handler's own wish (`Retry(after=…)`) and replaces the wait of the policy, not its count.
    """
    if spent >= policy.attempts:
        return Dead(f"all {policy.attempts} attempts are used up")
    wait = policy.wait(spent, chance=chance) if after is None else min(after, LONGEST_WAIT)
    return Again(now + wait)


def decide_lost(policy: Policy, *, spent: int, now: datetime, chance: float) -> Again | Dead:
    """Say what becomes of a job whose worker vanished while it ran.

    A first attempt that is lost is taken for the worker's bad luck and repeated at once; later ones wait as failures
    do, so that a job that kills its worker drifts away from the others that ran beside it, and ends.
    """
    if spent == 1 and policy.attempts > 1:
        return Again(now)
    return decide(policy, spent=spent, now=now, chance=chance)
