"""`signalbox bins`: made, listed, shown, deleted."""

import base64
import json
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from receiver import bins
from receiver.events import Headers
from tests.cli.conftest import Signalbox

BODY = b"\x00\xff\x1b[31m"


def record(engine: sa.Engine, name: str, body: bytes = BODY) -> str:
    request = bins.Request(
        method="PUT",
        path="/below",
        query="a=1",
        client="192.0.2.1",
        headers=Headers([("Authorization", "Bearer key"), ("X-Odd", "\x9b31m")]),
        body=body,
    )
    return bins.record(engine, name, request, now=datetime.now(UTC), may_make=True).capture_id


def test_a_bin_is_made_and_its_address_printed(signalbox: Signalbox) -> None:
    printed = signalbox("bins", "create").stdout
    assert re.fullmatch(r"http://127\.0\.0\.1:8000/b/[a-z]+-[a-z]+-\d\d\n", printed)
    assert signalbox("bins", "create", "mine").stdout == "http://127.0.0.1:8000/b/mine\n"


def test_a_bin_is_set_up_as_it_is_made(signalbox: Signalbox, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(BODY)
    words = shlex.split(
        "mine --status 201 --delay 0.5 --fail-every 3 --fail-status 503 --keep 9 --keep-for 2h --secret open "
        "--header 'X-A: b:c'"
    )
    item = json.loads(signalbox("bins", "create", *words, "--body-file", str(tmp_path / "body"), "--json").stdout)
    assert (item["status"], item["delay_seconds"], item["fail_every"], item["fail_status"]) == (201, 0.5, 3, 503)
    assert (item["keep_count"], item["keep_seconds"], item["has_secret"]) == (9, 7200, True)
    assert (item["headers"], base64.b64decode(item["body_base64"])) == ([["X-A", "b:c"]], BODY)


@pytest.mark.parametrize(("body", "bytes_"), [("", b""), ("été", "été".encode())])
def test_a_body_can_be_given_as_text(signalbox: Signalbox, body: str, bytes_: bytes) -> None:
    made = json.loads(signalbox("bins", "create", "--body", body, "--json").stdout)
    assert base64.b64decode(made["body_base64"]) == bytes_


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (["Not-A-Name"], 1),
        (["--delay", "31"], 1),
        (["--header", "Content-Length: 1"], 1),
        (["--status", "99"], 2),
        (["--header", "x"], 2),
        (["--keep-for", "soon"], 2),
        (["--body", "a", "--body-file", "-"], 2),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(signalbox: Signalbox, options: list[str], status: int) -> None:
    result = signalbox("bins", "create", *options)
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr.rstrip().endswith(".")


def test_bins_are_listed(signalbox: Signalbox, engine: sa.Engine) -> None:
    assert signalbox("bins", "list").stdout == ""
    record(engine, "mine")
    words = signalbox("bins", "list").stdout.split()
    assert words[-1] == "http://127.0.0.1:8000/b/mine"
    assert {"mine", "1", "200"} <= set(words)
    assert [item["name"] for item in json.loads(signalbox("bins", "list", "--json").stdout)["items"]] == ["mine"]


def test_a_bin_is_shown_with_its_captures(signalbox: Signalbox, engine: sa.Engine) -> None:
    capture_id = record(engine, "mine")
    shown = signalbox("bins", "show", "mine").stdout
    assert "http://127.0.0.1:8000/b/mine" in shown
    assert re.search(rf"{capture_id} +PUT +/below\?a=1 +192\.0\.2\.1 +200 +7", shown)
    assert json.loads(signalbox("bins", "show", "mine", "--json").stdout)["captures"][0]["id"] == capture_id


def test_a_capture_is_shown_without_credentials_and_with_nothing_that_a_terminal_would_act_on(
    signalbox: Signalbox, engine: sa.Engine
) -> None:
    record(engine, "mine")
    shown = signalbox("bins", "show", "mine", "last").stdout
    assert "Bearer" not in shown
    assert "00000000  00 ff 1b" in shown
    assert shown.replace("\n", "").isprintable()


def test_raw_is_the_body_byte_for_byte(signalbox: Signalbox, engine: sa.Engine) -> None:
    capture_id = record(engine, "mine")
    assert signalbox("bins", "show", "mine", capture_id, "--raw").stdout_bytes == BODY
    assert signalbox("bins", "show", "mine", "--raw").exit_code == 2


def test_deleting_says_how_many_captures_went_along(signalbox: Signalbox, engine: sa.Engine) -> None:
    record(engine, "mine")
    assert signalbox("bins", "delete", "mine").stdout == "deleted mine with 1 capture\n"
    again = signalbox("bins", "delete", "mine")
    assert again.exit_code == 1
    assert "there is no bin mine" in again.stderr
