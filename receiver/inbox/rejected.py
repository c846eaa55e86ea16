"""The table of refused requests: written together, and kept within its bounds, with a room for each kind."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from receiver.errors import StoreError
from receiver.storage import db
from receiver.storage.tables import rejected

# Well-formed, and refused only for the signature or its age; what could never verify; what had no signature checked.
FORMED, JUNK, STRAY = ROOMS = ("formed", "junk", "stray")
# The part of the whole that each room has for itself, whatever the others hold.
_SHARES = {FORMED: 0.5, JUNK: 0.25, STRAY: 0.25}

FIRST_STAY = 50  # of each sender: its beginning is the most telling part
_SLACK = 20  # the part of a bound that is freed at once, so that the next row does not need another deletion
_COUNT_AGAIN = 50  # the part of a bound that may be written before the table is counted again
_DELETED_AT_A_TIME = 200
_BITES = 50

Row = dict[str, Any]


class _Pile(NamedTuple):
    """The refusals of one sender in one room."""

    room: str
    lane: str


class RejectedTable:
    """Writes refusals, and deletes those that are too many: of the largest sender, the oldest after its first ones."""

    def __init__(self, engine: sa.Engine, *, max_count: int, max_bytes: int) -> None:
        self._engine = engine
        self._max_count, self._max_bytes = max_count, max_bytes
        self._written: tuple[int, int] | None = None  # the number of rows, and of bytes, since the last count

    def write(self, rows: Sequence[Row]) -> None:
        """Write refusals in one transaction; StoreError if that fails."""
        with db.writing(self._engine) as connection:
            connection.execute(sa.insert(rejected), list(rows))
        if self._is_to_be_counted(rows):
            try:
                self._let_go()
            except StoreError:
                self._written = None  # the rows are written; the next call counts again

    def _is_to_be_counted(self, rows: Sequence[Row]) -> bool:
        if self._written is None:
            return True
        count, size = self._written
        self._written = count, size = count + len(rows), size + sum(row["size"] for row in rows)
        return count >= self._max_count // _COUNT_AGAIN or size >= self._max_bytes // _COUNT_AGAIN

    def _let_go(self) -> None:
        """Delete what is too much, a few rows at a time. The search takes no lock: deliveries are stored meanwhile."""
        self._written = (0, 0)
        counts, sizes = self._piles()
        doomed = {
            *self._doomed(counts, self._max_count, is_bytes=False),
            *self._doomed(sizes, self._max_bytes, is_bytes=True),
        }
        oldest_first = sorted(doomed)
        for start in range(0, len(oldest_first), _DELETED_AT_A_TIME):
            some = oldest_first[start : start + _DELETED_AT_A_TIME]
            with db.writing(self._engine) as connection:
                connection.execute(sa.delete(rejected).where(rejected.c.seq.in_(some)))
            time.sleep(0)

    def _piles(self) -> tuple[dict[_Pile, int], dict[_Pile, int]]:
        pile = (rejected.c.room, rejected.c.lane)
        count, size = sa.func.count(), sa.func.sum(rejected.c.size)
        with db.reading(self._engine) as connection:
            found = [tuple(row) for row in connection.execute(sa.select(*pile, count, size).group_by(*pile))]
        counts = {_Pile(room, lane): count for room, lane, count, _ in found}
        return counts, {_Pile(room, lane): int(size) for room, lane, _, size in found}

    def _doomed(self, piles: Mapping[_Pile, int], bound: int, *, is_bytes: bool) -> Iterator[int]:
        excess = sum(piles.values()) - bound
        if excess <= 0:
            return
        for pile, amount in _shares(piles, excess + bound // _SLACK).items():
            yield from self._oldest(pile, amount, is_bytes=is_bytes)

    def _oldest(self, pile: _Pile, amount: int, *, is_bytes: bool) -> Iterator[int]:
        wanted = sa.select(rejected.c.seq, rejected.c.size).where(
            rejected.c.room == pile.room, rejected.c.lane == pile.lane
        )
        with db.reading(self._engine) as connection:
            rows = connection.execute(wanted.order_by(rejected.c.seq)).all()
        # Of a large pile the first rows stay; of a small one, and of the last one left, the oldest is deleted.
        first = FIRST_STAY if len(rows) > 2 * FIRST_STAY else 0
        for row in [*rows[first:], *rows[:first]]:
            if amount <= 0:
                return
            amount -= row.size if is_bytes else 1
            yield row.seq


def _shares(piles: Mapping[_Pile, int], excess: int) -> Mapping[_Pile, int]:
    """Return how many rows each pile loses: always from the largest pile of the room most above its share."""
    left, given = dict(piles), defaultdict[_Pile, int](int)
    bite = max(1, excess // _BITES)
    while excess > 0 and any(left.values()):
        rooms = defaultdict[str, int](int)
        for pile, amount in left.items():
            rooms[pile.room] += amount
        fullest = max(rooms, key=lambda room: rooms[room] / _SHARES.get(room, 0.25))
        highest = max((pile for pile in left if pile.room == fullest), key=lambda pile: left[pile])
        taken = min(bite, excess, left[highest])
        left[highest] -= taken
        given[highest] += taken
        excess -= taken
    return given
