"""Alembic's entry: runs the migrations on the connection that `receiver.storage.db.upgrade` hands over."""

from alembic import context

from receiver.storage.migrations.in_use import prepare
from receiver.storage.tables import metadata

connection = context.config.attributes["connection"]
prepare(connection)
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=True,
    # Each migration is whole or not there, on SQLite too: `receiver.storage.db` begins the transactions itself.
    transaction_per_migration=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
