"""Requests that we make: one client, with one deadline for all of an exchange, and bounds for all that comes back.

Far ends are silent, send a byte a second, send 100 Continue or a body without end, bombs in gzip, and JSON of any
shape. What comes of each is a Reply, or an OutboundError of one line.
"""

from receiver.outbound.client import Client, parse
from receiver.outbound.connections import Resolve, resolve
from receiver.outbound.replies import OutboundError, Reply, Trouble, read_json

__all__ = ["Client", "OutboundError", "Reply", "Resolve", "Trouble", "parse", "read_json", "resolve"]
