"""Ids of events and of what was refused: ULIDs, which sort by the time that they were made at."""

from datetime import datetime

from ulid_transform import ulid_at_time

_TIME_OF_ID = 10  # characters of a ULID, 48 bits of milliseconds
_LAST_SECOND = 2**48 / 1000 - 1


def new_id(at: datetime) -> str:
    """Give a ULID: ids sort by the time that they were made at."""
    return ulid_at_time(at.timestamp())


def lowest_id(at: datetime, *, milliseconds: int = 0) -> str:
    """Give what every id from so long after this moment on sorts after, and every earlier one before.

    A time that no id can have is the first or the last that one has.
    """
    seconds = at.timestamp() + milliseconds / 1000
    return ulid_at_time(min(max(0.0, seconds), _LAST_SECOND))[:_TIME_OF_ID]
