"""No form of the pages destroys or repeats at one click: each asks, or stands in a list with the reason."""

import re
from pathlib import Path

from receiver.web.page import STATIC
from tests.browser.controls import CONTROLS, HARMLESS

TEMPLATES = STATIC.parent / "templates"
TAG = re.compile(r"<(\w+)\b(?:\{\{.*?\}\}|\{%.*?%\}|[^>])*>", re.DOTALL)
SENDS = re.compile(r'(?:method="post"|class="try"|\bhx-(?:post|put|patch|delete)=|\bformaction=)')
WHERE = re.compile(r'\b(?:formaction|action|hx-(?:post|put|patch|delete))="((?:\{\{.*?\}\}|[^"])*)"')


def senders() -> dict[str, list[str]]:
    """Find every tag that sends something by another method than GET, by its template and its address."""
    found: dict[str, list[str]] = {}
    for template in sorted(TEMPLATES.rglob("*.html")):
        for tag in TAG.finditer(template.read_text(encoding="utf-8")):
            if SENDS.search(tag[0]):
                where = WHERE.search(tag[0])
                name = f"{template.relative_to(TEMPLATES)} {where[1] if where else 'try'}"
                found.setdefault(name, []).append(tag[0])
    found.pop("_question.html {{ action }}")  # the yes itself
    return found


def test_whatever_sends_something_asks_or_is_harmless_for_a_reason() -> None:
    asking = {one.form for one in CONTROLS}
    assert set(senders()) == asking | HARMLESS.keys()


def test_what_asks_does_so_in_a_dialog_and_what_is_harmless_does_not_ask() -> None:
    asking = {one.form for one in CONTROLS if not one.is_page and not one.form.endswith(" try")}
    for name, tags in senders().items():
        assert {"data-asks" in tag for tag in tags} == {name in asking}, name


def test_scripts_send_nothing_but_questions_and_what_somebody_tries_out() -> None:
    sending = {one.name for one in STATIC.glob("*.js") if re.search(r"\bmethod\b", Path(one).read_text("utf-8"))}
    assert sending == {"question.js", "api.js"}
