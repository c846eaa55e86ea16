"""What has to be done so that Box has what the file wants, from the file, Box's list, and our own table."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from receiver.errors import RegistrationError
from receiver.registrations.manifest import Wanted
from receiver.registrations.rules import MOST_REGISTRATIONS, Content, Listed, Target, Webhook
from receiver.registrations.store import Kept

LOOKED_INTO = 50

Look = Callable[[str], Webhook | None]


class Why(Enum):
    """Why there is something to do, as it is shown."""

    NEW = "new in the file"
    DEAD = "Box removed it"
    GONE = "it is not at Box any more"
    FILE = "the file says otherwise"
    DRIFT = "drift: it was changed at Box"
    UNWANTED = "it is not in the file any more"
    PRUNED = "it is not in the file"


@dataclass(frozen=True, slots=True)
class Step:
    """One change at Box: `create` has no webhook yet, `delete` has no content for after it."""

    do: str
    why: Why
    target: Target
    webhook_id: str | None
    before: Content | None
    after: Content | None
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class MatchingWebhook:
    """A webhook that is as the file wants it; `was_seen` if Box was asked, and has changed it since we stored it."""

    webhook_id: str
    target: Target
    content: Content
    is_ours: bool
    was_seen: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps in the order to take them: deletions make room for creations."""

    steps: Sequence[Step]
    right: Sequence[MatchingWebhook]
    left_alone: Sequence[Listed]
    forgotten: Sequence[Target]
    at_box: int

    @property
    def on_trust(self) -> int:
        """How many were assumed to be as they were when Box was last asked."""
        return sum(not one.was_seen for one in self.right)


@dataclass(slots=True)
class _Draft:
    steps: dict[str, list[Step]] = field(default_factory=lambda: {"delete": [], "change": [], "create": []})
    right: list[MatchingWebhook] = field(default_factory=list)
    left_alone: list[Listed] = field(default_factory=list)

    def add(self, step: Step) -> None:
        self.steps[step.do].append(step)


def make(
    wanted: Sequence[Wanted],
    listed: Sequence[Listed],
    kept: Mapping[Target, Kept],
    look: Look,
    *,
    prune: bool = False,
    looked_into: int | None = LOOKED_INTO,
) -> Plan:
    """Return what has to be done.

    A list from Box has no addresses and triggers. `look` asks Box for one webhook, and returns None if it is gone. It
    is called for those of the file that are not known here, and for up to `looked_into` that are, first those that were
    not looked into for longest. A thousand registrations do not take a thousand calls.
    """
    draft = _Draft()
    pairs = _pair(wanted, _by_target(listed), kept, look, looked_into)
    chosen = _chosen(pairs, looked_into)
    for one, there, row in pairs:
        if there is None:
            draft.add(_creation(one, row))
        else:
            _compare(draft, one, there, row, look if one.target in chosen else None)
    present = {there.id for _, there, _ in pairs if there is not None}
    for other in listed:
        if other.id not in present:
            _judge_unwanted(draft, other, kept.get(other.target), look, prune=prune)
    _check_room(draft, listed)
    in_file = {one.target for one in wanted}
    deleted = {step.target for step in draft.steps["delete"]}
    forgotten = [target for target in kept if target not in in_file and target not in deleted]
    steps = [step for some in draft.steps.values() for step in some]
    return Plan(steps, draft.right, draft.left_alone, forgotten, len(listed))


_Pair = tuple[Wanted, Listed | None, Kept | None]


def _by_target(listed: Iterable[Listed]) -> Mapping[Target, Sequence[Listed]]:
    places = defaultdict(list)
    for one in listed:
        places[one.target].append(one)
    return places


