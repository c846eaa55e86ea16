"""The packages of handlers that the suite drops into an installation."""

from pathlib import Path

ACME, LEDGER = "acme", "ledger"
HANDLER = '''"""Notes that it ran, as the handlers of the suite do."""

from bench.faults.handlers import write_down
from receiver import Event, on


@on("box:{trigger}")
def note(event: Event) -> None:
    """Note that it begins and ends."""
    write_down("begin", event)
    write_down("end", event)
'''


def write(folder: Path) -> None:
    """Write the packages: one that every worker loads, and one that only a second worker does."""
    for package, trigger in ((ACME, "FILE.COPIED"), (LEDGER, "FILE.MOVED")):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text("")
        (folder / package / "billing.py").write_text(HANDLER.format(trigger=trigger))
