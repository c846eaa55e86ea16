"""The question before what destroys or repeats: what it would do, with the number, to say yes to or to cancel.

A view that does so asks first, and does it when the same form comes back with the yes:

    if not is_confirmed():
        return ask(Question(asks="Delete the bin …?", yes="Delete it", back="/bins", is_final=True))

In its template the form has `data-asks`: question.js then shows the question in a dialog; without it, it is a page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask import Response, make_response, render_template, request
from markupsafe import Markup

from receiver.web.page import seen, wants_part

YES = "yes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, what the button says that does it, and where Cancel leads; what came from outside is `seen`.

    `says` are sentences below, and `each` the things by name. All fields of the form go along with the yes, and
    `fixed` instead of those: what was counted for the question. `is_final`: nothing can undo it.
    """

    asks: str
    yes: str
    back: str
    says: Sequence[str] = ()
    each: Sequence[str] = ()
    fixed: Mapping[str, str] = field(default_factory=dict)
    is_final: bool = False


def is_confirmed() -> bool:
    """Say whether the form comes from a question, by its yes."""
    return YES in request.form


def ask(question: Question, page: str = "question.html", **facts: Any) -> Response:
    """Show a question: alone to question.js, and as a page to a browser. Nothing is done."""
    fields = [(name, text) for name, text in request.form.items(multi=True) if name not in {YES, *question.fixed}]
    fields += question.fixed.items()
    is_part = "HX-Request" in request.headers
    action = request.full_path.rstrip("?")
    shown = render_template(
        "_question.html" if is_part else page, question=question, action=action, fields=fields, **facts
    )
    answer = make_response(shown)
    if is_part and not wants_part("question"):
        # htmx brought a yes, and what it was said to has changed: the next question goes where the last one stood.
        answer.headers["HX-Retarget"] = "#question"
        answer.headers["HX-Reswap"] = "innerHTML"
        answer.headers["HX-Reselect"] = "unset"
        answer.headers["HX-Trigger-After-Swap"] = "signalbox:asked"
    return answer


def wire(text: object) -> Markup:
    """Give the name of a thing as it is written in a question."""
    return Markup('<span class="wire">{}</span>').format(seen(text))