def _pair(
    wanted: Sequence[Wanted],
    places: Mapping[Target, Sequence[Listed]],
    kept: Mapping[Target, Kept],
    look: Look,
    looked_into: int | None,
) -> list[_Pair]:
    """Return each wanted registration with the webhook on its target, and with its row.

    Box lists webhooks on items of this user only (https://developer.box.com/reference/get-webhooks/, as of 2026): one
    on an item of another user is found by its id. If its id is not known, `create` finds it by Box's refusal.
    """
    pairs, asked = [], 0
    for one in wanted:
        row = kept.get(one.target)
        there = _choose(places.get(one.target, ()), row)
        if there is None and row is not None and row.webhook_id is not None and row.state == "live":
            asked += 1
            found = look(row.webhook_id) if looked_into is None or asked <= looked_into else None
            there = Listed(found.id, found.target) if found and found.target == one.target else None
        pairs.append((one, there, row))
    return pairs


def _choose(here: Sequence[Listed], row: Kept | None) -> Listed | None:
    """Return the webhook of a target; if there are several, the one that is in our table."""
    first = here[0] if here else None
    return next((one for one in here if row and one.id == row.webhook_id), first)


def _chosen(pairs: Iterable[_Pair], looked_into: int | None) -> set[Target]:
    """Return which of the webhooks at Box are asked for one by one."""
    unknown: set[Target] = set()
    known: list[tuple[datetime, Target]] = []
    for one, there, row in pairs:
        if row and there and row.webhook_id == there.id and row.state == "live" and row.seen_at:
            known.append((row.seen_at, one.target))
        else:
            unknown.add(one.target)
    return unknown | {target for _, target in sorted(known)[:looked_into]}


def _creation(one: Wanted, row: Kept | None) -> Step:
    why = Why.NEW
    if row is not None and row.state == "dead":
        why = Why.DEAD
    elif row is not None and row.webhook_id is not None:
        why = Why.GONE
    return Step("create", why, one.target, None, None, one.content)


def _compare(draft: _Draft, one: Wanted, there: Listed, row: Kept | None, look: Look | None) -> None:
    found = look(there.id) if look else None
    if look and found is None:  # deleted since it was listed
        draft.add(_creation(one, row))
        return
    content = found.content if found else row.content if row else one.content
    is_ours = was_made_here(row, there, content)
    if content == one.content:
        draft.right.append(MatchingWebhook(there.id, one.target, content, is_ours, was_seen=found is not None))
        return
    is_drift = row is not None and row.webhook_id == there.id and row.content == one.content
    why = Why.DRIFT if is_drift else Why.FILE
    draft.add(Step("change", why, one.target, there.id, content, one.content, is_ours))


def was_made_here(row: Kept | None, there: Listed, content: Content | None) -> bool:
    """Return whether a webhook is ours: by its id, or because we were about to make it when we were interrupted."""
    if row is None:
        return False
    if row.webhook_id == there.id:
        return row.is_ours
    return row.is_asked_for and content == row.content


def _judge_unwanted(draft: _Draft, other: Listed, row: Kept | None, look: Look, *, prune: bool) -> None:
    """Plan for a webhook that the file does not name: it is deleted if it was made here, or with --prune."""
    is_asked_for = row is not None and row.is_asked_for and row.webhook_id != other.id
    found = look(other.id) if is_asked_for else None
    content = found.content if found else row.content if row and row.webhook_id == other.id else None
    is_ours = was_made_here(row, other, content)
    if is_ours or prune:
        why = Why.UNWANTED if is_ours else Why.PRUNED
        draft.add(Step("delete", why, other.target, other.id, content, None, is_ours))
    else:
        draft.left_alone.append(other)


def _check_room(draft: _Draft, listed: Sequence[Listed]) -> None:
    then = len(listed) - len(draft.steps["delete"]) + len(draft.steps["create"])
    if then > MOST_REGISTRATIONS:
        raise RegistrationError(
            [
                f"There would be {then:,} webhooks, and Box allows {MOST_REGISTRATIONS:,} at most for one user of an "
                f"application: {len(draft.left_alone):,} at Box are not in the file (--prune deletes them)."
            ]
        )
