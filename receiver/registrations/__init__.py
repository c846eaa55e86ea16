"""Webhooks at Box: as a file wants them, as Box has them, as they were made from here, and what they deliver.

`receiver.registrations.client` and `.apply` call Box, and load Box's SDK: import them where they are needed.
"""

from receiver.registrations.account import SANDBOX_URL, Account, Kind, account_of
from receiver.registrations.arrivals import Arrivals, Heard, look_back
from receiver.registrations.checkup import CheckedWebhook, Checkup, check_up
from receiver.registrations.defaults import reading, usual_address
from receiver.registrations.deletion_watcher import Sentinel
from receiver.registrations.manifest import Reading, Wanted, add, check, read
from receiver.registrations.plan import LOOKED_INTO, MatchingWebhook, Plan, Step, Why, make
from receiver.registrations.rules import Content, Listed, Target, Webhook
from receiver.registrations.store import Kept, as_webhook, list_kept

__all__ = [
    "LOOKED_INTO",
    "SANDBOX_URL",
    "Account",
    "Arrivals",
    "CheckedWebhook",
    "Checkup",
    "Content",
    "Heard",
    "Kept",
    "Kind",
    "Listed",
    "MatchingWebhook",
    "Plan",
    "Reading",
    "Sentinel",
    "Step",
    "Target",
    "Wanted",
    "Webhook",
    "Why",
    "account_of",
    "add",
    "as_webhook",
    "check",
    "check_up",
    "list_kept",
    "look_back",
    "make",
    "read",
    "reading",
    "usual_address",
]
