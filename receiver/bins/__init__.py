"""Bins, which record any request, and their captures: the only writer of both tables, and their JSON."""

from receiver.bins.captures import Capture, Request, captures_after, list_captures, read_capture, show_capture
from receiver.bins.names import is_name, suggest
from receiver.bins.recording import MOST_AUTO_BINS, BinResponse, Recorder, Secret, record, secret_of
from receiver.bins.setup import SERVERS_OWN, STANDARD_BODY, Changes, check
from receiver.bins.store import Item, ItemPage, change, clear, create, delete, list_bins, prune, show_bin

__all__ = [
    "MOST_AUTO_BINS",
    "SERVERS_OWN",
    "STANDARD_BODY",
    "BinResponse",
    "Capture",
    "Changes",
    "Item",
    "ItemPage",
    "Recorder",
    "Request",
    "Secret",
    "captures_after",
    "change",
    "check",
    "clear",
    "create",
    "delete",
    "is_name",
    "list_bins",
    "list_captures",
    "prune",
    "read_capture",
    "record",
    "secret_of",
    "show_bin",
    "show_capture",
    "suggest",
]
