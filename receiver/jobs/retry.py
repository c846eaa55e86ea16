"""When a job is retried and when it dies: a pure decision, with time and chance as arguments."""

from dataclasses import dataclass
from datetime import datetime, timedelta

DEFAULT_ATTEMPTS = 10
LONGEST_WAIT = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Policy:
    """How many attempts a handler gets, and how long the waits between them are.

    The default waits 10 s, 30 s, 90 s, … 18 h: ten attempts over 27 hours, enough for a service that is down for a
    night. Each wait is changed at random by up to a fifth, so that jobs that failed together are not retried together.
    """

    attempts: int = DEFAULT_ATTEMPTS
    first_wait: timedelta = timedelta(seconds=10)
    factor: float = 3.0
    longest_wait: timedelta = timedelta(hours=18)
    jitter: float = 0.2

    def wait(self, attempt: int, *, chance: float) -> timedelta:
        """Return the wait after a failed attempt (counted from 1); `chance` is in [0, 1)."""
        exponent = min(attempt - 1, 64)
        seconds = min(self.first_wait.total_seconds() * self.factor**exponent, self.longest_wait.total_seconds())
        return timedelta(seconds=seconds * (1 + self.jitter * (2 * chance - 1)))


@dataclass(frozen=True, slots=True)
class Again:
    """Retry, not before `at`."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Dead:
    """Do not retry."""

    reason: str


def decide(policy: Policy, *, spent: int, now: datetime, chance: float, after: timedelta | None = None) -> Again | Dead:
    """Decide what happens to a job whose attempt number `spent` just failed.

    `after` is the handler's own wait (`Retry(after=…)`); it replaces the wait of the policy, not its number of
    attempts.
    """
    if spent >= policy.attempts:
        return Dead(f"all {policy.attempts} attempts are used up")
    wait = policy.wait(spent, chance=chance) if after is None else min(after, LONGEST_WAIT)
    return Again(now + wait)


def decide_lost(policy: Policy, *, spent: int, now: datetime, chance: float) -> Again | Dead:
    """Decide what happens to a job whose worker vanished while it ran.

    A first attempt that is lost is blamed on the worker and repeated at once. Later ones wait as after a failure: a job
    that kills its worker moves away from the jobs that ran beside it, and dies in the end.
    """
    if spent == 1 and policy.attempts > 1:
        return Again(now)
    return decide(policy, spent=spent, now=now, chance=chance)
