"""The bins: made, listed, set up, emptied and deleted."""

import base64
import re
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, TypedDict

import sqlalchemy as sa

from receiver.bins import names, setup
from receiver.errors import BinError, NotFoundError, StoreError
from receiver.events import Headers
from receiver.humanize import iso
from receiver.storage import db
from receiver.storage.tables import bins, captures

LIMIT = 50
_CURSOR = re.compile(r"[0-9]{1,18}", re.ASCII)
_DELETED_AT_A_TIME = 50  # a body may be a megabyte, and deliveries wait while others write

Item = dict[str, Any]


class ItemPage(TypedDict):
    """Items, newest first, and the cursor that continues after them; None if these are the last."""

    items: list[Item]
    next: str | None


def create(engine: sa.Engine, *, name: str | None = None, now: datetime, changes: setup.Changes | None = None) -> Item:
    """Make a bin, with a random name by default; BinError if its name is taken or a setting is invalid."""
    if name is not None and not names.is_name(name):
        raise BinError({"name": [names.NAME_TAKES]})
    row = {**setup.STANDARD, **setup.columns(changes or {}), "created_at": now}
    for _ in range(20):
        wanted = name or names.suggest()
        with db.writing(engine) as connection:
            made = insert(connection, row | {"name": wanted})
        if made:
            return show_bin(engine, wanted)
        if name is not None:
            raise BinError({"name": [f"There is a bin {name} already."]})
    raise StoreError("no random name was free for the bin: name it yourself")


def insert(connection: sa.Connection, row: Mapping[str, Any]) -> bool:
    """Write a bin in the caller's transaction; False if its name is taken."""
    made = db.insert(connection, bins).values(row).on_conflict_do_nothing(index_elements=["name"])
    return connection.execute(made.returning(bins.c.seq)).first() is not None


def list_bins(engine: sa.Engine, *, limit: int = LIMIT, cursor: str | None = None) -> ItemPage:
    """Return the bins, newest first."""
    wanted = _with_lowest()
    if cursor is not None:
        wanted = wanted.where(bins.c.seq < place(cursor))
    with db.reading(engine) as connection:
        rows = connection.execute(wanted.order_by(bins.c.seq.desc()).limit(limit + 1)).all()
    following = str(rows[limit - 1].seq) if len(rows) > limit else None
    return {"items": [_bin(row) for row in rows[:limit]], "next": following}


def show_bin(engine: sa.Engine, name: str) -> Item:
    """Return one bin; NotFoundError if it does not exist."""
    with db.reading(engine) as connection:
        row = connection.execute(_with_lowest().where(bins.c.name == storable(name))).first()
    if row is None:
        raise no_bin(name)
    return _bin(row)


def change(engine: sa.Engine, name: str, changes: setup.Changes) -> Item:
    """Change the given settings and leave the rest; BinError names every invalid one, and then nothing is changed."""
    columns = setup.columns(changes)
    if columns:
        with db.writing(engine) as connection:
            connection.execute(sa.update(bins).where(bins.c.name == storable(name)).values(columns))
    return show_bin(engine, name)


def delete(engine: sa.Engine, name: str) -> int:
    """Delete a bin with its captures, and return the number of captures."""
    gone = clear(engine, name)
    with db.writing(engine) as connection:
        gone += connection.execute(sa.delete(captures).where(captures.c.bin == name)).rowcount
        connection.execute(sa.delete(bins).where(bins.c.name == name))
    return gone


def clear(engine: sa.Engine, name: str, *, upto: int | None = None) -> int:
    """Delete the present captures of a bin, or those up to a number; return how many were deleted."""
    captured = show_bin(engine, name)["captured"]
    return _delete_up_to(engine, name, captured if upto is None else min(upto, captured))


def prune(engine: sa.Engine, *, now: datetime, name: str | None = None) -> int:
    """Delete captures older than their bins keep them, in one bin or in all, and return how many were deleted.

    A bin does so itself with each request that it records; this is for bins that receive no more.
    """
    ageing = sa.select(bins.c.name, bins.c.keep_seconds).where(bins.c.keep_seconds.is_not(None))
    if name is not None:
        ageing = ageing.where(bins.c.name == storable(name))
    with db.reading(engine) as connection:
        rows = connection.execute(ageing).all()
    return sum(_prune_one(engine, row.name, cutoff(now, row.keep_seconds)) for row in rows)


def _prune_one(engine: sa.Engine, name: str, limit: datetime) -> int:
    with db.reading(engine) as connection:
        newest: int | None = connection.execute(newest_before(name, limit)).scalar_one()
    return _delete_up_to(engine, name, newest) if newest else 0


def newest_before(name: str, limit: datetime) -> sa.Select[Any]:
    """Select the number up to which captures are older than a limit, by a search from the oldest on."""
    its = captures.c.bin == name
    old = sa.select(captures.c.number - 1).where(its, captures.c.captured_at >= limit).order_by(captures.c.number)
    all_of_them = sa.select(sa.func.max(captures.c.number)).where(its)
    return sa.select(sa.func.coalesce(old.limit(1).scalar_subquery(), all_of_them.scalar_subquery()))


def cutoff(now: datetime, keep_seconds: int) -> datetime:
    return now - timedelta(seconds=keep_seconds)


def _delete_up_to(engine: sa.Engine, name: str, number: int) -> int:
    its = sa.select(captures.c.seq).where(captures.c.bin == name, captures.c.number <= number)
    some = its.order_by(captures.c.number).limit(_DELETED_AT_A_TIME)
    gone = 0
    while True:
        with db.writing(engine) as connection:
            count = connection.execute(sa.delete(captures).where(captures.c.seq.in_(some))).rowcount
        gone += count
        if count < _DELETED_AT_A_TIME:
            return gone
        time.sleep(0)  # other greenlets of this process first


def place(cursor: str) -> int:
    if not _CURSOR.fullmatch(cursor):
        raise NotFoundError(f"no listing returned the cursor {cursor!r}: take it from `next` of the previous page")
    return int(cursor)


def storable(name: str) -> str:
    """Return a name that every database accepts as a parameter; one that had to be changed is no bin's name."""
    return name if names.is_name(name) else ""


def no_bin(name: str) -> NotFoundError:
    if not names.is_name(name):
        return NotFoundError(f"there is no bin of that name, and there cannot be: {names.NAME_TAKES}")
    return NotFoundError(f"there is no bin {name}: signalbox bins create {name} makes it")


def _with_lowest() -> sa.Select[Any]:
    lowest = sa.select(sa.func.min(captures.c.number)).where(captures.c.bin == bins.c.name)
    return sa.select(bins, lowest.scalar_subquery().label("lowest"))


def _bin(row: sa.Row[Any]) -> Item:
    return {
        "name": row.name,
        "path": f"/b/{row.name}",
        "created_at": iso(row.created_at),
        "captured_at": iso(row.captured_at),
        "captured": row.captured,
        "kept": row.captured - row.lowest + 1 if row.lowest else 0,
        "status": row.status,
        "headers": [list(pair) for pair in Headers.from_bytes(row.headers).pairs],
        "body_base64": base64.b64encode(row.body).decode("ascii"),
        "delay_seconds": row.delay_ms / 1000,
        "fail_every": row.fail_every,
        "fail_status": row.fail_status,
        "keep_count": row.keep_count,
        "keep_seconds": row.keep_seconds,
        "has_secret": row.secret_digest is not None,
    }
