"""What happens to a database under running processes: deleted and put back, read-only and back, standing still."""

import os
import random
import time
from pathlib import Path

from bench.faults.installation import PATIENCE_SECONDS, Installation
from bench.sites import until

AWAY_SECONDS = 5
STALLED_SECONDS = 25  # longer than anybody waits for a database


def delete(site: Installation, _rng: random.Random) -> None:
    """Delete the SQLite file with its WAL until deliveries are refused and for a while after; then put both back."""
    place = Path(str(site.engine.url.database))
    files = [path for path in (place, place.with_name(f"{place.name}-wal")) if path.exists()]
    kept = [path.with_name(f"{path.name}.kept") for path in files]
    refused = site.count_refused()
    for path, other in zip(files, kept, strict=True):
        os.link(path, other)
    for path in reversed(files):
        path.unlink()
    until(lambda: site.count_refused() > refused, "deliveries are refused", seconds=PATIENCE_SECONDS)
    time.sleep(AWAY_SECONDS)
    site.engine.dispose()
    for path, other in zip(files, kept, strict=True):
        other.replace(path)


def make_read_only(site: Installation, _rng: random.Random) -> None:
    """Have PostgreSQL refuse every write, as a server does that has become a standby, and take them again."""
    assert site.postgres  # noqa: S101 - applies there only
    refused = site.count_refused()
    site.postgres.set("default_transaction_read_only", "on")
    until(lambda: site.count_refused() > refused, "deliveries are refused", seconds=PATIENCE_SECONDS)
    time.sleep(AWAY_SECONDS)
    site.postgres.set("default_transaction_read_only", "off")


def stall(site: Installation, _rng: random.Random) -> None:
    """Stop all processes of PostgreSQL where they are, so that connections stay and nobody says a word."""
    assert site.postgres  # noqa: S101 - applies there only
    with site.postgres.stopped():
        time.sleep(STALLED_SECONDS)
