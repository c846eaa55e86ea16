"""The commands that look into a running sandbox, and that plan what goes wrong there."""

from datetime import timedelta
from typing import Any

import click

from receiver.cli import options, screen
from receiver.cli.sandbox.actions import ROTATING, faults, spoilt
from receiver.cli.sandbox.client import Span, ask, verdict
from receiver.sandbox.phrases import coming


@click.command("log", short_help="List every delivery, and when the next is due.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), metavar="N", default=20, show_default=True, help="At most so many."
)
@click.option("--cursor", type=click.IntRange(1), help="Continue where the listing before ended (its `next`).")
@options.as_json
def log(limit: int, cursor: int | None, as_json: bool) -> None:
    """List deliveries, the newest first: what, to where, which answer, and what comes next."""
    page = ask("GET", f"/deliveries?limit={limit}" + (f"&before={cursor}" if cursor else ""))
    if as_json:
        screen.show_json(page)
        return
    rows = [
        (
            one["sent_at"][11:19],
            str(one["event"]),
            str(one["number"]),
            verdict(one),
            one["name"],
            one["webhook"] or one["source"],
            one["address"],
            coming(one),
        )
        for one in page["items"]
    ]
    columns = ["SENT (UTC)", "EVENT", "NO.", "ANSWER", "WHAT", "WEBHOOK", "TO", "AND THEN"]
    screen.show_page(screen.table(columns, rows, whole=["WHAT"]), page["next"], nothing="Nothing was sent yet.")


@click.command("drive", short_help="List the files and folders.")
@options.as_json
def drive(as_json: bool) -> None:
    """List every file and folder of the pretend drive, also those in the trash."""
    page = ask("GET", "/items")
    if as_json:
        screen.show_json(page)
        return
    rows = [(one["type"], one["id"], one["path"], _about(one)) for one in page["items"] if one["path"] != "/"]
    screen.show(screen.table(["TYPE", "ID", "PATH", ""], rows))


def _about(item: dict[str, Any]) -> str:
    words = [item["state"]] if item["state"] != "active" else []
    words += ["locked"] if item["locked"] else []
    words += [f"version {item['version']}"] if item["version"] > 1 else []
    return ", ".join(words)


@click.command("skip", short_help="Move its clock ahead.")
@click.argument("span", type=Span(), metavar="SPAN")
def skip(span: timedelta) -> None:
    """Move the sandbox's clock ahead by SPAN (90s, 5m, 2h, 15d): retries, sessions and clean-ups fall due.

    A webhook whose address took nothing for 30 days is removed once something was tried for more than 14:

    \b
    signalbox sandbox skip 15d
    signalbox sandbox do upload Inbox/lamp.pdf
    signalbox sandbox skip 16d                   and WEBHOOK.DELETED is sent
    """
    answer = ask("POST", "/clock", {"seconds": span.total_seconds()})
    screen.show(f"It is {answer['now']} in the sandbox.")


@click.command("faults", short_help="Spoil everything that is sent from now on.")
@spoilt
@ROTATING
def standing_faults(**wish: Any) -> None:
    """Say what goes wrong with every event from now on; without options, nothing does any more.

    The same options at one action are for that action only.
    """
    now = ask("PUT", "/faults", faults(wish))["faults"]
    words = ", ".join(name if value is True else f"{name} {value}" for name, value in now.items())
    screen.show(f"From now on: {words}." if words else "From now on nothing goes wrong on purpose.")


@click.command("refuse", short_help="Let the API's next answers be an error.")
@click.argument("status", type=click.Choice(["400", "401", "403", "404", "409", "429", "500", "502", "503"]))
@click.option("--times", type=click.IntRange(1, 10_000), metavar="N", default=1, show_default=True, help="So often.")
@click.option("--after", type=click.IntRange(0, 10_000), metavar="N", default=0, help="After so many good answers.")
@click.option("--retry-after", type=click.FloatRange(0, 3600), metavar="SECONDS", help="With this Retry-After.")
def refuse(status: str, times: int, after: int, retry_after: float | None) -> None:
    """Let the next calls of Box's API be answered STATUS: signalbox sandbox refuse 429 --retry-after 1"""
    body: dict[str, Any] = {"status": int(status), "times": times, "after": after}
    if retry_after is not None:
        body["retry_after"] = retry_after
    ask("POST", "/refusals", body)
    first = f"After {after} more, the" if after else "The"
    screen.show(f"{first} next {'call is' if times == 1 else f'{times} calls are'} answered {status}.")


@click.command("expire", short_help="End the session of a user.")
@click.argument("name")
def expire(name: str) -> None:
    """End the session of the user NAME, as a developer token's hour does: webhooks tell NO_ACTIVE_SESSION."""
    count = ask("POST", "/tokens/expire", {"name": name})["webhooks"]
    screen.show(f"{count} webhooks of {name} tell no more than NO_ACTIVE_SESSION until there is a live token again.")


@click.command("revoke", short_help="Take the tokens of a user away.")
@click.argument("name")
def revoke(name: str) -> None:
    """Take all tokens of the user NAME away: Box then removes the webhooks, and sends WEBHOOK.DELETED for each."""
    events = ask("POST", "/tokens/revoke", {"name": name})["events"]
    screen.show(f"{len(events)} webhooks of {name} are gone, and WEBHOOK.DELETED is on its way for each.")


@click.command("give-up", short_help="Remove a webhook as Box does after long failure.")
@click.argument("webhook")
def give_up(webhook: str) -> None:
    """Remove WEBHOOK (its id) as Box does after long failure, and send WEBHOOK.DELETED."""
    ask("POST", f"/webhooks/{webhook}/give-up", {})
    screen.show(f"Webhook {webhook} is gone, and WEBHOOK.DELETED is on its way.")


@click.command("state", short_help="Print everything that it knows, as JSON.")
def state() -> None:
    """Print users, webhooks, items, events and faults as one JSON document; no token and no key is in it."""
    screen.show_json(ask("GET", "/state"))


CONTROLS = (log, drive, skip, standing_faults, refuse, expire, revoke, give_up, state)
