"""What is known here about the registrations at Box: the only writer of the table `registrations`.

A row is written before Box is asked to make a webhook, and again with its id. So after any interruption the next
`apply` knows that a webhook on this target may be its own; if Box refuses, the row is undone.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from receiver.registrations.rules import Content, Target, Webhook
from receiver.storage import db
from receiver.storage.tables import registrations as table

# Also while another is being made in its place.
_IS_DEAD = table.c.died_at.is_not(None)


@dataclass(frozen=True, slots=True)
class Kept:
    """One row: `making` (asked for, no id yet), `live`, or `dead` (Box removed it).

    `is_asked_for` is True if one is being made, also in place of a dead one, and the result is not known.
    """

    target: Target
    content: Content
    webhook_id: str | None
    state: str
    is_asked_for: bool
    is_ours: bool
    seen_at: datetime | None
    died_at: datetime | None
    reason: str | None


def list_kept(engine: sa.Engine) -> dict[Target, Kept]:
    """Return every row, by its target."""
    with db.reading(engine) as connection:
        rows = connection.execute(sa.select(table).order_by(table.c.seq)).all()
    return {row.target: row for row in map(_kept, rows)}


def as_webhook(one: Kept) -> Webhook | None:
    """Return the webhook of a row, as far as it is known here; None if there was none yet, or is none now."""
    return Webhook(one.webhook_id, one.target, one.content) if one.webhook_id and one.state == "live" else None


def intend(engine: sa.Engine, target: Target, content: Content, *, now: datetime) -> Kept | None:
    """Record that a webhook is about to be made, and return the row before that.

    A dead one stays dead until there is another.
    """
    noted = _row(target, content) | {"state": "making", "webhook_id": None, "is_ours": False, "noted_at": now}
    with db.writing(engine) as connection:
        row = connection.execute(sa.select(table).where(_is(target))).one_or_none()
        connection.execute(
            db.insert(connection, table)
            .values(**noted)
            .on_conflict_do_update(
                index_elements=["target_type", "target_id"],
                set_=_row(target, content)
                | {
                    "state": "making",
                    "webhook_id": sa.case((_IS_DEAD, table.c.webhook_id), else_=None),
                    "noted_at": now,
                },
            )
        )
    return None if row is None else _kept(row)


def take_back(engine: sa.Engine, target: Target, before: Kept | None) -> None:
    """Undo `intend`, which returned `before`: Box made no webhook, and one found there later is somebody else's."""
    intended = sa.and_(_is(target), table.c.state == "making")
    with db.writing(engine) as connection:
        if before is None:
            connection.execute(sa.delete(table).where(intended))
        else:
            state = "making" if before.is_asked_for else before.state
            known = _row(target, before.content) | {"state": state, "webhook_id": before.webhook_id}
            connection.execute(sa.update(table).where(intended).values(**known))


def note(
    engine: sa.Engine,
    target: Target,
    content: Content,
    *,
    webhook_id: str,
    is_ours: bool,
    now: datetime,
    was_seen: bool = True,
) -> None:
    """Record that Box has this webhook; `was_seen` is True if Box just returned all of it."""
    noted = _row(target, content) | {
        "webhook_id": webhook_id,
        "state": "live",
        "is_ours": is_ours,
        "noted_at": now,
        "died_at": None,
        "reason": None,
    }
    seen = {"seen_at": now} if was_seen else {}
    with db.writing(engine) as connection:
        connection.execute(
            db.insert(connection, table)
            .values(**noted, **seen)
            .on_conflict_do_update(index_elements=["target_type", "target_id"], set_=noted | seen)
        )


def forget(engine: sa.Engine, target: Target) -> None:
    """Delete the row of a target that the file no longer names."""
    with db.writing(engine) as connection:
        connection.execute(sa.delete(table).where(_is(target)))


def bury(engine: sa.Engine, webhook_id: str, *, reason: str | None, now: datetime) -> Target | None:
    """Mark the registration with this id dead, and return its target; None if no live one has this id."""
    ours = sa.update(table).where(table.c.webhook_id == webhook_id, table.c.state == "live")
    with db.writing(engine) as connection:
        row = connection.execute(
            ours.values(state="dead", died_at=now, reason=reason).returning(table.c.target_type, table.c.target_id)
        ).one_or_none()
    return None if row is None else Target(row.target_type, row.target_id)


def is_buried(engine: sa.Engine, webhook_id: str) -> bool:
    """Return whether the registration with this id is marked dead."""
    with db.reading(engine) as connection:
        its = sa.exists().where(table.c.webhook_id == webhook_id, _IS_DEAD)
        return connection.execute(sa.select(its)).scalar_one()


def take_dead(engine: sa.Engine, *, now: datetime, pause: timedelta) -> list[Kept]:
    """Claim the dead registrations that nobody tried to make again within `pause`, and record this try.

    Each goes to one caller only, whichever process asks.
    """
    due = sa.or_(table.c.tried_at.is_(None), table.c.tried_at <= now - pause)
    taken = sa.update(table).where(_IS_DEAD, due).values(tried_at=now).returning(*table.c)
    with db.writing(engine) as connection:
        return sorted(map(_kept, connection.execute(taken)), key=lambda one: one.target)


def has_dead(engine: sa.Engine) -> bool:
    with db.reading(engine) as connection:
        return connection.execute(sa.select(sa.exists().where(_IS_DEAD))).scalar_one()


def _row(target: Target, content: Content) -> dict[str, Any]:
    return {
        "target_type": target.type,
        "target_id": target.id,
        "address": content.address,
        "triggers": list(content.triggers),
    }


def _is(target: Target) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.target_type == target.type, table.c.target_id == target.id)


def _kept(row: sa.Row[Any]) -> Kept:
    return Kept(
        target=Target(row.target_type, row.target_id),
        content=Content.of(row.address, row.triggers),
        webhook_id=row.webhook_id,
        state="dead" if row.died_at else row.state,
        is_asked_for=row.state == "making",
        is_ours=row.is_ours,
        seen_at=row.seen_at,
        died_at=row.died_at,
        reason=row.reason,
    )
