"""Who is logged in, as the server knows it, and from where somebody logged in before (docs/decisions/0030)."""

import secrets
from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import sha256

import sqlalchemy as sa

from receiver.errors import StoreError
from receiver.storage import db
from receiver.storage.tables import logins

KNOWN_FOR = timedelta(days=90)  # since a login from there was last used
NOTED_EVERY = timedelta(days=1)


def begin(engine: sa.Engine, *, opened_by: str, network: str, now: datetime) -> str:
    """Keep a new login, and return what its browser has to show from now on: it is not kept itself.

    `opened_by` is what tells one ADMIN_PASSWORD from another, not the password.
    """
    shown = secrets.token_urlsafe(24)
    row = {"id": _id_of(shown), "opened_by": opened_by, "network": network, "began_at": now, "seen_at": now}
    with db.writing(engine) as connection:
        connection.execute(sa.delete(logins).where(logins.c.seen_at < now - KNOWN_FOR))
        connection.execute(sa.insert(logins), [row])
    return shown


def is_open(engine: sa.Engine, shown: str, *, opened_by: str, now: datetime) -> bool:
    """Say whether this login was begun by this password, and has not ended. Its use is noted once a day."""
    wanted = sa.select(logins).where(logins.c.id == _id_of(shown))
    with db.reading(engine) as connection:
        row = connection.execute(wanted).first()
    if row is None or row.ended_at is not None or row.opened_by != opened_by:
        return False
    if now - row.seen_at > NOTED_EVERY:
        # Where it cannot be written now, the next request does.
        with suppress(StoreError), db.writing(engine) as connection:
            connection.execute(sa.update(logins).where(logins.c.id == row.id).values(seen_at=now))
    return True


def end(engine: sa.Engine, shown: str, *, now: datetime) -> None:
    """End a login: whoever has a copy of what its browser shows sees no page with it any more."""
    _end(engine, logins.c.id == _id_of(shown), now)


def end_others(engine: sa.Engine, *, opened_by: str, now: datetime) -> None:
    """End every login that another password began, for good: also when that password is set again."""
    _end(engine, logins.c.opened_by != opened_by, now)


def _end(engine: sa.Engine, which: sa.ColumnElement[bool], now: datetime) -> None:
    which = which & logins.c.ended_at.is_(None)
    with db.reading(engine) as connection:
        if connection.execute(sa.select(logins.c.id).where(which).limit(1)).first() is None:
            return
    with db.writing(engine) as connection:
        connection.execute(sa.update(logins).where(which).values(ended_at=now))


def has_come_from(engine: sa.Engine, network: str, *, now: datetime) -> bool:
    """Say whether somebody logged in from this network lately; also a login that has ended says so."""
    wanted = sa.select(logins.c.id).where(logins.c.network == network, logins.c.seen_at >= now - KNOWN_FOR)
    with db.reading(engine) as connection:
        return connection.execute(wanted.limit(1)).first() is not None


def _id_of(shown: str) -> str:
    return sha256(shown.encode("utf-8", "surrogateescape")).hexdigest()
