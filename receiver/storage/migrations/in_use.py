"""Changing tables that are in use: nobody who works with them is kept waiting (docs/decisions/0014)."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

PATIENCE = "3s"
PATIENCE_BESIDE = "10min"


def prepare(connection: sa.Connection) -> None:
    """Let a PostgreSQL say soon that a table is held: everybody who comes after us waits as long as we do."""
    if connection.dialect.name == "postgresql":
        with connection.begin():
            _set_patience(connection, PATIENCE)


def create_index(name: str, table: str, columns: Sequence[str], **how: Any) -> None:
    """Create an index of a table that may be big; deliveries are kept while it is built.

    On PostgreSQL outside a transaction. What an attempt left behind that was cut short is taken away first. A SQLite
    file has one writer at a time: they wait, about a second for a million rows.
    """
    if op.get_bind().dialect.name != "postgresql":
        op.create_index(name, table, columns, **how)
        return
    with op.get_context().autocommit_block():
        # This waits for every transaction that is open, and holds up none.
        _set_patience(op.get_bind(), PATIENCE_BESIDE)
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.create_index(name, table, columns, postgresql_concurrently=True, **how)
        _set_patience(op.get_bind(), PATIENCE)


def _set_patience(connection: sa.Connection, length: str) -> None:
    connection.execute(sa.select(sa.func.set_config("lock_timeout", length, False)))
