"""Registrations: what is to be at Box, what is there, what differs, and when each webhook last delivered."""

import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from pathlib import Path

from flask import Blueprint, current_app, render_template, request

from receiver import service
from receiver.errors import BoxError, RegistrationError, SettingsError
from receiver.outbound.addresses import address, as_variables, is_usual
from receiver.registrations import (
    SANDBOX_URL,
    Account,
    Checkup,
    Content,
    Heard,
    Kept,
    Kind,
    Listed,
    Plan,
    Step,
    Target,
    Wanted,
    Webhook,
    Why,
    account_of,
    as_webhook,
    check_up,
    list_kept,
    make,
    read,
    reading,
    usual_address,
)
from receiver.registrations.arrivals import DELETED
from receiver.runtime import threads
from receiver.service import engine
from receiver.web.auth import is_cross_origin
from receiver.web.page import now, wants_part
from receiver.web.pages import list_rows

registrations = Blueprint("registrations", __name__)

PATIENCE = timedelta(seconds=20)
_PAUSE = timedelta(milliseconds=200)
_ADVICE = "A shell has more patience: signalbox box plan."
SHOWN = 200
STRANGERS_SHOWN = 5

# What there is to do, as a mark and a sentence.
SAYS: Mapping[Why, tuple[str, str]] = {
    Why.NEW: ("waiting", "Not at Box yet: apply makes it."),
    Why.DEAD: ("dead", "Box removed it: apply makes it again."),
    Why.GONE: ("dead", "It is not at Box any more: apply makes it again."),
    Why.FILE: ("waiting", "The file says otherwise: apply changes it."),
    Why.DRIFT: ("drift", "Drift: it was changed at Box. Apply puts it right."),
    Why.UNWANTED: ("waiting", "The file does not name it any more: apply deletes it."),
    Why.PRUNED: ("waiting", "The file does not name it: it is deleted."),
}
_RANKS = {"dead": 0, "drift": 1, "waiting": 2, "done": 3, "none": 4}

