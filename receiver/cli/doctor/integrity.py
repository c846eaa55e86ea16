"""Whether what is kept can still be read: every page of SQLite's file, for a while; PostgreSQL looks by itself."""

from collections.abc import Iterator
from datetime import timedelta

import sqlalchemy as sa
from flask import Flask

from receiver import service
from receiver.cli.doctor.checks import MEND_DAMAGE, Finding
from receiver.storage import db, sqlite_file

LIMIT = timedelta(seconds=10)


def damage(app: Flask) -> Iterator[Finding]:
    """Read the whole file, or as much as the time allows."""
    engine = service.of(app).engine
    if engine.dialect.name == "sqlite":
        yield _of_the_file(engine)
        return
    with db.reading(engine) as connection:
        sums = connection.exec_driver_sql("SHOW data_checksums").scalar_one()
    yield Finding("damage", "ok", f"not looked for: PostgreSQL does, with data_checksums {sums}, and pg_amcheck does")


def _of_the_file(engine: sa.Engine) -> Finding:
    with engine.connect() as connection:
        state, found = sqlite_file.check(connection.connection.driver_connection, limit=LIMIT)
    if state == "whole":
        return Finding("damage", "ok", "none: every page can be read")
    if state == "cut":
        said = f"none found in {LIMIT.total_seconds():g} s, and the file is too large to be read in that time"
        return Finding("damage", "ok", said, "To read all of it: sqlite3 FILE 'PRAGMA quick_check'")
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return Finding("damage", "fail", f"the file is damaged: {_first_line_of_use(found)}{more}", MEND_DAMAGE)


def _first_line_of_use(found: list[str]) -> str:
    """Give what is wrong, without the line above it that says in which database."""
    lines = [line for line in "\n".join(found).splitlines() if not line.startswith("***")]
    return lines[0] if lines else "it cannot be read"
