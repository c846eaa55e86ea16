"""What the pages show: handlers, bins, captures, tallies."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "handlers",
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("module", sa.String(length=250), nullable=False),
        sa.Column("patterns", sa.JSON(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("trouble", sa.Text(), nullable=True),
        sa.Column("loaded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_handlers")),
    )
    op.create_table(
        "bins",
        sa.Column("seq", Number, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("is_auto", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("delay_ms", sa.Integer(), nullable=False),
        sa.Column("fail_every", sa.Integer(), nullable=False),
        sa.Column("fail_status", sa.Integer(), nullable=False),
        sa.Column("keep_count", sa.Integer(), nullable=False),
        sa.Column("keep_seconds", sa.Integer(), nullable=True),
        sa.Column("secret_digest", sa.String(length=64), nullable=True),
        sa.Column("captured", Number, server_default="0", nullable=False),
        sa.Column("captured_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_bins")),
        sa.UniqueConstraint("name", name=op.f("uq_bins_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "captures",
        sa.Column("seq", Number, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("bin", sa.String(length=60), nullable=False),
        sa.Column("number", Number, nullable=False),
        sa.Column("captured_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("method", sa.String(length=40), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("client", sa.String(length=60), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("headers", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["bin"], ["bins.name"], name=op.f("fk_captures_bin"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_captures")),
        sa.UniqueConstraint("id", name=op.f("uq_captures_id")),
        sa.UniqueConstraint("bin", "number", name=op.f("uq_captures_bin_number")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "tallies",
        sa.Column("seq", Number, autoincrement=True, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("subject", sa.String(length=250), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("count", Number, nullable=False),
        sa.Column("milliseconds", sa.Float(), nullable=False),
        sa.Column("spread", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_tallies")),
        sa.UniqueConstraint(
            "step",
            "kind",
            "began_at",
            "subject",
            "outcome",
            name=op.f("uq_tallies_step_kind_began_at_subject_outcome"),
        ),
    )
    is_dead = sa.text("state = 'dead'")
    op.create_index("ix_jobs_dead", "jobs", ["handler", "id"], sqlite_where=is_dead, postgresql_where=is_dead)
    is_held = sa.text("state = 'waiting' AND due_at IS NULL")
    op.create_index("ix_jobs_held", "jobs", ["handler", "id"], sqlite_where=is_held, postgresql_where=is_held)


def downgrade() -> None:
    op.drop_index("ix_jobs_held", "jobs")
    op.drop_index("ix_jobs_dead", "jobs")
    for table in ("tallies", "captures", "bins", "handlers"):
        op.drop_table(table)
