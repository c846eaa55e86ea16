"""A release that is yet to come: the same, with migrations that add a column and an index to `events` and to `jobs`."""

import shutil
from pathlib import Path

from config import ROOT

CODE = ("config", "handlers", "receiver")
FILES = ("wsgi.py", "Procfile", "pyproject.toml")

MIGRATION = '''"""A column and an index of {table}, added while it is in use."""

import sqlalchemy as sa
from alembic import op

from receiver.storage.migrations import in_use

revision = "later_{number}"
down_revision = {before!r}
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("{table}", sa.Column("weight", sa.Integer(), server_default="0", nullable=False))
    in_use.create_index("ix_{table}_weight", "{table}", ["weight", "{key}"])
'''


def make(folder: Path) -> Path:
    """Put the later release into a folder, and give that."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in CODE:
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in FILES:
        shutil.copyfile(ROOT / name, folder / name)
    add_migrations(folder / "receiver" / "storage" / "migrations")
    return folder


def add_migrations(migrations: Path) -> None:
    before = max(path.name[:4] for path in (migrations / "versions").glob("[0-9]*.py"))
    for number, (table, key) in enumerate((("events", "seq"), ("jobs", "id")), 1):
        text = MIGRATION.format(table=table, key=key, number=number, before=before)
        (migrations / "versions" / f"later_{number}.py").write_text(text)
        before = f"later_{number}"
