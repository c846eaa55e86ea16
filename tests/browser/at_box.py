"""What the office has at Box, which a stand-in plays: webhooks as its file wants them, and some that are otherwise."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from receiver.registrations import store
from receiver.registrations.rules import Content, Target
from receiver.sandbox import Answer
from receiver.sandbox.actions import Order
from receiver.sandbox.faults import Faults
from receiver.sandbox.filestack_events import Call
from receiver.sandbox.pages import open_pages
from receiver.storage import db
from tests.acceptance.service import Service
from tests.registrations.stand_in import StandIn, folder

# Which webhook tells of what, by the beginning of the trigger. The stand-in counts from 4500001.
WEBHOOKS: Mapping[str, str] = {"FILE.": "4500001", "SIGN_REQUEST.": "4500002", "COLLABORATION.": "4500003"}
ANY_OTHER = "4500004"

FILE = """[[registrations]]
target = "folder:1200"
triggers = ["FILE.UPLOADED", "FILE.RENAMED", "FILE.MOVED"]

[[registrations]]
target = "folder:1300"
triggers = ["SIGN_REQUEST.COMPLETED", "SIGN_REQUEST.DECLINED"]

[[registrations]]
target = "folder:1400"
triggers = ["COLLABORATION.CREATED"]

[[registrations]]
target = "file:5000"
triggers = ["COMMENT.CREATED", "FILE.DOWNLOADED"]

[[registrations]]
target = "folder:1500"
triggers = ["FOLDER.CREATED"]
"""


DRIVE = [
    ("upload", "folder:1200/Invoice 2041.pdf", ""),
    ("upload", "folder:1200/Plans/Site plan rev C.dwg", ""),
    ("upload", "folder:1200/Plans/Depot Süd, north wall.jpg", ""),
    ("upload", "folder:1300/Lease, signed.pdf", ""),
    ("upload", "folder:77/Payroll March.csv", ""),
    ("rename", "folder:1200", "Projects"),
    ("rename", "folder:1300", "Contracts"),
    ("rename", "folder:77", "Accounts"),
    ("upload", "Projects/Plans/Site plan rev C.dwg", ""),
    ("upload", "Projects/Old draft.docx", ""),
    ("trash", "Projects/Old draft.docx", ""),
    ("lock", "Accounts/Payroll March.csv", ""),
    ("sign", "Contracts/Lease, signed.pdf", ""),
]


def _answer(address: str, _body: bytes, _headers: object) -> Answer:
    """Answer as the office would, and as somebody else's server does on a bad day."""
    if "elsewhere" in address:
        return Answer(503, "upstream is restarting", 0.84)
    return Answer(200, '{"status":"accepted"}', 0.006)


@contextmanager
def box(service: Service, port: int = 0) -> Iterator[StandIn]:
    """Let a stand-in be Box for a service that is not started yet."""
    with StandIn(port=port, post=_answer, filestack_addresses=[f"{service.url}/hooks/filestack"]).serving() as stand_in:
        open_pages(stand_in.app, inbox=service.url)
        service.environ["BOX_API_URL"] = stand_in.url
        service.environ["BOX_WEBHOOKS_FILE"] = str(_write(service.folder))
        stand_in.world.start()
        yield stand_in
        stand_in.world.stop()


def _write(folder: Path) -> Path:
    path = folder / "box_webhooks.toml"
    path.write_text(FILE)
    return path


def register(service: Service, box: StandIn) -> None:
    """Have the office's webhooks at Box, noted here as `apply` notes them, and something of every kind to do."""
    here = f"{service.url}/hooks/box"
    uploads = Content.of(here, ["FILE.UPLOADED", "FILE.RENAMED", "FILE.MOVED"])
    signed = Content.of(here, ["SIGN_REQUEST.COMPLETED"])
    invited = Content.of(here, ["COLLABORATION.CREATED"])
    comments = Content.of(here, ["COMMENT.CREATED", "FILE.DOWNLOADED"])
    old = Content.of(here, ["METADATA_INSTANCE.CREATED"])
    contents = {
        folder(1200): uploads,
        folder(1300): signed,
        folder(1400): invited,
        Target("file", "5000"): comments,
        folder(1100): old,
    }
    ids = {target: box.make(target, content) for target, content in contents.items()}
    engine = db.open_engine(service.environ["DATABASE_URL"])
    now = datetime.now(UTC)
    for number, (target, content) in enumerate(contents.items()):
        seen = now - timedelta(hours=5, minutes=number)
        store.note(engine, target, content, webhook_id=ids[target], is_ours=True, now=seen)
    _differ(engine, box, ids, now)
    engine.dispose()


def _differ(engine: sa.Engine, box: StandIn, ids: Mapping[Target, str], now: datetime) -> None:
    """Let Box remove one, let somebody change one there, and make another by hand."""
    session, all_of_them = box.session(), box.world.registrations
    all_of_them.delete(session, ids[folder(1400)])
    store.bury(engine, ids[folder(1400)], reason="auto_cleanup", now=now - timedelta(minutes=47))
    all_of_them.update(session, ids[Target("file", "5000")], address="https://old-tunnel.example.com/hooks/box")
    box.make(folder(77), Content.of("https://elsewhere.example.com/hooks", ["FILE.LOCKED"]))


def work(box: StandIn) -> None:
    """Do on the drive what was done there today."""
    for action, item, to in DRIVE:
        box.world.act(Order(action=action, item=item, to=to), faults=Faults())
        box.world.courier.run_due()
    box.world.call(Call(action="upload", way="transit"), faults=Faults())
    box.world.courier.run_due()
    box.world.act(Order(action="upload", item="Projects/Minutes.docx"), faults=Faults(delay=240))
