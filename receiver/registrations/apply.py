"""Carries out a plan at Box, one call at a time; it may end anywhere, and the next run goes on from there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from receiver.errors import BoxError
from receiver.registrations import store
from receiver.registrations.client import WebhookClient
from receiver.registrations.plan import Plan, Step, was_made_here
from receiver.registrations.rules import Content, Target, Webhook

# What Box finds wrong with one webhook says nothing about the others; after any other error they would fail too.
_OF_ONE = (400, 404, 409)


@dataclass(frozen=True, slots=True)
class Done:
    """How one step went: the id of the webhook, or what prevented it."""

    step: Step
    webhook_id: str | None
    error: BoxError | None = None


def look_at(client: WebhookClient, webhook_id: str) -> Webhook | None:
    """Return a webhook, or None if it no longer exists."""
    try:
        return client.get(webhook_id)
    except BoxError as error:
        if error.status == 404:
            return None
        raise


def carry_out(
    client: WebhookClient, engine: sa.Engine, plan: Plan, *, clock: Callable[[], datetime], told: Callable[[Done], None]
) -> Sequence[Done]:
    """Take every step, and report each to `told`; raises the BoxError after which no other step could work."""
    _note_what_is_right(engine, plan, clock())
    stay = {one.target for one in plan.right} | {step.target for step in plan.steps if step.after}
    done = []
    for step in plan.steps:
        try:
            one = Done(step, _take(client, engine, step, clock, stays=step.target in stay))
        except BoxError as error:
            if error.status not in _OF_ONE:
                raise
            one = Done(step, step.webhook_id, error)
        done.append(one)
        told(one)
    return done


def _note_what_is_right(engine: sa.Engine, plan: Plan, now: datetime) -> None:
    for one in plan.right:
        if one.was_seen:
            store.note(engine, one.target, one.content, webhook_id=one.webhook_id, is_ours=one.is_ours, now=now)
    for target in plan.forgotten:
        store.forget(engine, target)


def _take(
    client: WebhookClient, engine: sa.Engine, step: Step, clock: Callable[[], datetime], *, stays: bool
) -> str | None:
    if step.after is None:
        _delete(client, step)
        if not stays:  # as it does if an item had two webhooks, and one of them was deleted
            store.forget(engine, step.target)
        return step.webhook_id
    if step.webhook_id is None:
        return create(client, engine, step.target, step.after, clock=clock)
    if not step.is_ours and step.before is not None:
        _note_whose(engine, step, step.before, webhook_id=step.webhook_id, now=clock())
    client.update(step.webhook_id, address=step.after.address, triggers=step.after.triggers)
    store.note(engine, step.target, step.after, webhook_id=step.webhook_id, is_ours=step.is_ours, now=clock())
    return step.webhook_id


def _note_whose(engine: sa.Engine, step: Step, before: Content, *, webhook_id: str, now: datetime) -> None:
    """Record before the call that it is not ours: after it, it would look like what we were about to make."""
    store.note(engine, step.target, before, webhook_id=webhook_id, is_ours=False, now=now, was_seen=False)


def _delete(client: WebhookClient, step: Step) -> None:
    try:
        client.delete(step.webhook_id or "")
    except BoxError as error:
        if error.status != 404:  # another process was quicker
            raise


def create(
    client: WebhookClient, engine: sa.Engine, target: Target, content: Content, *, clock: Callable[[], datetime]
) -> str:
    """Make a webhook and return its id; one that exists already is changed to what is wanted."""
    before = store.intend(engine, target, content, now=clock())
    try:
        webhook_id, is_ours = client.create(target, content).id, True
    except BoxError as error:
        if not error.is_in_doubt:
            store.take_back(engine, target, before)
        if error.existing_id is None:
            raise
        there = client.get(error.existing_id)
        if there.target != target:
            raise
        # In doubt, this very call may have made it before Box returned an error and the SDK retried.
        is_ours = was_made_here(before, there, there.content) or (error.is_in_doubt and there.content == content)
        webhook_id = _take_over(client, engine, there, content, is_ours=is_ours, now=clock())
    store.note(engine, target, content, webhook_id=webhook_id, is_ours=is_ours, now=clock())
    return webhook_id


def _take_over(
    client: WebhookClient, engine: sa.Engine, there: Webhook, content: Content, *, is_ours: bool, now: datetime
) -> str:
    """Change an existing webhook to what is wanted; whose it is is recorded before, as nothing shows it afterwards."""
    if there.content != content:
        store.note(engine, there.target, there.content, webhook_id=there.id, is_ours=is_ours, now=now)
        client.update(there.id, address=content.address, triggers=content.triggers)
    return there.id
