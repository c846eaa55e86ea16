"""What can be done with an event and its jobs: replay to all handlers or to one, discard."""

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from receiver import jobs, listing, words
from receiver.errors import NotFoundError
from receiver.listing import Item
from receiver.web.pages import engine, now, wants_part
from receiver.web.pages.event import pane, shown

actions = Blueprint("actions", __name__)


@actions.post("/events/<given>/replay")
def replay_event(given: str) -> AnyResponse:
    """Give an event to all its handlers again, or to the one that the form names."""
    item = listing.show_event(engine(), given)
    handler = request.form.get("handler") or None
    if handler is not None and handler not in shown.known_handlers(item):
        raise NotFoundError(f"no handler is named {handler}: the page names those that there are")
    count = jobs.replay_event(engine(), item["id"], handler=handler, now=now())
    return _done(item["id"], _what_runs(count, handler, item))


def _what_runs(count: int, handler: str | None, item: Item) -> str:
    """Say what a replay set going; `item` is the event as it was before."""
    had = {job["handler"] for job in item["jobs"]}
    if handler is not None and count:
        return f"{handler} gets it {'again' if handler in had else 'for the first time'}"
    if handler is not None:
        return f"{handler} is running now: left alone"
    new = [name for name, had_it in shown.replays(item).items() if not had_it]
    again = f"Routed again: {words.count(count, 'job')} of before {'runs' if count == 1 else 'run'} again"
    first = f", {words.count(len(new), 'handler')} {'gets' if len(new) == 1 else 'get'} it for the first time"
    return again + (first if new else "")


@actions.post("/jobs/<int:job_id>/replay")
def replay_job(job_id: int) -> AnyResponse:
    job = listing.show_job(engine(), job_id)
    count = jobs.replay_job(engine(), job_id, now=now())
    return _done(job["event"], f"{job['handler']} {'gets it again' if count else 'is running now: left alone'}")


@actions.post("/jobs/<int:job_id>/discard")
def discard_job(job_id: int) -> AnyResponse:
    job = listing.show_job(engine(), job_id)
    is_buried = jobs.bury(engine(), job_id, reason="discarded on the page")
    return _done(job["event"], "Discarded" if is_buried else f"Nothing to discard: the job is {job['state']}")


def _done(event_id: str, said: str) -> AnyResponse:
    """Answer after something was done: the page as it is now to htmx, the way there to a browser."""
    if wants_part("detail"):
        return pane.told(shown.show_event(listing.show_event(engine(), event_id)), said)
    if "HX-Request" in request.headers:
        return pane.told(Response(status=204), said)
    return redirect(pane.address(f"/events/{event_id}"), 303)
