"""Registrations at Box: as a file wants them, as Box has them, as they were made from here, and what arrives.

`receiver.box_webhooks.client` and `.doing` speak to Box, and load Box's SDK: import them where they are needed.
"""

from receiver.box_webhooks.account import SANDBOX_URL, Account, Kind, account_of
from receiver.box_webhooks.arrivals import Arrivals, Heard, look_back
from receiver.box_webhooks.checkup import Checked, Checkup, check_up
from receiver.box_webhooks.here import reading, usual_address
from receiver.box_webhooks.kept import Kept, as_webhook, list_kept
from receiver.box_webhooks.plan import LOOKED_INTO, Found, Plan, Step, Why, make
from receiver.box_webhooks.rules import Content, Listed, Target, Webhook
from receiver.box_webhooks.sentinel import Sentinel
from receiver.box_webhooks.wanted import Reading, Wanted, add, check, read

__all__ = [
    "LOOKED_INTO",
    "SANDBOX_URL",
    "Account",
    "Arrivals",
    "Checked",
    "Checkup",
    "Content",
    "Found",
    "Heard",
    "Kept",
    "Kind",
    "Listed",
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
