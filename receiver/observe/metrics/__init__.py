"""What the processes count, minute by minute, in the database, so that any process can show the figures of all.

`start` begins to count, `read` and `read_handlers` return what was counted, `now` returns the present state.
"""

from receiver.observe.metrics.counters import Tally, prune, start, stop, write_last
from receiver.observe.metrics.gauges import CAP, Gauges, now
from receiver.observe.metrics.queries import (
    STEPS,
    WINDOWS,
    AlarmStats,
    HandlerStats,
    SourceStats,
    Stats,
    Total,
    read,
    read_alarms,
    read_handlers,
    read_totals,
    window,
)

__all__ = [
    "CAP",
    "STEPS",
    "WINDOWS",
    "AlarmStats",
    "Gauges",
    "HandlerStats",
    "SourceStats",
    "Stats",
    "Tally",
    "Total",
    "now",
    "prune",
    "read",
    "read_alarms",
    "read_handlers",
    "read_totals",
    "start",
    "stop",
    "window",
    "write_last",
]
