"""The event page: payload, raw bytes, headers, deliveries and jobs; the same to copy and to download."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, Response, abort, make_response, render_template, request

from receiver import humanize
from receiver.jobs import registry
from receiver.observe import queries
from receiver.observe.documents import Document, job_of_event
from receiver.observe.records import AttemptRecord, DeliveryRecord, EventDetail, Fate, JobRecord, Lines, RejectedRecord
from receiver.runtime.reasons import line_of, reason_of
from receiver.service import engine
from receiver.sources import profile_of
from receiver.sources.profile import Signing
from receiver.web.page import now
from receiver.web.pages import list_rows
from receiver.web.pages.event import detail
from receiver.web.pages.event.offers import offers
from receiver.web.snippets import copy_as

shown = Blueprint("shown", __name__)

TABS = ("payload", "raw", "headers", "deliveries", "jobs")
SOON = timedelta(minutes=1)
_NO_CONTENT = 204


@shown.get("/events/<given>")
def show(given: str) -> Response:
    return show_event(queries.show_event(engine(), given, in_clear=detail.in_clear()))


def show_event(item: EventDetail) -> Response:
    """Give an event under the tab that the address asks for."""
    tab = detail.tab(TABS)
    return detail.show(
        "_event.html",
        selected=item.id,
        kind="events",
        title=item.type,
        item=item,
        tab=tab,
        in_clear=detail.in_clear(),
        about=list_rows.about(item.source, item.payload),
        key=detail.key_in_words(item.source, item.verified_by),
        raw=detail.raw(item.body) if tab == "raw" else None,
        steps=detail.drawn(item.payload) if tab == "payload" else (),
        deliveries=_deliveries(item) if tab == "deliveries" else (),
        offers=offers(item),
        forms=copy_as.NAMES,
        jobs=_jobs_facts(item, "whole" if tab == "jobs" else "summary"),
        history=_history(item),
    )


@shown.get("/events/<given>/jobs")
def jobs(given: str) -> tuple[str, int] | Response:
    """Give the part of the page that says how the jobs stand; nothing where that is what the page shows already."""
    facts = _jobs_facts(queries.show_fate(engine(), given), request.args.get("view", "summary"))
    if request.args.get("seen") == facts["seen"]:
        return "", _NO_CONTENT
    return make_response(render_template("_jobs.html", address=detail.address, jobs=facts))


def _jobs_facts(item: EventDetail | Fate, view: str) -> Document:
    """Give what _jobs.html draws: the jobs, those in trouble first, and after how many seconds to look again."""
    order = ("dead", "running", "waiting", "done")
    again, is_late = _look_again_seconds(item, now()), _is_late(item, now())
    said = json.dumps([item.state, [job_of_event(job) for job in item.jobs], again, is_late])
    return {
        "event": item.id,
        "view": view if view == "whole" else "summary",
        "is_routed": item.state == "routed",
        "is_late": is_late,
        "jobs": [_in_words(job) for job in sorted(item.jobs, key=lambda job: order.index(job.state))],
        "again_seconds": again,
        "seen": hashlib.sha256(said.encode()).hexdigest()[:12],
    }


def _is_late(item: EventDetail | Fate, at: datetime) -> bool:
    """Say whether nobody seems to be there to route an event. An old one may have been put back just now."""
    if item.state == "routed" or at - item.received_at <= SOON:
        return False
    return registry.nobody_works(engine(), at)


def _look_again_seconds(item: EventDetail | Fate, at: datetime) -> int | None:
    """Say how soon the page looks again: at once while something is about to change, None once all is settled."""
    states = {job.state for job in item.jobs}
    if item.state == "routed" and not states & {"waiting", "running"}:
        return None
    awaited = [job.next_attempt_at for job in item.jobs] + [item.received_at]
    is_soon = any(one and abs(at - one) < SOON for one in awaited)
    return 1 if "running" in states or is_soon else 5


def _in_words(job: JobRecord) -> Document:
    """Say how a job stands: what its last attempt came to, and each attempt with how long it took."""
    attempts = [_attempt_in_words(number, one) for number, one in enumerate(job.attempts, 1)]
    last = attempts[-1] if attempts else None
    error = last["line"] if last else ""
    reason = line_of(job.reason)
    why = reason if reason != error else ""
    return {**asdict(job), "attempts": attempts, "last": last, "error": error, "why": why}


def _attempt_in_words(number: int, attempt: AttemptRecord) -> Document:
    began, ended = attempt.started_at, attempt.finished_at
    reason, is_traceback = reason_of(attempt.error), "\n" in (attempt.error or "").strip()
    return {
        **asdict(attempt),
        "number": number,
        "took": humanize.took(began, ended),
        "line": reason.line,
        "below": reason.below,
        "traceback": attempt.error if is_traceback else "",
    }


def _deliveries(item: EventDetail) -> Sequence[Document]:
    """Give the deliveries of an event in their order, each with how far along the timeline it stands, in percent."""
    first = DeliveryRecord(
        received_at=item.received_at, verified_by=item.verified_by, headers=item.headers, body_differs=False
    )
    every = [first, *item.repeats]
    times = [one.received_at for one in every]
    whole = max(times) - min(times)
    return [
        {
            **asdict(one),
            "after": detail.span_after(item.received_at, at) if number > 1 else "",
            "number": number,
            "place": round(100 * ((at - min(times)) / whole), 2) if whole else 0,
            "key": detail.key_in_words(item.source, one.verified_by),
            "named": _delivery_id(item.source, one.headers),
        }
        for number, (one, at) in enumerate(zip(every, times, strict=True), 1)
    ]


def _delivery_id(source: str, headers: Lines) -> str:
    profile = profile_of(source)
    header = profile.delivery_header.lower() if profile else ""
    return next((value for name, value in headers if name.lower() == header), "")


def _history(item: EventDetail) -> dict[str, str]:
    """Return what to search for beside a path: the same file's other events."""
    profile = profile_of(item.source)
    return profile.history(item.payload) if profile else {}


@shown.get("/events/<given>/body")
def body(given: str) -> Response:
    item = queries.show_event(engine(), given)
    return detail.download(item.id, item.body)


@shown.get("/events/<given>/copy/<form>")
def copy(given: str, form: str) -> Response:
    item = queries.show_event(engine(), given)
    return written(item, form, f"{item.type}, event {item.id}")


def written(item: EventDetail | RejectedRecord, form: str, title: str) -> Response:
    """Give a delivery as something to paste, as plain text."""
    write = copy_as.FORMS.get(form)
    if write is None:
        abort(404, f"There is no such form. The forms are: {', '.join(copy_as.FORMS)}.")
    profile = profile_of(item.source)
    if profile is None:
        abort(404, f"It was sent to {item.source}, which is no source here: nothing knows how it would be signed.")
    return Response(write(_copied(item, title, profile.signing)), mimetype="text/plain")


def _copied(item: EventDetail | RejectedRecord, title: str, signing: Signing) -> copy_as.Copied:
    facts: dict[str, Any] = {
        "source": item.source,
        "headers": item.headers,
        "received_at": item.received_at,
    }
    return copy_as.Copied(title=title, signing=signing, body=item.body, url=request.host_url.rstrip("/"), **facts)
