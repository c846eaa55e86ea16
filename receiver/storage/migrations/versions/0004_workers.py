"""Workers: which of them run, and what each has loaded."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", Number, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("loaded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("loaded", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    # May be null: the release before writes rows without them, until the last of its workers is gone.
    op.add_column("handlers", sa.Column("packages", sa.JSON(), nullable=True))
    op.add_column("handlers", sa.Column("had_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("handlers", "had_at")
    op.drop_column("handlers", "packages")
    op.drop_table("workers")
