"""Bins: made in a click, each with what it recorded, live, and the answer that it gives."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import msgspec
from flask import Blueprint, Response, current_app, flash, make_response, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

from receiver import bins as store
from receiver import humanize, service
from receiver.errors import BinError, ForwardError
from receiver.service import engine
from receiver.web import forward
from receiver.web import sse as streams
from receiver.web.page import now, wants_part
from receiver.web.pages import bin_form
from receiver.web.pages.event import detail as detail_pane
from receiver.web.pages.question import Question, ask, is_confirmed, wire
from receiver.web.snippets import as_curl
from receiver.web.sse import MOST_AT_ONCE, Look, Message

bins = Blueprint("bins", __name__)

_NO_JSON = object()
_ANY = "any"  # how many captures a bin may have had in all when its deletion was confirmed


@bins.get("/bins")
def list_bins() -> str:
    return _list({}, {})


@bins.post("/bins")
def create() -> AnyResponse | tuple[str, int]:
    name = request.form.get("name", "").strip()
    try:
        made = store.create(engine(), name=name or None, now=now())
    except BinError as error:
        return _list(error.problems, {"name": name}), 422
    return redirect(url_for("bins.show", name=made["name"]), 303)


def _list(problems: Mapping[str, Any], given: Mapping[str, str]) -> str:
    page = store.list_bins(engine(), cursor=request.args.get("cursor"))
    return render_template("bins.html", page=page, base=_base(), problems=problems, given=given)


@bins.get("/bins/<name>")
def show(name: str) -> Response:
    store.prune(engine(), now=now(), name=name)
    if wants_part("older"):
        return make_response(render_template("_captures.html", **_captures(name)))
    return _show_setup(store.show_bin(engine(), name), is_selected=False)


@bins.get("/bins/<name>/setup")
def setup(name: str) -> Response:
    return _show_setup(store.show_bin(engine(), name))


@bins.post("/bins/<name>/setup")
def change(name: str) -> AnyResponse:
    before = store.show_bin(engine(), name)
    try:
        changes = bin_form.read(request.form, before)
        store.check(changes)
        if (lost := bin_form.lost(changes, before)) and not is_confirmed():
            return ask(_about_losing(name, lost))
        store.change(engine(), name, changes)
    except BinError as error:
        return _show_setup(before, given=request.form, problems=error.problems)
    flash("Saved: the next request is answered like this.")
    return redirect(url_for("bins.setup", name=name), 303)


def _about_losing(name: str, lost: list[str]) -> Question:
    asks = Markup("Save how {} is set up?").format(wire(name))
    return Question(asks=asks, says=lost, yes="Save", back=url_for("bins.setup", name=name), is_final=True)


@bins.post("/bins/<name>/clear")
def clear(name: str) -> AnyResponse:
    """Delete the captures that there were when it was asked; what came since stays."""
    item = store.show_bin(engine(), name)
    if not is_confirmed() or not (upto := request.form.get("upto", "")).isdecimal():
        asks = Markup("Delete {} of the bin {}?").format(_captures_in_words(item["kept"]), wire(item["name"]))
        says = ["The bin stays, and so does what comes from now on."]
        fixed = {"upto": str(item["captured"])}
        back = url_for("bins.setup", name=name)
        return ask(Question(asks=asks, says=says, yes="Delete them", back=back, fixed=fixed, is_final=True))
    flash(f"{_captures_in_words(store.clear(engine(), name, upto=int(upto)))} deleted.")
    return redirect(url_for("bins.show", name=name), 303)


@bins.post("/bins/<name>/delete")
def delete(name: str) -> AnyResponse:
    """Delete a bin with the captures that were asked about; where more came since, ask again."""
    item = store.show_bin(engine(), name)
    asked = request.form.get("captured")
    if not is_confirmed() or asked not in (str(item["captured"]), _ANY):
        return ask(_about_deleting(item, more=asked is not None))
    gone = store.delete(engine(), name)
    flash(f"The bin {name} is deleted, with {_captures_in_words(gone)}.")
    return redirect(url_for("bins.list_bins"), 303)


def _about_deleting(item: store.Item, *, more: bool) -> Question:
    its = f" and its {_captures_in_words(item['kept'])}" if item["kept"] else ""
    goes_on = "More came since you were asked. What comes until you answer is deleted too."
    return Question(
        asks=Markup("Delete the bin {}{}?").format(wire(item["name"]), its),
        says=[*([goes_on] if more else []), "Nothing brings them back." if its else "It has no captures."],
        yes="Delete the bin",
        back=url_for("bins.setup", name=item["name"]),
        fixed={"captured": _ANY if more else str(item["captured"])},
        is_final=True,
    )


def _captures_in_words(count: int) -> str:
    return "1 capture" if count == 1 else f"{count:,} captures"


@bins.get("/bins/<name>/captures/<id>")
def show_capture(name: str, id: str) -> Response:
    return _show_capture(store.show_capture(engine(), name, id, in_clear=detail_pane.in_clear()))


@bins.get("/bins/<name>/captures/<id>/body")
def body(name: str, id: str) -> Response:
    found = store.read_capture(engine(), name, id)
    return detail_pane.download(found.id, found.request.body)


@bins.get("/bins/<name>/captures/<id>/curl")
def curl(name: str, id: str) -> Response:
    found = store.read_capture(engine(), name, id)
    return Response(as_curl.write(found.request, f"{_base()}/b/{found.bin}"), mimetype="text/plain")


@bins.post("/bins/<name>/captures/<id>/forward")
def send_on(name: str, id: str) -> Response:
    """Send a capture to a source or to a URL, once that is confirmed; show the answer or why there is none."""
    found = store.read_capture(engine(), name, id)
    if not is_confirmed():
        return ask(_about_sending_on(found.request, url_for("bins.show_capture", name=name, id=id)))
    try:
        answered = _send_on(found.request)
        facts = {"answered": answered, "raw": detail_pane.raw(answered.body), "took": humanize.span(answered.took)}
    except ForwardError as error:
        facts = {"problem": str(error)}
    part = Markup(render_template("_forwarded.html", **facts))  # noqa: S704 - our template, which escapes
    if wants_part("forwarded"):
        return make_response(part)
    return _show_capture(store.show_capture(engine(), name, id), forwarded=part)


def _about_sending_on(came: store.Request, back: str) -> Question:
    source = request.form.get("source")
    where = wire(f"/hooks/{source}" if source is not None else request.form.get("url", "").strip())
    secrets = "its credentials go along" if "secrets" in request.form else "its credentials stay here"
    if source is not None:
        says = "It goes there as if it had come there: what verifies is an event, or one delivery more of an event."
    else:
        says = f"It goes there byte for byte, {humanize.size(len(came.body))}; {secrets}."
    line = wire(f"{came.method} {came.path or '/'}")
    return Question(asks=Markup("Send {} again, to {}?").format(line, where), says=[says], yes="Send it", back=back)


def _send_on(came: store.Request) -> forward.Answered:
    source = request.form.get("source")
    if source is not None:
        if source not in _sources():
            raise ForwardError("There is no such source, or it is off.")
        return forward.to_source(current_app._get_current_object(), source, came)  # type: ignore[attr-defined]
    return forward.to_url(
        came,
        request.form.get("url", ""),
        allow_private=current_app.config["ENV"] != "production",
        keep_secrets="secrets" in request.form,
    )


@bins.get("/bins/<name>/live")
def live(name: str) -> Response:
    """Send each capture as a line of the list; `more` where they are too many for that."""
    item = store.show_bin(engine(), name)
    source = engine()

    def look(after: int) -> Look:
        found = store.captures_after(source, item["name"], after, limit=MOST_AT_ONCE + 1)
        if len(found) > MOST_AT_ONCE:
            newest = store.list_captures(source, item["name"], limit=1)["items"][0]["number"]
            return Look([Message("more", "", newest)], newest)
        lines = [Message("came", render_template("_captured.html", line=line), line["number"]) for line in found]
        return Look(lines, found[-1]["number"] if found else after)

    return streams.stream(("bin", name), look, streams.cursor())


def _show_setup(
    item: store.Item,
    *,
    is_selected: bool = True,
    given: Mapping[str, str] | None = None,
    problems: Mapping[str, Any] | None = None,
) -> Response:
    return _show(
        "_bin.html",
        item,
        "setup" if is_selected else None,
        form=bin_form.filled(item) if given is None else {**bin_form.filled(item), **given},
        problems=problems or {},
        has_binary_body=bin_form.has_binary_body(item),
        status=422 if problems else 200,
    )


def _show_capture(item: store.Item, forwarded: Markup = Markup()) -> Response:  # noqa: B008 - it cannot be changed
    whole = base64.b64decode(item["body_base64"])
    value = _json(whole)
    tree = value is not _NO_JSON and request.args.get("as") not in ("text", "hex")
    return _show(
        "_capture.html",
        store.show_bin(engine(), item["bin"]),
        item["id"],
        capture=item,
        in_clear=detail_pane.in_clear(),
        is_json=value is not _NO_JSON,
        steps=detail_pane.drawn(value) if tree else None,
        raw=detail_pane.raw(whole),
        sources=_sources(),
        forwarded=forwarded,
    )


def _json(body: bytes) -> Any:
    if body.lstrip()[:1] not in (b"{", b"[", b'"'):
        return _NO_JSON
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _read_slowly(body)


def _read_slowly(body: bytes) -> Any:
    # Python's own reader takes more: lone surrogates, NaN, a byte order mark.
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return _NO_JSON


def _show(template: str, item: store.Item, selected: str | None, *, status: int = 200, **facts: Any) -> Response:
    """Give a detail: alone to htmx, which knows the rest of the page, and in the whole page to a browser."""
    facts |= {"bin": item, "url": f"{_base()}{item['path']}", "path": f"/bins/{item['name']}"}
    detail = Markup(render_template(template, address=detail_pane.address, **facts))  # noqa: S704 - our template, which escapes
    if wants_part("detail"):
        return make_response(Markup("<title>{} · Signalbox</title>{}").format(item["name"], detail), status)
    page = render_template("bin.html", detail=detail, selected=selected, **facts, **_captures(item["name"]))
    return make_response(page, status)


def _captures(name: str) -> dict[str, Any]:
    page = store.list_captures(engine(), name, cursor=request.args.get("cursor"))
    return {
        "lines": page["items"],
        "older": url_for("bins.show", name=name, cursor=page["next"]) if page["next"] else None,
        "cursor": request.args.get("cursor"),
    }


def _sources() -> list[str]:
    return [name for name, gate in service.current().gates.items() if gate.keys]


def _base() -> str:
    return request.host_url.rstrip("/")
