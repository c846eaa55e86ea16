"""Box's errors in our own words, with what fixes them. The SDK's texts show whole requests, and are not used."""

import re
from collections.abc import Mapping
from typing import Any

from receiver.errors import BoxError
from receiver.humanize import plain

# Seen in 2026: Box returns the id of the existing webhook only in the sentence "Webhook:123 already exists on the
# specified target."
_EXISTING = re.compile(r"webhook:?\s*([0-9]{1,20})", re.IGNORECASE)
_MOST_ERRORS = 20


def refusal(status: int, answer: Mapping[str, Any], *, wish: str, about: str) -> BoxError:
    """Return the error for a status: `wish` is what was to be done, `about` the webhook or its target."""
    message = answer.get("message")
    said = _details(answer) or plain(message if isinstance(message, str) else "")
    match status:
        case 403:
            words = (
                f'Box forbids to {wish}. Tick the scope "Manage webhooks" of the application in the developer console, '
                "have an admin authorise it again, and see that this user may use the item."
            )
        case 404:
            words = f"Box has no {about} that this account can see."
        case 409:
            return _taken(said, about)
        case 429:
            words = "Box reports too many calls, also after waiting. Try again in a minute."
        case _ if status >= 500:
            words = f"Box itself has a problem ({status}), also after waiting. Try again later."
        case _:
            words = f"Box refuses to {wish} ({status}): {said}"
    return BoxError(words, status=status)


def _taken(said: str, about: str) -> BoxError:
    found = _EXISTING.search(said)
    existing = found[1] if found else None
    words = (
        f"There is a webhook on {about} already{f', {existing}' if existing else ''}: an item has one for each "
        "application and user. signalbox box update changes it."
    )
    return BoxError(words, status=409, existing_id=existing)


def _details(answer: Mapping[str, Any]) -> str:
    """Return what Box says about each field."""
    context = answer.get("context_info")
    errors = context.get("errors") if isinstance(context, dict) else None
    if not isinstance(errors, list):
        return ""
    found = [one for one in errors[:_MOST_ERRORS] if isinstance(one, dict)]
    return plain(" ".join(f"{plain(one.get('name'))}: {plain(one.get('message'))}" for one in found))
