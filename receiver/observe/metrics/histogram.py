"""How long things took, counted by bucket: a few numbers instead of every single duration."""

from collections.abc import Mapping
from math import ceil, exp2, log2

# Bucket 0 ends at a tenth of a millisecond; four buckets double it, so each is 19 % wide. The last one begins after
# five days.
FIRST_MILLISECONDS = 0.1
PER_DOUBLING = 4
LAST = 128

Spread = dict[int, int]


def bucket(milliseconds: float) -> int:
    """Return the bucket of a duration."""
    if milliseconds < FIRST_MILLISECONDS:
        return 0
    return min(int(log2(milliseconds / FIRST_MILLISECONDS) * PER_DOUBLING) + 1, LAST)


def end_of(bucket: int) -> float:
    """Return where a bucket ends, in milliseconds."""
    return FIRST_MILLISECONDS * exp2(bucket / PER_DOUBLING)


def percentile(spread: Mapping[int, int], share: float) -> float | None:
    """Return the milliseconds that this share of durations did not exceed, within a tenth; None if there is none.

    The result is the middle of the bucket that holds that duration.
    """
    left = ceil(share * sum(spread.values()))
    for place in sorted(spread):
        left -= spread[place]
        if left <= 0:
            return round(end_of(place) * (exp2(-0.5 / PER_DOUBLING) if place else 1), 3)
    return None


def add(spread: Spread, more: Mapping[int, int]) -> None:
    """Add one spread to another, in place."""
    for place, count in more.items():
        spread[place] = spread.get(place, 0) + count
