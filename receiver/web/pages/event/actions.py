"""What can be done with an event and its jobs: replay to all handlers or to one, discard. Each asks first."""

from flask import Blueprint, Response, abort, redirect, request
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

from receiver import humanize
from receiver.errors import NotFoundError
from receiver.jobs import store as jobs
from receiver.observe import queries
from receiver.observe.records import EventDetail, JobRecord
from receiver.service import engine
from receiver.web.page import ago, now, seen, wants_part
from receiver.web.pages import list_rows
from receiver.web.pages.event import detail, event
from receiver.web.pages.event.offers import Offers, offers
from receiver.web.pages.question import Question, ask, is_confirmed, wire

actions = Blueprint("actions", __name__)


@actions.post("/events/<given>/replay")
def replay_event(given: str) -> AnyResponse:
    """Give an event to all its handlers again, or to the one that the form names."""
    item = queries.show_event(engine(), given)
    offered = offers(item)
    handler = request.form.get("handler")
    if handler is None:
        return _replay_to_all(item, offered)
    if not handler:
        abort(400, "Choose a handler: none was named.")
    return _replay_to_one(item, handler, offered)


def _replay_to_all(item: EventDetail, offered: Offers) -> AnyResponse:
    names = " ".join(offered.replays)
    asked = request.form.get("names")
    if not is_confirmed() or asked != names:
        return ask(_about_all(item, offered, is_other=asked not in (None, names), fixed={"names": names}))
    count = jobs.replay_event(engine(), item.id, handler=None, now=now())
    new = [name for name, had_it in offered.replays.items() if not had_it]
    again = f"Routed again: {humanize.count(count, 'job')} of before {'runs' if count == 1 else 'run'} again"
    first = f", {humanize.count(len(new), 'handler')} {'gets' if len(new) == 1 else 'get'} it for the first time"
    return _done(item.id, again + (first if new else ""))


def _about_all(item: EventDetail, offered: Offers, *, is_other: bool, fixed: dict[str, str]) -> Question:
    number = humanize.count(len(offered.replays), "handler")
    stands = {job.handler: job.state for job in item.jobs}
    asks = Markup("Replay {} to {}?") if offered.replays else Markup("Route {} again?")
    return Question(
        asks=asks.format(wire(item.type), number),
        says=[*(["Its handlers are others than when you were asked."] if is_other else []), _which(item)],
        each=[Markup("{} {}").format(wire(name), _fate(stands.get(name))) for name in offered.replays],
        yes=f"Replay to {number}" if offered.replays else "Route again",
        back=detail.address(f"/events/{item.id}"),
        fixed=fixed,
    )


def _fate(state: str | None) -> Markup:
    says = "gets it for the first time" if state is None else f"again: its job is {state}"
    return Markup("<small>{}</small>").format(says)


def _replay_to_one(item: EventDetail, handler: str, offered: Offers) -> AnyResponse:
    job = next((job for job in item.jobs if job.handler == handler), None)
    if job is not None:
        return _replay_one(item, job)
    if handler not in (*offered.new, *offered.others):
        raise NotFoundError(f"no handler is named {handler}: the page names those that there are")
    if not is_confirmed():
        unwanted = Markup("It does not want {}: no event of this type reaches it by itself.").format(wire(item.type))
        wanted = "It wants this type, and gets the event for the first time."
        return ask(
            _about_one(item, handler, [wanted if handler in offered.new else unwanted], yes="Give it to this one")
        )
    count = jobs.replay_event(engine(), item.id, handler=handler, now=now())
    return _done(item.id, f"{handler} {'gets it for the first time' if count else 'is running now: left alone'}")


@actions.post("/jobs/<int:job_id>/replay")
def replay_job(job_id: int) -> AnyResponse:
    job = queries.show_job(engine(), job_id)
    return _replay_one(queries.show_event(engine(), job.event), job)


def _replay_one(item: EventDetail, job: JobRecord) -> AnyResponse:
    if job.state == "running":
        return _done(item.id, f"{job.handler} is running now: left alone")
    stands = f"{job.state} {len(job.attempts)}"
    if not is_confirmed() or request.form.get("stands") != stands:
        return ask(_about_one(item, job.handler, [_how(job)], yes="Replay", fixed={"stands": stands}))
    count = jobs.replay_job(engine(), job.id, now=now())
    return _done(item.id, f"{job.handler} {'gets it again' if count else 'is running now: left alone'}")


def _about_one(
    item: EventDetail, handler: str, says: list[str], *, yes: str, fixed: dict[str, str] | None = None
) -> Question:
    return Question(
        asks=Markup("Replay {} to {}?").format(wire(item.type), wire(handler)),
        says=[*says, _which(item)],
        yes=yes,
        back=detail.address(f"/events/{item.id}"),
        fixed=fixed or {},
    )


def _how(job: JobRecord) -> str:
    """Say how a job stands, and what a replay changes about that."""
    tried = humanize.count(len(job.attempts), "attempt")
    if job.state == "done":
        return "Its job is done: the handler gets the event once more."
    if job.state == "dead":
        return f"Its job is dead after {tried}: it gets all its attempts again."
    return f"Its job is waiting after {tried}: it runs at once, with all its attempts again."


@actions.post("/jobs/<int:job_id>/discard")
def discard_job(job_id: int) -> AnyResponse:
    job = queries.show_job(engine(), job_id)
    can_be = job.state in ("waiting", "running") or (job.state == "dead" and not job.discarded_at)
    if can_be and not is_confirmed():
        item = queries.show_event(engine(), job.event)
        return ask(
            Question(
                asks=Markup("Discard the job of {} for {}?").format(wire(job.handler), wire(item.type)),
                says=[
                    _DISCARDED if job.state == "dead" else "It becomes a dead letter, which can be replayed.",
                    _which(item),
                ],
                yes="Discard the job",
                back=detail.address(f"/events/{item.id}"),
            )
        )
    is_buried = jobs.bury(engine(), job_id, reason="discarded on the page")
    return _done(job.event, "Discarded" if is_buried else f"Nothing to discard: the job is {job.state}")


_DISCARDED = "It goes from lists and alarms, stays with its event, and can be replayed."


def _which(item: EventDetail) -> Markup:
    """Say which event it is: the file that it is about, when it came, and its id."""
    name = list_rows.about(item.source, item.payload).name
    file = Markup("{}, ").format(seen(name)) if name else ""
    return Markup("{}received {}, event {}.").format(file, ago(item.received_at), wire(item.id))


def _done(event_id: str, said: str) -> AnyResponse:
    """Answer after something was done: the page as it is now to htmx, the way there to a browser."""
    if wants_part("detail"):
        return detail.told(event.show_event(queries.show_event(engine(), event_id)), said)
    if "HX-Request" in request.headers and not wants_part("question"):
        return detail.told(Response(status=204), said)
    return redirect(detail.address(f"/events/{event_id}"), 303)
