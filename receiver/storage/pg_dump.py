"""Backups of PostgreSQL: `pg_dump` writes one of the moment at which rows were counted, then it is verified."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa

from receiver.errors import BackupError

_COPY = re.compile(rb"COPY (?:\w+\.)?\"?(\w+)\"? \(.*\) FROM stdin;\n")


def dump(engine: sa.Engine, partial: Path) -> Mapping[str, int]:
    """Write a dump in PostgreSQL's custom format and return its counts of rows; BackupError if a program is missing."""
    pg_dump, pg_restore = _program("pg_dump"), _program("pg_restore")
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
        snapshot = connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one()
        names = sa.inspect(connection).get_table_names()
        rows = {
            name: connection.execute(sa.select(sa.func.count()).select_from(sa.table(name))).scalar_one()
            for name in names
        }
        words = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", f"--file={partial}"]
        _run([pg_dump, *words, f"--dbname={_address(engine)}"], engine)
    written = _rows_of(pg_restore, partial)
    if written != rows:
        raise BackupError("the dump has other numbers of rows than the database: it was deleted")
    return rows


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise BackupError(f"PostgreSQL is backed up by {name}, which is not installed here: install postgresql-client")
    return found


def _address(engine: sa.Engine) -> str:
    return engine.url.set(
        drivername="postgresql", password=None
    ).render_as_string()  # ps shows a program's arguments to everybody


def _environment(engine: sa.Engine) -> dict[str, str]:
    password = engine.url.password
    return {**os.environ, "PGPASSWORD": str(password)} if password else {**os.environ}


def _run(words: list[str], engine: sa.Engine) -> None:
    done = subprocess.run(words, env=_environment(engine), capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise BackupError(f"pg_dump failed: {' '.join(said)}")


def _rows_of(pg_restore: str, file: Path) -> dict[str, int]:
    """Read all of a dump, and return the count of rows of each table."""
    rows: dict[str, int] = {}
    table = None
    words = [pg_restore, "--data-only", "--file=-", str(file)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as reading:  # noqa: S603
        for line in reading.stdout or ():
            if table is not None:
                if line == b"\\.\n":
                    table = None
                else:
                    rows[table] += 1
            elif found := _COPY.fullmatch(line):
                table = found[1].decode()
                rows[table] = 0
    if reading.returncode:
        raise BackupError("pg_restore cannot read the dump: it was deleted")
    return rows
