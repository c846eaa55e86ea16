"""What a handler may import: `from receiver import Discard, Event, Retry, on`."""

from receiver.errors import Discard, Retry
from receiver.events import Event
from receiver.jobs.routing import on

__all__ = ["Discard", "Event", "Retry", "on"]
