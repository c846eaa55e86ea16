"""Every page that there is, by name, with an address of the working day's installation."""

from typing import Any
from urllib.parse import urlencode

import httpx2 as httpx

from tests.acceptance.service import Service
from tests.waiting import PATIENCE_SECONDS


def places(service: Service) -> dict[str, str]:
    """Give the addresses; those of single things are of the newest that has something to show.

    Those of the sandbox, which serves its pages itself, are whole.
    """
    uploaded, dead = _newest(service, "events", type="box:FILE.UPLOADED"), _newest(service, "events", state="dead")
    drifting, refused = _newest(service, "events", state="drift"), _newest(service, "rejected", q="FILE.UPLOADED")
    repeated = next(one for one in _items(service, "events", type="box:FILE.UPLOADED") if one["deliveries"] > 1)
    sandbox = service.environ["BOX_API_URL"]
    of_shop = {one["method"]: one["id"] for one in reversed(_items(service, "bins/lamp-shop/captures"))}
    return {
        "inbox": f"/events/{repeated['id']}",
        "inbox-hints": "/",
        "inbox-filtered": "/?source=box&type=box%3AFILE.*&since=24h&q=Depot",
        "inbox-problem": "/?since=yesterday&type=nothing",
        "event-raw": f"/events/{uploaded['id']}?tab=raw",
        "event-hex": f"/events/{uploaded['id']}?tab=raw&as=hex",
        "event-headers": f"/events/{uploaded['id']}?tab=headers",
        "event-deliveries": f"/events/{repeated['id']}?tab=deliveries",
        "event-jobs": f"/events/{dead['id']}?tab=jobs",
        "event-drift": f"/events/{drifting['id']}",
        "diff": f"/events/{repeated['id']}/diff",
        "rejected": f"/rejected/{refused['id']}",
        "quarantine": f"/quarantine/{_newest(service, 'quarantine')['id']}",
        "bins": "/bins",
        "bin": f"/bins/lamp-shop/captures/{of_shop['POST']}",
        "bin-binary": f"/bins/lamp-shop/captures/{of_shop['PUT']}",
        "bin-setup": "/bins/slow-partner/setup",
        "send": "/send?source=box&name=FOLDER.CREATED",
        "handlers": "/handlers",
        "handler": "/handlers/office.crm.sync_access",
        "registrations": "/registrations",
        "registrations-asked": "/registrations?ask=box",
        "stats": "/stats",
        "api": "/api/docs",
        "error": "/events/none-of-this-name",
        "sandbox": f"{sandbox}/?item=folder:1200",
        "sandbox-file": f"{sandbox}/?item=file:1600000003",
        "sandbox-filestack": f"{sandbox}/?item=filestack",
        "sandbox-faults": f"{sandbox}/faults",
    }


def _items(service: Service, what: str, **filters: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{service.url}/api/{what}?{urlencode(filters)}", trust_env=False, timeout=PATIENCE_SECONDS)
    items: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
    return items


def _newest(service: Service, what: str, **filters: str) -> dict[str, Any]:
    return _items(service, what, **filters)[0]
