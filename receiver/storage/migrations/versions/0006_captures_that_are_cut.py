"""Captures of which only the beginning of the body is kept."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("captures", sa.Column("is_cut", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("captures", sa.Column("announced", Number, nullable=True))


def downgrade() -> None:
    for column in ("announced", "is_cut"):
        op.drop_column("captures", column)
