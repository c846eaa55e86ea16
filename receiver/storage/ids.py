"""Ids of events and of refused deliveries: ULIDs, which sort by the time at which they were made."""

from datetime import datetime

from ulid_transform import ulid_at_time

_TIME_OF_ID = 10  # characters of a ULID: 48 bits of milliseconds
_LAST_SECOND = 2**48 / 1000 - 1


def new_id(at: datetime) -> str:
    """Return a ULID for this time: ids sort by their time."""
    return ulid_at_time(at.timestamp())


def lowest_id(at: datetime, *, milliseconds: int = 0) -> str:
    """Return the lowest id that a time can have, `milliseconds` after `at`.

    A time outside the range of ids is moved to the first or the last time that they can express.
    """
    seconds = at.timestamp() + milliseconds / 1000
    return ulid_at_time(min(max(0.0, seconds), _LAST_SECOND))[:_TIME_OF_ID]
