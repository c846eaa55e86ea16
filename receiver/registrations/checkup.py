"""Compares what Box has with what is received here: when each webhook last delivered, and what looks wrong."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from receiver.registrations.arrivals import DELETED, EXPIRED, Arrivals, Heard, look_back
from receiver.registrations.plan import LOOKED_INTO
from receiver.registrations.rules import Listed, Target, Webhook
from receiver.registrations.store import Kept
from receiver.sources import box
from receiver.storage import db
from receiver.storage.tables import rejected

REJECTED_WITHIN = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class CheckedWebhook:
    """One webhook: what Box has (None if it does not have it), what it last delivered, and what is wrong."""

    webhook_id: str
    target: Target | None
    webhook: Webhook | None
    last: Heard | None
    problems: Sequence[str]


@dataclass(frozen=True, slots=True)
class Checkup:
    """All webhooks, and how far back their deliveries were searched.

    `refused` counts the deliveries of Box that were rejected within a day, by reason. `strangers` delivered here and
    are not of this account: samples, deleted webhooks, webhooks of another application.
    """

    checked: Sequence[CheckedWebhook]
    refused: Mapping[str, int]
    strangers: Sequence[str]
    arrivals: Arrivals

    @property
    def problems(self) -> Sequence[str]:
        """Return what is wrong besides the single webhooks."""
        return [_about_refused(reason, count) for reason, count in self.refused.items()]

    @property
    def is_well(self) -> bool:
        return not self.problems and not any(one.problems for one in self.checked)


def check_up(
    engine: sa.Engine,
    listed: Sequence[Listed],
    kept: Iterable[Kept],
    look: Callable[[str], Webhook | None],
    *,
    expected_address: str | None,
    now: datetime,
) -> Checkup:
    """Compare. `look` asks Box for one webhook: it is called for up to LOOKED_INTO that delivered nothing."""
    arrivals = look_back(engine)
    silent = [one.id for one in listed if one.id not in arrivals.by_webhook]
    whole = {id_: look(id_) for id_ in silent[:LOOKED_INTO]}
    checked = [_check(one, whole.get(one.id), arrivals, expected_address) for one in listed]
    at_box = {one.id for one in listed}
    checked += [_missing(one, arrivals) for one in kept if one.webhook_id and one.webhook_id not in at_box]
    named = {one.webhook_id for one in checked}
    strangers = sorted(id_ for id_ in arrivals.by_webhook if id_ not in named)
    return Checkup(checked, _count_refused(engine, now), strangers, arrivals)


def _check(one: Listed, webhook: Webhook | None, arrivals: Arrivals, expected: str | None) -> CheckedWebhook:
    last = arrivals.by_webhook.get(one.id)
    problems = []
    if last is not None and last.name == EXPIRED:
        problems.append(
            "The login that it was made with has expired: events come without their payload (NO_ACTIVE_SESSION). "
            "Sign in with credentials that last, and Box sends payloads again."
        )
    if last is not None and last.name == DELETED:
        problems.append("WEBHOOK.DELETED was received for it, but Box still has it: signalbox box apply.")
    if last is None and webhook is not None and expected is not None and webhook.content.address != expected:
        problems.append(f"It delivers to {webhook.content.address}, and nothing of it was received here ({expected}).")
    return CheckedWebhook(one.id, one.target, webhook, last, problems)


def _missing(row: Kept, arrivals: Arrivals) -> CheckedWebhook:
    why = f" ({row.reason})" if row.reason else ""
    problem = (
        f"Box removed it{why}: signalbox box apply makes it again."
        if row.state == "dead"
        else "It was made from the file, and is not at Box any more: signalbox box plan."
    )
    webhook_id = row.webhook_id or ""
    return CheckedWebhook(webhook_id, row.target, None, arrivals.by_webhook.get(webhook_id), [problem])


def _count_refused(engine: sa.Engine, now: datetime) -> dict[str, int]:
    reasons = sa.select(rejected.c.reason).where(
        rejected.c.source == box.NAME, rejected.c.received_at > now - REJECTED_WITHIN
    )
    with db.reading(engine) as connection:
        counts = Counter(connection.execute(reasons).scalars())
    return dict(counts.most_common())


def _about_refused(reason: str, count: int) -> str:
    number = "1 delivery" if count == 1 else f"{count:,} deliveries"
    return f"{number} of Box refused within a day, {reason}: signalbox rejected list --source box"
