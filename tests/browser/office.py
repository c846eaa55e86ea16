"""The office that the browser's tests look into: its handlers, and a Signalbox that runs for it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance.service import Service
from tests.browser import at_box

# What the office does with its events. Its CRM does not answer, and that is what somebody has to find.
OFFICE: Mapping[str, str] = {
    "archive": '''"""Keeps a second copy of what was signed."""

from receiver import Discard, Event, on


@on("box:SIGN_REQUEST.*")
def keep_signed(event: Event) -> None:
    """Copy the signed document into the archive; safe to run twice."""
    if event.type != "box:SIGN_REQUEST.COMPLETED":
        raise Discard("nothing was signed yet")
''',
    "crm": '''"""Tells the CRM who works on what."""

from receiver import Event, on


@on("box:COLLABORATION.*", "box:TASK_ASSIGNMENT.*", attempts=3)
def sync_access(event: Event) -> None:
    """Give the client record the people who may see its folder."""
    post(f"/records/{event.payload['source']['id']}/people")


def post(path: str) -> None:
    raise ConnectionError(f"crm.signal.example answered 502 Bad Gateway to POST {path}")
''',
    "search": '''"""Keeps the search index up to date."""

import time

from receiver import Event, on


@on("box:FILE.*", "box:FOLDER.*")
def index(event: Event) -> None:
    """Put the file into the search index, or take it out; safe to run twice."""
    time.sleep(0.004 + event.received_at.microsecond % 7 / 1000)
''',
    "thumbnails": '''"""Draws small pictures of what was uploaded."""

from datetime import timedelta

from receiver import Event, Retry, on


@on("filestack:fp.upload", "box:FILE.UPLOADED")
def draw(event: Event) -> None:
    """Draw three sizes; a film that is still on its way is waited for."""
    file = event.payload.get("text") or event.payload["source"]
    if event.attempt == 1 and file["size"] > 10**8:
        raise Retry(after=timedelta(seconds=30))
''',
}


@contextmanager
def office(folder: Path, port: int | None = None, box_port: int = 0) -> Iterator[Service]:
    """Give Signalbox with web and worker running, a working day behind it, and a stand-in that is Box for it."""
    service = Service(folder, WEB_CONCURRENCY="2", SECRET_KEY="a-secret-key-of-the-tests")
    if port is not None:
        listen_on(service, port)
    service.handlers(OFFICE, package="office")
    with at_box.box(service, box_port) as box:
        try:
            service.run("python -m tests.browser.working_day")
            at_box.register(service, box)
            at_box.work(box)
            service.web()
            service.worker()
            yield service
        finally:
            service.stop()


def listen_on(service: Service, port: int) -> None:
    """Let a service that is not started yet listen on a port of the caller's choice."""
    service.port, service.url = port, f"http://127.0.0.1:{port}"
    service.environ["PORT"] = str(port)
