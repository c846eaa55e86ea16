"""A question of the pages, answered in a test as a browser without JavaScript does."""

import html
import re
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

HIDDEN = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)">')


def asks(page: str) -> str:
    """Read what a page asks; "" where it asks nothing."""
    found = re.search(r'<h2 class="asks" id="question-title">(.*?)</h2>', page, re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", "", found[1])) if found else ""


def answer(page: str) -> dict[str, str]:
    """Read the fields that the yes of a question sends."""
    form = page[page.index('id="question-title"') :].partition("</form>")[0]
    return {html.unescape(name): html.unescape(text) for name, text in HIDDEN.findall(form)} | {"yes": "yes"}


def confirm(client: FlaskClient, path: str, data: dict[str, str] | None = None, **how: Any) -> TestResponse:
    """Send a form, and say yes to what it asks; `how` is given with the yes alone."""
    question = client.post(path, data=data or {})
    assert question.status_code == 200, question.text
    assert asks(question.text), f"{path} asks nothing"
    return client.post(path, data=answer(question.text), **how)
