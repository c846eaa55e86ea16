"""Dead letters that were discarded: they stay with their event, and nobody is told of them any more."""

import sqlalchemy as sa
from alembic import op

from receiver.storage.migrations import in_use

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("discarded_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("discarded_reason", sa.Text(), nullable=True))
    # The release before reads ix_jobs_dead, and calls discarded ones dead: they are taken away when it is gone.
    letters = sa.text("state = 'dead' AND discarded_at IS NULL")
    how = {"sqlite_where": letters, "postgresql_where": letters}
    in_use.create_index("ix_jobs_dead_letters", "jobs", ["handler", "id"], **how)


def downgrade() -> None:
    op.drop_index("ix_jobs_dead_letters", "jobs")
    for column in ("discarded_reason", "discarded_at"):
        op.drop_column("jobs", column)