Look = Callable[[str], Webhook | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One webhook, there or wanted: how it stands, what it is to tell of and where, and what last came of it."""

    mark: str
    says: Sequence[str]
    target: Target
    webhook_id: str | None = None
    content: Content | None = None
    before: Content | None = None
    row: Kept | None = None
    last: Heard | None = None
    do: str = ""

    @property
    def triggers(self) -> Sequence[tuple[str, str]]:
        """Give each trigger with what becomes of it: "+", "-" or "" where it stays."""
        return _changes(self.before.triggers if self.before else None, self.content.triggers if self.content else ())

    @property
    def addresses(self) -> Sequence[tuple[str, str]]:
        return _changes(
            (self.before.address,) if self.before else None, (self.content.address,) if self.content else ()
        )

    @property
    def rank(self) -> tuple[int, Target]:
        return _RANKS[self.mark], self.target


def _changes(before: Sequence[str] | None, after: Sequence[str]) -> Sequence[tuple[str, str]]:
    if before is None:
        return [("", one) for one in after]
    there = [("" if one in after else "-", one) for one in before]
    return there + [("+", one) for one in after if one not in before]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The file beside what is at Box: as Box says, or as it was when Box was last asked."""

    plan: Plan
    checkup: Checkup
    lines: Sequence[Line]

    @property
    def counts(self) -> Sequence[tuple[str, int]]:
        steps = [step.do for step in self.plan.steps]
        return [(do, steps.count(do)) for do in ("create", "change", "delete") if do in steps]


@registrations.get("/registrations")
def page() -> str:
    """Show what the file and the database know, at once; `ask=box` asks Box itself, which takes as long as it takes."""
    # A page elsewhere that only leads here may not make us call Box.
    is_asked = request.args.get("ask") == "box" and not is_cross_origin()
    account, trouble = _account()
    wanted, mistakes = _wanted()
    kept = list_kept(engine())
    shown: Comparison | None = None
    failed: str | None = None
    if is_asked and account is not None and not mistakes:
        try:
            shown = _ask_box(account, wanted, kept)
        except (BoxError, RegistrationError, SettingsError) as error:
            failed = str(error)
    was_asked = shown is not None
    if shown is None:
        shown = _from_here(_as_applied(kept) if mistakes else wanted, kept)
    return render_template(
        "_registrations.html" if wants_part("compared") else "registrations.html",
        shown=shown,
        lines=shown.lines[:SHOWN],
        hidden=len(shown.lines) - SHOWN,
        was_asked=was_asked,
        failed=failed,
        refused=[(list_rows.reason(reason), count) for reason, count in shown.checkup.refused.items()],
        mistakes=mistakes,
        trouble=trouble,
        account=account,
        is_short_lived=account is not None and account.kind is Kind.DEVELOPER_TOKEN,
        is_off=not service.current().gates["box"].keys,
        api_url=account.api_url if account else current_app.config["BOX_API_URL"],
        env=current_app.config["ENV"],
        file=_short(current_app.config["BOX_WEBHOOKS_FILE"]),
        usual=usual_address(current_app.config),
        wanted=len(wanted),
        set_here=_set_here(account),
        strangers=[(one, _is_removed(one, shown)) for one in shown.checkup.strangers[:STRANGERS_SHOWN]],
        patience=int(PATIENCE.total_seconds()),
    )


def _is_removed(webhook_id: str, shown: Comparison) -> bool:
    """Say whether the last that came of a webhook was that Box gave it up."""
    return shown.checkup.arrivals.by_webhook[webhook_id].name == DELETED


def _account() -> tuple[Account | None, SettingsError | None]:
    try:
        return account_of(current_app.config), None
    except SettingsError as error:
        return None, error


def _wanted() -> tuple[list[Wanted], Sequence[str]]:
    """Give what the file wants; where it is not right, nothing and its mistakes."""
    try:
        # A trigger that nobody knows may be meant: applying asks about it, showing need not.
        return read(current_app.config["BOX_WEBHOOKS_FILE"], reading(current_app.config, allow_unknown=True)), ()
    except RegistrationError as error:
        return [], error.problems


def _as_applied(kept: Mapping[Target, Kept]) -> list[Wanted]:
    """Give what the file wanted when it was last applied."""
    return [Wanted(one.target, one.content) for one in kept.values()]


def _ask_box(account: Account, wanted: Sequence[Wanted], kept: Mapping[Target, Kept]) -> Comparison:
    """Compare with what Box says now; raises the BoxError with which it does not."""
    # The SDK takes a third of a second to load, and most processes never need it.
    threads.load("receiver.registrations.client", "receiver.registrations.apply")
    from receiver.registrations.apply import look_at
    from receiver.registrations.client import WebhookClient

    with WebhookClient(account, pause=_PAUSE, within=PATIENCE, advice=_ADVICE) as client:
        return _compare(wanted, list(client.list()), kept, cache(partial(look_at, client)))


def _from_here(wanted: Sequence[Wanted], kept: Mapping[Target, Kept]) -> Comparison:
    """Compare with what Box had when it was last asked."""
    there = [one for one in map(as_webhook, kept.values()) if one is not None]
    by_id = {one.id: one for one in there}
    return _compare(wanted, there, kept, by_id.get)


def _compare(wanted: Sequence[Wanted], listed: Sequence[Listed], kept: Mapping[Target, Kept], look: Look) -> Comparison:
    plan = make(wanted, listed, kept, look)
    usual = usual_address(current_app.config)
    checkup = check_up(engine(), listed, kept.values(), look, expected_address=usual, now=now())
    return Comparison(plan, checkup, sorted(_lines(plan, checkup, kept), key=lambda line: line.rank))


def _lines(plan: Plan, checkup: Checkup, kept: Mapping[Target, Kept]) -> Iterator[Line]:
    checked = {one.webhook_id: one for one in checkup.checked}
    heard = checkup.arrivals.by_webhook
    for step in plan.steps:
        yield _to_do(step, kept.get(step.target), heard)
    for one in plan.right:
        wrong = checked[one.webhook_id].problems if one.webhook_id in checked else ()
        yield Line(
            mark="dead" if wrong else "done",
            says=wrong or ["As the file wants it."],
            target=one.target,
            webhook_id=one.webhook_id,
            content=one.content,
            row=kept.get(one.target),
            last=heard.get(one.webhook_id),
        )
    for other in plan.left_alone:
        found = checked[other.id]
        yield Line(
            # That it delivers elsewhere is somebody else's business.
            mark="dead" if found.problems and found.last else "none",
            says=[*found.problems, "Not in the file, and not made from it: left alone."],
            target=other.target,
            webhook_id=other.id,
            content=found.webhook.content if found.webhook else None,
            last=found.last,
        )
    for target in plan.forgotten:
        row = kept[target]
        says = ["It is not at Box, and the file does not name it any more: the next apply forgets it."]
        last = heard.get(row.webhook_id or "")
        yield Line(mark="none", says=says, target=target, webhook_id=row.webhook_id, row=row, last=last)


def _to_do(step: Step, row: Kept | None, heard: Mapping[str, Heard]) -> Line:
    mark, says = SAYS[step.why]
    webhook_id = step.webhook_id or (row.webhook_id if row else None)
    return Line(
        mark=mark,
        says=[says],
        target=step.target,
        webhook_id=webhook_id,
        content=step.after or step.before,
        before=step.before if step.after else None,
        row=row,
        last=heard.get(webhook_id or ""),
        do=step.do,
    )


def _set_here(account: Account | None) -> str:
    """Give what has to stand before `signalbox box` in another shell, where our own says what that lacks."""
    config = current_app.config
    if config["ENV"] != "development":
        return ""
    base = address(config["HOST"], config["PORT"])
    ours = "" if config["PUBLIC_URL"] or not config["PORT"] or is_usual(base) else as_variables(base)
    is_found = account is not None and account.kind is Kind.SANDBOX and account.api_url == SANDBOX_URL
    is_told = "BOX_API_URL" in os.environ and not is_found
    return ours + (f"BOX_API_URL={shlex.quote(config['BOX_API_URL'])} " if is_told else "")


def _short(path: Path) -> str:
    """Write the file as somebody in the project's folder would."""
    folder = Path.cwd()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
