"""What was refused: the room that it has, what it asked for, and bodies of which only the beginning is kept."""

import sqlalchemy as sa
from alembic import op

from receiver.storage.migrations import in_use

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    # What the release before writes has no room, and may be genuine.
    op.add_column("rejected", sa.Column("room", sa.String(length=10), server_default="formed", nullable=False))
    op.add_column("rejected", sa.Column("lane", sa.String(length=20), server_default="", nullable=False))
    op.add_column("rejected", sa.Column("status", sa.Integer(), server_default="401", nullable=False))
    op.add_column("rejected", sa.Column("method", sa.String(length=40), server_default="POST", nullable=False))
    op.add_column("rejected", sa.Column("path", sa.Text(), nullable=True))
    op.add_column("rejected", sa.Column("is_cut", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("rejected", sa.Column("announced", Number, nullable=True))
    in_use.create_index("ix_rejected_room", "rejected", ["room", "lane", "seq", "size"])


def downgrade() -> None:
    op.drop_index("ix_rejected_room", "rejected")
    for column in ("announced", "is_cut", "path", "method", "status", "lane", "room"):
        op.drop_column("rejected", column)
