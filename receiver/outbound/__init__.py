"""Requests that we make: one client, with one deadline for a whole exchange, and limits for all that is received.

Far ends are silent, send a byte a second, send 100 Continue or a body without end, gzip bombs, and JSON of any shape.
The result of each is a Reply, or an OutboundError of one line.
"""

from receiver.outbound.client import Client, parse
from receiver.outbound.connections import Resolve, resolve
from receiver.outbound.replies import OutboundError, Reply, Trouble, read_json

__all__ = ["Client", "OutboundError", "Reply", "Resolve", "Trouble", "parse", "read_json", "resolve"]
