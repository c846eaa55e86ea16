"""How plans, what came of them, and check-ups look on the screen and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.text import Text

from receiver import humanize
from receiver.cli import screen
from receiver.observe.documents import iso
from receiver.registrations import CheckedWebhook, Checkup, Content, Kept, Plan, Step, Target

if TYPE_CHECKING:
    from receiver.registrations.apply import Done

_MARKS = {"create": ("+", "green"), "change": ("~", "yellow"), "delete": ("-", "red")}
_DID = {"create": "created", "change": "changed", "delete": "deleted"}
_SHOWN_STRANGERS = 5


def whole_plan(plan: Plan, kept: Mapping[Target, Kept], now: datetime) -> Iterator[RenderableType]:
    """Give a plan as a diff: what Box has with `-`, what it is to have with `+`."""
    for step in plan.steps:
        yield _title(step, kept.get(step.target), now)
        yield from _diff(step)
        yield Text("")
    yield Text(_summary(plan), style="bold")
    if plan.left_alone:
        count = humanize.count(len(plan.left_alone), "webhook")
        yield Text(f"{count} at Box, neither in the file nor made from it, left alone (--prune deletes them).", "dim")
    if plan.on_trust:
        yield Text(f"{plan.on_trust:,} taken as they were when Box was last asked (--full asks about each).", "dim")


def _title(step: Step, row: Kept | None, now: datetime) -> Text:
    mark, style = _MARKS[step.do]
    why = step.why.value
    if row is not None and row.died_at is not None and step.do == "create":
        why += f" {humanize.ago(row.died_at, now)}{f' ({row.reason})' if row.reason else ''}, and it is made again"
    return Text.assemble(
        (f"{mark} {step.do} ", style),
        screen.styled(step.target, f"bold {style}"),
        screen.styled(f"  webhook {step.webhook_id}" if step.webhook_id else "", "dim"),
        screen.styled(f"  {why}", "dim"),
    )


def _diff(step: Step) -> Iterator[Text]:
    before, after = step.before, step.after
    yield from _lines("address", [before.address] if before else [], [after.address] if after else [])
    yield from _lines("triggers", before.triggers if before else (), after.triggers if after else ())


def _lines(name: str, before: Sequence[str], after: Sequence[str]) -> Iterator[Text]:
    """Give what goes, what comes and what stays, one a line; of an address that stays, nothing."""
    if before == after and name == "address":
        return
    for number, one in enumerate(sorted({*before, *after}, key=lambda one: (one in after, one))):
        mark, style = ("-", "red") if one not in after else ("+", "green") if one not in before else (" ", "dim")
        yield Text.assemble((f"    {name if number == 0 else '':<9}", "dim"), screen.styled(f"{mark} {one}", style))


def _summary(plan: Plan) -> str:
    counts = {do: sum(step.do == do for step in plan.steps) for do in _MARKS}
    parts = [f"{count} to {do}" for do, count in counts.items() if count] + [f"{len(plan.right)} as wanted"]
    return ", ".join(parts) + f"; {humanize.count(plan.at_box, 'webhook')} at Box."


def plan_item(plan: Plan) -> dict[str, Any]:
    return {
        "steps": [_step_item(step) for step in plan.steps],
        "right": len(plan.right),
        "on_trust": plan.on_trust,
        "left_alone": [{"id": one.id, "target": str(one.target)} for one in plan.left_alone],
        "at_box": plan.at_box,
    }


def _step_item(step: Step) -> dict[str, Any]:
    return {
        "do": step.do,
        "why": step.why.name.lower(),
        "target": str(step.target),
        "id": step.webhook_id,
        "before": _content_item(step.before),
        "after": _content_item(step.after),
    }


def _content_item(content: Content | None) -> dict[str, Any] | None:
    return {"address": content.address, "triggers": list(content.triggers)} if content else None


def done_line(done: "Done") -> Text:
    """Give one line that says how a step went."""
    if done.error is not None:
        return Text.assemble(
            ("✗ ", "red"), screen.styled(f"{done.step.do} {done.step.target}", "bold"), screen.styled(f"  {done.error}")
        )
    return Text.assemble(
        ("✓ ", "green"),
        screen.styled(f"{_DID[done.step.do]} {done.step.target}", "bold"),
        screen.styled(f"  webhook {done.webhook_id}", "dim"),
    )


def done_item(plan: Plan, done: "Sequence[Done]") -> dict[str, Any]:
    steps = [
        _step_item(one.step) | {"id": one.webhook_id, "error": str(one.error) if one.error else None} for one in done
    ]
    return plan_item(plan) | {"steps": steps}


def whole_checkup(checkup: Checkup, now: datetime) -> Iterator[RenderableType]:
    """Give one line for each webhook, then what is wrong, then how far was looked."""
    if checkup.checked:
        rows = [
            (
                one.webhook_id or "none",
                str(one.target or ""),
                humanize.ago(one.last.received_at, now) if one.last else "nothing",
                screen.styled(one.last.name if one.last else ""),
                Text("✗", "red") if one.problems else Text("✓", "green"),
            )
            for one in checkup.checked
        ]
        yield screen.table(["ID", "TARGET", "LAST CAME", "WHAT", ""], rows, whole=["ID", "TARGET"])
    for webhook_id, problem in _problems(checkup):
        yield Text.assemble(("✗ ", "red"), screen.styled(f"{webhook_id}{problem}"))
    if checkup.is_well:
        yield Text(f"{humanize.count(len(checkup.checked), 'webhook')} at Box, and nothing looks wrong.", "green")
    if checkup.strangers:
        shown = ", ".join(checkup.strangers[:_SHOWN_STRANGERS])
        more = len(checkup.strangers) - _SHOWN_STRANGERS
        rest = f" and {more} more" if more > 0 else ""
        yield screen.styled(f"Came here too, from webhooks that this account does not have: {shown}{rest}.", "dim")
    if checkup.arrivals.back_to and not checkup.arrivals.is_all:
        yield Text(f"Looked at what came since {humanize.full(checkup.arrivals.back_to)}.", "dim")


def _problems(checkup: Checkup) -> Iterator[tuple[str, str]]:
    for one in checkup.checked:
        for problem in one.problems:
            yield f"{one.target or one.webhook_id}: ", problem
    for problem in checkup.problems:
        yield "", problem


def checkup_item(checkup: Checkup) -> dict[str, Any]:
    return {
        "items": [_checked_item(one) for one in checkup.checked],
        "problems": list(checkup.problems),
        "strangers": list(checkup.strangers),
        "looked_back_to": iso(checkup.arrivals.back_to),
        "next": None,
    }


def _checked_item(one: CheckedWebhook) -> dict[str, Any]:
    last = one.last
    return {
        "id": one.webhook_id or None,
        "target": str(one.target) if one.target else None,
        "last": {"event": last.event_id, "name": last.name, "received_at": iso(last.received_at)} if last else None,
        "problems": list(one.problems),
    }
