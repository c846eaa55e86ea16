"""Events of a given webhook, kept as if Box had delivered them."""

import json
import uuid
from datetime import datetime

from receiver.events import Delivery, Headers, Verified
from receiver.inbox.rows import Inbox
from receiver.sources import box


def arrive_from(inbox: Inbox, webhook_id: object, name: str, *, at: datetime, info: object = ()) -> str:
    """Keep an event of a webhook, and give its id."""
    payload = {
        "type": "webhook_event",
        "id": str(uuid.uuid4()),
        "created_at": at.isoformat(),
        "trigger": name,
        "webhook": {"id": webhook_id, "type": "webhook"},
        "source": {"id": "1", "type": "file"},
        "additional_info": info,
    }
    came = Delivery(source="box", body=json.dumps(payload).encode(), headers=Headers([]), received_at=at)
    return inbox.accept(came, box.parse(came), Verified("primary")).event_id
