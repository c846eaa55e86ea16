"""`signalbox box`: the webhooks that are registered at Box, one by one, and as a file wants them."""

from datetime import datetime, timedelta
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup

from receiver.cli import options, screen
from receiver.cli.box.as_code import CODE
from receiver.cli.box.session import WITHIN, WITHIN_SECONDS, allow_unknown, open_client
from receiver.registrations import Target, check, reading, usual_address


def _keep(within: timedelta) -> None:
    click.get_current_context().meta[WITHIN] = within


_within = click.Option(
    ["--within"],
    type=options.Seconds(),
    metavar="SECONDS",
    default=WITHIN_SECONDS,
    show_default=True,
    help="Wait so long for Box, all calls together.",
)
box = AppGroup(
    "box",
    params=[_within],
    callback=_keep,
    help="""Register webhooks at Box, one by one or as a file wants them.

    \b
    signalbox box plan     what differs from config/box_webhooks.toml; exits 2 where something does
    signalbox box apply    make it so
    signalbox box import   put what is at Box into the file
    signalbox box doctor   what Box says, beside what arrives here

    Credentials come from the environment: BOX_CLIENT_ID, BOX_CLIENT_SECRET and BOX_ENTERPRISE_ID or BOX_USER_ID;
    BOX_JWT_CONFIG; or, for an hour, BOX_DEVELOPER_TOKEN. In development, with none of them set, all of this
    happens in the sandbox of this machine (signalbox sandbox); elsewhere with BOX_API_URL=http://127.0.0.1:8100.
    """,
)


class TargetText(click.ParamType[Target]):
    """`folder:1200` or `file:1200`."""

    name = "target"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Target:
        try:
            return value if isinstance(value, Target) else Target.read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


WEBHOOK_ID = click.IntRange(1)
address = click.option("--address", metavar="URL", help="Where it delivers to.  [default: PUBLIC_URL/hooks/box]")


@box.command("list")
@click.option("--full", is_flag=True, help="Ask for address and triggers of each too: one call for each webhook.")
@options.as_json
def list_webhooks(full: bool, as_json: bool) -> None:
    """List the webhooks of this account."""
    with open_client() as client:
        items = [_item(client.get(one.id) if full else one) for one in client.list()]
    if as_json:
        screen.show_json({"items": items, "next": None})
    elif not items:
        screen.note("Box has no webhooks of this account. signalbox box create makes one, signalbox box apply many.")
    else:
        rows = [
            (one["id"], _target(one), *((one["address"], ", ".join(one["triggers"])) if full else ())) for one in items
        ]
        columns = ["ID", "TARGET", "ADDRESS", "TRIGGERS"][: 4 if full else 2]
        screen.show(screen.table(columns, rows, whole=["ID", "TARGET"]))


@box.command("get")
@click.argument("id", type=WEBHOOK_ID)
@options.as_json
def get_webhook(id: int, as_json: bool) -> None:
    """Show a webhook."""
    with open_client() as client:
        _show(_item(client.get(str(id))), as_json)


@box.command("create")
@click.argument("target", type=TargetText(), metavar="folder:ID|file:ID")
@click.argument("triggers", nargs=-1, required=True, metavar="TRIGGER...")
@address
@allow_unknown
@options.as_json
def create_webhook(
    target: Target, triggers: tuple[str, ...], address: str | None, allow_unknown: bool, as_json: bool
) -> None:
    """Make a webhook: signalbox box create folder:1200 FILE.UPLOADED

    It is nothing that `apply` would ever delete; signalbox box import puts it into the file.
    """
    with open_client() as client:
        content = check(
            target,
            address or usual_address(current_app.config),
            triggers,
            reading(current_app.config, allow_unknown=allow_unknown),
        )
        _show(_item(client.create(target, content)), as_json)


@box.command("update")
@click.argument("id", type=WEBHOOK_ID)
@click.argument("triggers", nargs=-1, metavar="[TRIGGER]...")
@address
@allow_unknown
@options.as_json
def update_webhook(id: int, triggers: tuple[str, ...], address: str | None, allow_unknown: bool, as_json: bool) -> None:
    """Change a webhook: its triggers (those given take the place of all it has), its address, or both."""
    if not triggers and address is None:
        raise click.UsageError("Name triggers, or --address URL, or both.")
    with open_client() as client:
        old = client.get(str(id))
        asked = triggers or old.content.triggers
        # What is there already is Box's own business.
        how = reading(current_app.config, allow_unknown=allow_unknown or not triggers)
        check(old.target, address or old.content.address, asked, how)
        _show(_item(client.update(str(id), address=address, triggers=triggers or None)), as_json)


@box.command("delete")
@click.argument("ids", type=WEBHOOK_ID, nargs=-1, required=True, metavar="ID...")
def delete_webhooks(ids: tuple[int, ...]) -> None:
    """Delete webhooks. What `apply` made from the file, it makes again unless the file changes, too."""
    with open_client() as client:
        for id_ in ids:
            client.delete(str(id_))
            click.echo(f"deleted {id_}")


def _item(one: Any) -> dict[str, Any]:
    """Give a webhook as JSON; what a list does not tell of is not there."""
    item: dict[str, Any] = {"id": one.id, "target": {"type": one.target.type, "id": one.target.id}}
    content = getattr(one, "content", None)
    if content is not None:
        made_at: datetime | None = one.created_at
        item |= {
            "address": content.address,
            "triggers": list(content.triggers),
            "created_at": made_at.isoformat() if made_at else None,
            "created_by": one.created_by,
        }
    return item


def _target(item: dict[str, Any]) -> str:
    return f"{item['target']['type']}:{item['target']['id']}"


def _show(item: dict[str, Any], as_json: bool) -> None:
    if as_json:
        screen.show_json(item)
        return
    facts = [
        ("Id", item["id"]),
        ("Target", _target(item)),
        ("Address", item["address"]),
        ("Triggers", ", ".join(item["triggers"])),
        ("Made", " by ".join(filter(None, [item["created_at"], item["created_by"]])) or "unknown"),
    ]
    screen.show(screen.facts(facts))


for command in CODE:
    box.add_command(command)
