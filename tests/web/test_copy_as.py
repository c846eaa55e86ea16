"""A delivery as something to paste: what is pasted posts these very bytes, and its signature verifies."""

import ast
import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.events import Delivery, Headers, Verified
from receiver.sources import PROFILES, SOURCES
from receiver.web.snippets import copy_as
from receiver.web.snippets.copy_as import Copied
from tests.installation import KEYS
from tests.waiting import PATIENCE_SECONDS

AT = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
BODIES = {
    "text": '{"a":"it\'s `$HOME` \\"!\\" \\\\n ä 🚦"}'.encode(),
    "lines": b'{\n  "a": 1\n}\n\n',
    "binary": bytes(range(256)),
    "control characters": b'{"a": "\t\r\x03\x1b[A"}',
    "like the end of a heredoc": b"\nBODY\n)\nEOF\n'; exit 1 #",
    "empty": b"",
    "a long line": b"x" * 1_000_000,
    "not shown": "a\u202eb\u200b".encode(),
}
# Stands in for curl and for HTTPie: writes down what it is given to send.
RECORDER = """
curl() { cat > "$FOLDER/body"; for word in "$@"; do printf '%s\\n' "$word"; done > "$FOLDER/words"; }
http() { curl "$@"; }
"""


def copied(source: str, body: bytes, *headers: tuple[str, str], title: str = "an event") -> Copied:
    lines = [("Content-Type", "application/json"), *headers]
    signing, url = PROFILES[source].signing, "http://127.0.0.1:8000"
    return Copied(source=source, signing=signing, title=title, body=body, headers=lines, received_at=AT, url=url)


def environ(**more: str) -> dict[str, str]:
    keys = {"BOX_PRIMARY_KEY": KEYS["box"]["primary"], "FILESTACK_SECRETS": ",".join(KEYS["filestack"].values())}
    return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"} | keys | more


def run(script: str, folder: Path, **more: str) -> tuple[bytes, list[str]]:
    """Run a command by bash as if it were pasted, and give the body and the words that it would send."""
    done = subprocess.run(
        ["bash"],
        input=(RECORDER + script).encode(),
        env=environ(FOLDER=str(folder), **more),
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return (folder / "body").read_bytes(), (folder / "words").read_text().splitlines()


def received(source: str, body: bytes, words: list[str]) -> Delivery:
    lines = [word.partition(":") for word in words if ":" in word and not word.startswith("http")]
    headers = Headers((name, value) for name, _, value in lines)
    return Delivery(source=source, body=body, headers=headers, received_at=datetime.now(UTC))


def is_genuine(delivery: Delivery) -> bool:
    age = timedelta(minutes=5)
    verdict = SOURCES[delivery.source].verify(delivery, KEYS[delivery.source], max_age=age, max_skew=age)
    return isinstance(verdict, Verified)


@pytest.mark.parametrize("form", ["curl", "httpie"])
@pytest.mark.parametrize("source", ["box", "filestack"])
@pytest.mark.parametrize("what", BODIES)
def test_a_pasted_command_sends_these_very_bytes_signed_afresh(
    tmp_path: Path, form: str, source: str, what: str
) -> None:
    body, words = run(copy_as.FORMS[form](copied(source, BODIES[what])), tmp_path)
    assert body == BODIES[what]
    assert is_genuine(received(source, body, words))
    assert f"http://127.0.0.1:8000/hooks/{source}" in words
    assert "Content-Type:application/json" in words


@settings(max_examples=20, deadline=None)
@given(body=st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_body_goes_through_the_shell_unchanged(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    sent, words = run(copy_as.curl(copied("box", body)), tmp_path_factory.mktemp("pasted"))
    assert sent == body
    assert is_genuine(received("box", sent, words))


def test_the_address_may_be_another_one(tmp_path: Path) -> None:
    _, words = run(copy_as.curl(copied("box", b"{}")), tmp_path, SIGNALBOX_URL="https://signalbox.example")
    assert "https://signalbox.example/hooks/box" in words


def test_a_key_that_is_not_set_ends_the_command_and_not_the_shell(tmp_path: Path) -> None:
    script = RECORDER + copy_as.curl(copied("box", b"{}")) + "\necho still here"
    done = subprocess.run(
        ["bash"],
        input=script,
        env=environ(BOX_PRIMARY_KEY=""),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.stdout == "still here\n"
    assert "BOX_PRIMARY_KEY" in done.stderr
    assert not (tmp_path / "body").exists()


@pytest.mark.parametrize("form", copy_as.FORMS)
def test_titles_and_headers_from_outside_break_out_of_nothing(tmp_path: Path, form: str) -> None:
    bad = '\'"""\n$(touch broken)`touch broken`; touch broken #{x}\\'
    one = copied("box", b"{}", ("Content-Language", bad), ("X-" + bad, bad), title=bad)
    text = copy_as.FORMS[form](one)
    if form in ("curl", "httpie"):
        run(f"cd '{tmp_path}'\n{text}", tmp_path)
        assert not (tmp_path / "broken").exists()
    elif form == "har":
        json.loads(text)
    else:
        tree = ast.parse(text)
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert not any("touch" in call for call in calls)


def test_masked_headers_go_nowhere_but_into_the_archive() -> None:
    one = copied("box", b"{}", ("Authorization", "masked"), ("BOX-SIGNATURE-PRIMARY", "abcdef…wxyz"))
    holding = [form for form, write in copy_as.FORMS.items() if "masked" in write(one) or "wxyz" in write(one)]
    assert holding == ["har"]


def test_an_archive_is_of_version_1_2_and_holds_the_body() -> None:
    log = json.loads(copy_as.har(copied("box", BODIES["text"])))["log"]
    assert log["version"] == "1.2"
    (entry,) = log["entries"]
    assert {"startedDateTime", "time", "request", "response", "cache", "timings"} <= set(entry)
    request = entry["request"]
    assert {"method", "url", "httpVersion", "cookies", "headers", "queryString", "headersSize", "bodySize"} <= set(
        request
    )
    assert request["postData"]["text"].encode() == BODIES["text"]
    assert request["headers"] == [{"name": "Content-Type", "value": "application/json"}]


def test_a_body_that_is_no_text_is_base64_in_an_archive() -> None:
    data = json.loads(copy_as.har(copied("box", b"\x00\xff")))["log"]["entries"][0]["request"]["postData"]
    assert (data["text"], data["encoding"]) == ("AP8=", "base64")
